"""A learned basis whose coefficients every window's own context decides, in closed form."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from diffhep.core.checks import as_integer
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
)
from diffhep.magnet.forecasters.memory_features import N_EVEN, N_ODD, Memory, memory_features
from diffhep.magnet.forecasters.scaling import Scaling

__citations__ = ("arXiv:1807.08912",)

_DIRECT = np.array([0, 1, 2, 4, 5, 6, 7])
"""Odd features that are columns of the basis themselves."""

_RESIDUAL_SAMPLES = 6.0
"""Over how many of the last known samples the residual is averaged."""

_LEAST_SIZE = 0.13
"""Least size of a window's input, in units of its scale."""

_STRETCH = 2.0
"""Largest exponent by which even features stretch a column."""

_SATURATION = (2.9, -0.15)
"""Input of saturation over the input's scale at the start, and its change with a covariate."""


class OddNetwork(eqx.Module):
    """A network of two layers that changes its sign with the odd features.

    Even features only open and close gates and stretch outputs.

    Attributes:
        first: From odd features to hidden units.
        gate: From even features to the gates of hidden units.
        gate_bias: Of the gates.
        second: From hidden units to outputs.
        skip: From odd features to outputs.
        stretch: From even features to the logarithm of the outputs' scale.
    """

    first: Float[Array, "odd hidden"]
    gate: Float[Array, "even hidden"]
    gate_bias: Float[Array, " hidden"]
    second: Float[Array, "hidden output"]
    skip: Float[Array, "odd output"]
    stretch: Float[Array, "even output"]

    def __call__(self, memory: Memory) -> Float[Array, "time output"]:
        """Outputs along a window.

        Args:
            memory: Features of the past.

        Returns:
            The outputs.
        """
        odd, even = memory
        open_ = 1.0 + jnp.tanh(even @ self.gate + self.gate_bias)
        hidden = jnp.tanh(odd @ self.first) * open_
        scale = jnp.exp(jnp.clip(even @ self.stretch, -_STRETCH, _STRETCH))
        return jnp.tanh(hidden @ self.second + odd @ self.skip) * scale


class Regression(NamedTuple):
    """What a context says of the coefficients.

    Attributes:
        coefficients: Their posterior mean.
        precision: Their posterior precision.
    """

    coefficients: Float[Array, " column"]
    precision: Float[Array, "column column"]


