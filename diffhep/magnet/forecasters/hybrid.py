"""A network infers the hidden state of an exact hysteresis operator, which then does the rest."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_real
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
)
from diffhep.magnet.forecasters.scaling import Scaling, unit_scaling
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.combine import Parallel
from diffhep.magnet.operators.play_preisach import PlayPreisach
from diffhep.magnet.operators.polynomial import Polynomial

__citations__ = ("doi:10.1007/978-1-4612-4048-8", "arXiv:1406.1078")

_WIDEST = 2.0
"""Largest half-width of a play before training, in standard deviations of the input."""

_FIRST_WEIGHT = 0.02
"""Weight of every play before training, in standard deviations of the output."""

_GAIN = 10.0
"""How much further an optimiser's step moves the operator's parameters than those of the networks:
the operator's output is a sum that may rise by ten standard deviations, its parts not."""

_FIRST_MEMORY = 5.0
"""Samples over which the offset is averaged, before training."""


class HybridState(NamedTuple):
    """What a hybrid forecaster knows of the past.

    Attributes:
        plays: Outputs of the plays.
        hidden: Of the learned correction; empty where there is none.
    """

    plays: Float[Array, " play"]
    hidden: Float[Array, " hidden"]


class HybridPreisach(AbstractNeuralForecaster):
    r"""An encoder infers a Preisach operator's state at the start of the context.

    The states that an input can bring about are the memory curves $p(r)$ with $p(0) = u$ and
    $|p(r) - p(s)|\le|r - s|$. The encoder, a GRU that reads the context backwards, gives their
    slopes, $p_i = p_{i-1} + (r_i - r_{i-1})\tanh z_i$: every state it can infer is one of them. The
    operator, plays with non-negative weights beside a polynomial, then runs exactly along context
    and programme: what the context has wiped out needs no inference, and on the horizon the mean
    obeys wiping-out and rate independence by construction. An offset, the mean error
    along the end of the context, takes up drifts. With `correction` a GRU adds what depends on the
    rate, and these laws hold for the operator alone.

    Its state is that of the operator at the end of the context.

    Attributes:
        encoder: Cell that reads the context.
        to_slopes: From its state to $z$.
        to_spread: From its state, the channels and the time ahead to the quantiles.
        raw_steps: $\mathrm{softplus}^{-1}(r_i - r_{i-1})$.
        raw_weight: A tenth of $\mathrm{softplus}^{-1}$ of the weights.
        raw_polynomial: A tenth of the coefficients of the part without memory.
        log_memory: Logarithm of the samples over which the offset is averaged.
        correction: Cell of what is added; None for nothing.
        to_correction: From its state to the output.
        scaling: To and from physical units.
        reach: Largest play that counts, in standard deviations of the input.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    encoder: eqx.nn.GRUCell
    to_slopes: eqx.nn.Linear
    to_spread: eqx.nn.Linear
    raw_steps: Float[Array, " play"]
    raw_weight: Float[Array, "play basis"]
    raw_polynomial: Float[Array, " degree"]
    log_memory: Scalar
    correction: eqx.nn.GRUCell | None
    to_correction: eqx.nn.Linear | None
    scaling: Scaling
    reach: float = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)

    def __init__(
        self,
        *,
        key: Key,
        width: int = 32,
        n_plays: int = 24,
        n_basis: int = 6,
        degree: int = 5,
        correction: int = 0,
        reach: float = 3.0,
        n_covariates: int = 0,
        levels: Sequence[float] = LEVELS,
        dtype: Any = jnp.float32,
    ) -> None:
        """Build one; as it stands it has 4,600 parameters.

        Args:
            key: Random key of the weights.
            width: Numbers in the encoder's state.
            n_plays: Plays.
            n_basis: Weights of each.
            degree: Of the polynomial.
            correction: Numbers in the state of what is added; 0 for nothing.
            reach: Largest play that counts, in standard deviations of the input.
            n_covariates: Covariates of a window.
            levels: Probabilities of the quantiles.
            dtype: Of the network.

        Raises:
            ConfigError: A setting is out of its range.
        """
        n_channels = 2 + as_integer(n_covariates, "n_covariates", low=0)
        self.form = WindowForm(n_covariates, least_context=1)
        width, n_plays = as_integer(width, "width", low=1), as_integer(n_plays, "n_plays", low=1)
        n_basis, degree = as_integer(n_basis, "n_basis", low=1), as_integer(degree, "degree", low=0)
        correction = as_integer(correction, "correction", low=0)
        require_real(reach, "reach", "be finite and positive")
        require(reach > 0.0, "reach", "be finite and positive", reach)
        self.reach, self.levels, self.scaling = (
            float(reach),
            as_levels(levels),
            unit_scaling(n_covariates),
        )
        one, two, three, four, five = jax.random.split(key, 5)
        n_spread = width + n_channels + 1
        self.encoder = eqx.nn.GRUCell(n_channels + 1, width, key=one, dtype=dtype)
        self.to_slopes = eqx.nn.Linear(width, n_plays, key=two, dtype=dtype)
        self.to_spread = eqx.nn.Linear(n_spread, len(self.levels), key=three, dtype=dtype)
        self.raw_steps = jnp.full(n_plays, _inverse_softplus(_WIDEST / n_plays), dtype)
        raw_weight = _inverse_softplus(_FIRST_WEIGHT) / _GAIN
        self.raw_weight = jnp.full((n_plays, n_basis), raw_weight, dtype)
        self.raw_polynomial = jnp.zeros(degree + 1, dtype)
        self.log_memory = jnp.asarray(math.log(_FIRST_MEMORY), dtype)
        self.correction = self.to_correction = None
        if correction:
            self.correction = eqx.nn.GRUCell(n_channels + 1, correction, key=four, dtype=dtype)
            self.to_correction = eqx.nn.Linear(correction, 1, key=five, dtype=dtype)

    @property
    def radius(self) -> Float[Array, " play"]:
        """Half-widths of the plays, rising, in standard deviations of the input."""
        return jnp.cumsum(jax.nn.softplus(self.raw_steps))

    @property
    def operator(self) -> Parallel:
        """The exact operator between dimensionless input and output."""
        weight = jax.nn.softplus(_GAIN * self.raw_weight)
        parts: tuple[AbstractOperator, ...] = (
            PlayPreisach(self.radius, weight, -self.reach, self.reach),
            Polynomial(_GAIN * self.raw_polynomial, -self.reach, self.reach),
        )
        return Parallel(parts)

    def infer(
        self,
        inputs: Float[Array, "context channel"],
        past: Float[Array, " context"],
    ) -> tuple[Float[Array, " play"], Float[Array, " width"]]:
        """The plays at the start of the context, and what the encoder has read.

        Args:
            inputs: Channels along the context.
            past: The output along the context.

        Returns:
            A memory curve that the input can bring about; the encoder's state.
        """
        read = jnp.concatenate([inputs, past[:, None]], axis=1)
        blank = jnp.zeros(self.encoder.hidden_size, inputs.dtype)

        def observe(hidden: Array, at: Array) -> tuple[Array, None]:
            return self.encoder(at, hidden), None

        hidden, _ = jax.lax.scan(observe, blank, read, reverse=True)
        slopes = jnp.tanh(self.to_slopes(hidden))
        return inputs[0, 0] + jnp.cumsum(jax.nn.softplus(self.raw_steps) * slopes), hidden

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], HybridState]:
        """See `AbstractNeuralForecaster.forward`."""
        n, u, operator = past.shape[0], inputs[:, 0], self.operator
        plays, read = self.infer(inputs[:n], past)
        hidden = jnp.zeros(0 if self.correction is None else self.correction.hidden_size, u.dtype)
        if state is not None:
            plays, hidden = state
        before, (plays, _) = operator(u[:n], state=(plays, ()))
        after, _ = operator(u[n:], state=(plays, ()))
        mean = jnp.concatenate([before, after]).astype(u.dtype)
        added, hidden = self._correct(inputs, mean, hidden, n)
        mean = mean + added
        offset = self._offset(past - mean[:n])
        spread = jax.vmap(self.to_spread)(_told(read, inputs[n:]))
        raw = jnp.concatenate([(mean[n:] + offset)[:, None], spread], axis=1)
        return raw, HybridState(plays, hidden)

    def _correct(
        self, inputs: Array, mean: Array, hidden: Array, n_context: int
    ) -> tuple[Array, Array]:
        """What is added along the window, and the cell's state at the end of the context."""
        cell, readout = self.correction, self.to_correction
        if cell is None or readout is None:
            return jnp.zeros_like(mean), hidden

        def advance(hidden: Array, at: Array) -> tuple[Array, Array]:
            hidden = cell(at, hidden)
            return hidden, hidden

        told = jnp.concatenate([inputs, mean[:, None]], axis=1)
        _, found = jax.lax.scan(advance, hidden, told)
        return jax.vmap(readout)(found)[:, 0], found[n_context - 1]

    def _offset(self, errors: Float[Array, " context"]) -> Scalar:
        """Mean error, later samples counting more."""
        age = jnp.arange(errors.shape[0])[::-1].astype(errors.dtype)
        return jax.nn.softmax(-age * jnp.exp(-self.log_memory)) @ errors


def _told(read: Array, ahead: Array) -> Float[Array, "horizon part"]:
    """What the spread depends on: the context, the channels, the logarithm of the time ahead."""
    n = ahead.shape[0]
    time = jnp.log1p(jnp.arange(n, dtype=ahead.dtype))[:, None]
    return jnp.concatenate([jnp.broadcast_to(read, (n, read.shape[0])), ahead, time], axis=1)


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