class AdaptiveBasis(AbstractNeuralForecaster):
    r"""Bayesian linear regression on learned functions of the input's past.

    $\hat y = \Phi(u_{\le t})\,w$, with $w$ from the context in closed form: the mean of the
    posterior under a Gaussian prior $N(w_0,\Lambda^{-1})$. Functions, prior, noise and the weights
    of older samples are trained through that closed form, so that the functions are those from
    which a context tells most about the horizon. What is left of the residual at the end of the
    context decays along the horizon. With scalings of no mean the map is odd:
    $(u,y)\to(-u,-y)$ changes the sign of the forecast, exactly.

    Columns of the basis: a constant; $r q^3/(1-q)$ with $r=u/u_s$, $q=r^2$, which grows where the
    input saturates at $u_s$, linear in the covariates; seven features; the network's outputs.
    All are in units of the root mean square input of the whole window, horizon included.

    Quantiles are those of the coefficients' posterior times a factor, without noise of the output.
    Only a loss that sees them, as `fit_forecaster`'s does, trains that factor: without it, or for
    intervals that must cover, use `conformal_intervals`. Features start anew in every window; what
    the state carries is the coefficients.

    Attributes:
        network: Odd functions of the past.
        prior_mean: $w_0$, but for the constant's, which is 0.
        log_precision: $\log\Lambda$, diagonal.
        log_noise: Logarithm of the noise of a sample, in units of the window's size.
        log_decay: Logarithm of the time in which the residual decays, in samples.
        log_fade: Logarithm of the time in which the weights of older samples fade, in samples.
        logit_floor: Of the share of their weight that stays.
        saturation: $u_s$ over the input's scale; its change with each covariate.
        log_spread: Logarithm of a factor of the posterior's standard deviation.
        scaling: To and from physical units.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    network: OddNetwork
    prior_mean: Float[Array, " column_but_one"]
    log_precision: Float[Array, " column"]
    log_noise: Scalar
    log_decay: Scalar
    log_fade: Scalar
    logit_floor: Scalar
    saturation: Float[Array, " covariate_and_one"]
    log_spread: Scalar
    scaling: Scaling
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], Regression]:
        """See `AbstractNeuralForecaster.forward`; the state is a `Regression`, the next prior."""
        n, total = past.shape[0], inputs.shape[0]
        y = jnp.concatenate([past, jnp.zeros(total - n, past.dtype)])
        time = jnp.arange(total, dtype=inputs.dtype)
        memory = memory_features(inputs)
        size = jnp.mean(inputs[:, 0] ** 2)
        mean, spread, end = self.regress(memory, y, jnp.arange(total) < n, time, size, state)
        levels = [NormalDist().inv_cdf(level) for level in self.levels]
        # What `quantiles_from` undoes: gaps through the inverse of softplus.
        gaps = [_inverse_softplus(step * spread[n:]) for step in np.diff(levels)]
        lowest = levels[0] * spread[n:]
        return jnp.stack([mean[n:], lowest, *gaps], axis=1), end

    def regress(
        self,
        memory: Memory,
        y: Float[Array, " time"],
        known: Bool[Array, " time"],
        time: Float[Array, " time"],
        size: Scalar,
        state: Regression | None = None,
    ) -> tuple[Float[Array, " time"], Float[Array, " time"], Regression]:
        """Outputs along a window, some of which are known, in dimensionless numbers.

        Args:
            memory: Features of the past, at all samples or at evenly spaced ones.
            y: Outputs; those that are not known are not looked at.
            known: Which outputs are known: from some sample to some other.
            time: Of the samples, in samples.
            size: Mean square of the window's input.
            state: Coefficients from an earlier context, the prior of this one's.

        Returns:
            Mean and standard deviation, and what the known outputs say of the coefficients.
        """
        size = jnp.sqrt(size + _LEAST_SIZE**2)
        columns = self._columns(memory) / size
        zero = jnp.zeros(1, columns.dtype)
        prior = jnp.concatenate([zero, self.prior_mean])
        if state is not None:
            prior = state.coefficients.astype(columns.dtype)
        target = jnp.where(known, y / size, 0.0) - jnp.where(known, columns @ prior, 0.0)
        age = jnp.maximum(jnp.max(jnp.where(known, time, -jnp.inf)) - time, 0.0)
        floor = jax.nn.sigmoid(self.logit_floor)
        weight = known * (floor + (1.0 - floor) * jnp.exp(-age * jnp.exp(-self.log_fade)))
        # Evenly spaced samples stand for those between them.
        weight = weight * (time[1] - time[0]) * jnp.exp(-2.0 * jnp.clip(self.log_noise, -4.0, 2.0))
        normal = (columns * weight[:, None]).T @ columns
        precision = jnp.diag(jnp.exp(jnp.clip(self.log_precision, -6.0, 6.0)))
        if state is not None:
            precision = state.precision
        # Products in the network's precision, the solution in the default one.
        whole = (precision + normal).astype(float)
        root = inverse_root(whole)
        change = root.T @ (root @ (columns.T @ (weight * target)).astype(float))
        fitted = columns @ change.astype(columns.dtype)
        rest = self._residual(jnp.where(known, target - fitted, 0.0), known, time, age)
        mean = size * (columns @ prior + fitted + rest)
        variance = jnp.sum((columns.astype(float) @ root.T) ** 2, axis=1)
        spread = size * jnp.exp(self.log_spread) * jnp.sqrt(variance)
        return mean, spread.astype(mean.dtype), Regression(prior + change, whole)

    def _columns(self, memory: Memory) -> Float[Array, "time column"]:
        """The basis along a window."""
        u = memory.odd[:, 0]
        covariates = memory.even[:, : self.saturation.shape[0] - 1]
        ratio = u / (self.saturation[0] + covariates @ self.saturation[1:])
        q = jnp.clip(ratio**2, 0.0, 0.98)
        saturated = ratio * q**3 / (1.0 - q)
        front = jnp.stack([jnp.ones_like(u), saturated], axis=1)
        return jnp.concatenate([front, memory.odd[:, _DIRECT], self.network(memory)], axis=1)

    def _residual(self, residual: Array, known: Array, time: Array, age: Array) -> Array:
        """What the last known residuals leave on the samples after them."""
        recent = known * jnp.exp(-age / _RESIDUAL_SAMPLES)
        last = jnp.sum(recent * residual) / jnp.maximum(jnp.sum(recent), 1e-6)
        end = jnp.max(jnp.where(known, time, 0.0))
        decay = jnp.exp(-jnp.maximum(time - end, 0.0) * jnp.exp(-self.log_decay))
        return jnp.where(time > end, last * decay, 0.0)


def adaptive_basis(
    width: int = 12,
    n_columns: int = 8,
    *,
    key: Key,
    n_covariates: int = 0,
    levels: Sequence[float] = LEVELS,
    dtype: Any = jnp.float32,
) -> AdaptiveBasis:
    """An untrained adaptive basis.

    Args:
        width: Hidden units.
        n_columns: Outputs of the network.
        key: Random key of the weights.
        n_covariates: Covariates of a window.
        levels: Probabilities of the quantiles.
        dtype: Of the network.

    Returns:
        The forecaster.

    Raises:
        ConfigError: A setting is out of its range.
    """
    width = as_integer(width, "width", low=1)
    n_columns = as_integer(n_columns, "n_columns", low=1)
    n_covariates = as_integer(n_covariates, "n_covariates", low=0)
    n_even, n_all = N_EVEN + n_covariates, 2 + len(_DIRECT) + n_columns
    keys = jax.random.split(key, 4)

    def drawn(key: Key, shape: tuple[int, int], scale: float) -> Array:
        return scale * jax.random.normal(key, shape, dtype)

    network = OddNetwork(
        first=drawn(keys[0], (N_ODD, width), 0.5 / np.sqrt(N_ODD)),
        gate=drawn(keys[1], (n_even, width), 0.3),
        gate_bias=jnp.zeros(width, dtype),
        second=drawn(keys[2], (width, n_columns), 1.5 / np.sqrt(width)),
        skip=drawn(keys[3], (N_ODD, n_columns), 0.3 / np.sqrt(N_ODD)),
        stretch=jnp.zeros((n_even, n_columns), dtype),
    )
    # Before any training the output is the input.
    mean = jnp.zeros(n_all - 1, dtype).at[1].set(1.0)
    level, slope = _SATURATION
    return AdaptiveBasis(
        network=network,
        prior_mean=mean,
        log_precision=jnp.zeros(n_all, dtype),
        log_noise=jnp.asarray(-3.0, dtype),
        log_decay=jnp.asarray(np.log(30.0), dtype),
        log_fade=jnp.asarray(np.log(300.0), dtype),
        logit_floor=jnp.zeros((), dtype),
        saturation=jnp.asarray([level] + [slope] * n_covariates, dtype),
        log_spread=jnp.zeros((), dtype),
        scaling=Scaling(
            covariate_mean=np.zeros(n_covariates), covariate_scale=np.ones(n_covariates)
        ),
        levels=as_levels(levels),
        form=WindowForm(n_covariates),
    )


def _inverse_softplus(x: Array) -> Array:
    """log(exp(x) - 1) without overflow, for positive numbers."""
    x = jnp.maximum(x, jnp.finfo(x.dtype).tiny)
    return x + jnp.log(-jnp.expm1(-x))


def inverse_root(matrix: Float[Array, "row row"]) -> Float[Array, "row row"]:
    r"""The inverse of a Cholesky factor, $L^{-1}$ with $A=LL^\top$, for a small matrix.

    Written out column by column: LAPACK's batches run on the threads on which XLA waits for them,
    and two of them in one program, as training has, can wait for one another for ever.

    Args:
        matrix: Symmetric and positive.

    Returns:
        $W$ with $W^\top W=A^{-1}$, lower triangular.
    """
    n = matrix.shape[0]
    rows, rest, inverse = jnp.arange(n), matrix, jnp.eye(n, dtype=matrix.dtype)
    for j in range(n):
        column = jnp.where(rows >= j, rest[:, j], 0.0) / jnp.sqrt(rest[j, j])
        rest = rest - jnp.outer(column, column)
        # The same elimination takes the identity to the inverse.
        pivot = inverse[j] / column[j]
        inverse = (inverse - jnp.outer(column, pivot)).at[j].set(pivot)
    return inverse
