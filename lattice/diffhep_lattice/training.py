r"""Training of flows, and the report that says how good one is.

With $\log w = -S(U) - \log q(U)$: reverse Kullback-Leibler divergence
$-\langle\log w\rangle_q$ up to $\log Z$, forward divergence $-\langle\log q\rangle_p$ up to the
entropy of the configurations.
Reverse training alone cannot see a sector that the flow never visits; `evaluate` therefore compares
$\log\langle w\rangle_q$ with an exact $\log Z$ where there is one, and takes configurations of $p$
for the forward effective sample size.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import (
    as_integer,
    as_scalar,
    concrete,
    require,
    require_real,
    require_shape,
    require_type,
    require_x64,
)
from diffhep.core.fit import FitResult, fit
from diffhep.core.rng import key_at, key_for
from diffhep.core.stats import ess_fraction_with_error, gamma_method, log_mean_weight
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.flows.base import AbstractFlow, count_batch_axes, require_flow, require_pair

__citations__ = ("arXiv:1904.12072", "arXiv:2207.08219", "arXiv:2007.07115", "arXiv:1412.6980")

Gradient = Literal["path", "reparameterised"]
"""How the reverse divergence is differentiated."""


def _count(name: str, low: int, *, default: int) -> Any:
    """A field that holds an integer of at least `low`."""
    converter = partial(as_integer, name=name, low=low)
    return eqx.field(static=True, converter=converter, default=default)


class ReverseKL(eqx.Module):
    r"""The loss $\langle\log q(U) + \lambda S(U)\rangle_q$ on fresh samples.

    Attributes:
        action: The target's action.
        batch: Samples per step.
        gradient: "path": the derivative through the samples alone, with the density's own
            parameters held fixed; it vanishes sample by sample at the optimum and costs one
            inverse of the flow. "reparameterised": the plain derivative.
        anneal_steps: $\lambda$ rises linearly from `anneal_from` to 1 over so many steps; for the
            Wilson action that anneals beta.
        anneal_from: First value of $\lambda$.

    Raises:
        ConfigError: A setting is out of its range.

    Reference:
        L. Vaitl et al., arXiv:2207.08219 (path gradient); M. S. Albergo et al., arXiv:1904.12072.
    """

    action: AbstractAction
    batch: int = _count("batch", 1, default=256)
    gradient: Gradient = eqx.field(static=True, default="path")
    anneal_steps: int = _count("anneal_steps", 0, default=0)
    anneal_from: float = eqx.field(static=True, default=0.1)

    def __check_init__(self) -> None:
        require_action(self.action)
        known = ("path", "reparameterised")
        require(self.gradient in known, "gradient", f"be one of {known}", self.gradient)
        require_real(self.anneal_from, "anneal_from", "lie in [0, 1]")
        require(0 <= self.anneal_from <= 1, "anneal_from", "lie in [0, 1]", self.anneal_from)

    def __call__(
        self, flow: AbstractFlow, key: Key, step: Array
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """The loss of a batch, and the divergence and effective sample size of the batch."""
        U, log_q = flow.push_forward(flow.sample_latents(key, self.batch))
        if self.gradient == "path":
            log_q = jax.lax.stop_gradient(flow).pull_back(U)
        action = jax.vmap(self.action, in_axes=-1)(U)
        log_w = -action - log_q
        loss = jnp.mean(log_q + self._strength(step) * action)
        return loss, {"minus_log_w": -jnp.mean(log_w), "batch_ess": _kish(log_w)}

    def _strength(self, step: Array) -> Array | float:
        if not self.anneal_steps:
            return 1.0
        rise = jnp.minimum(step / self.anneal_steps, 1.0)
        return self.anneal_from + (1.0 - self.anneal_from) * rise


class ForwardKL(eqx.Module):
    r"""The loss $-\langle\log q(U)\rangle_p$ on given configurations, in random batches.

    Attributes:
        configurations: Samples of the target, batch axis first.
        batch: Configurations per step.

    Raises:
        ConfigError: `batch` is no positive integer, or `configurations` are no array.
        ShapeError: There is no configuration, or they are not floating; in a step, if they are
            no fields of the flow.
    """

    configurations: Shaped[Array, "config *field"]
    batch: int = _count("batch", 1, default=256)

    def __check_init__(self) -> None:
        _check_configurations(self.configurations)

    def __call__(self, flow: AbstractFlow, key: Key, step: Array) -> Scalar:
        """The loss of a batch drawn with replacement, in the dtype of the flow."""
        _check_configurations(self.configurations, flow)
        chosen = jax.random.randint(key, (self.batch,), 0, self.configurations.shape[0])
        fields = self.configurations[chosen].astype(flow.field.dtype)
        return -jnp.mean(flow.log_prob(fields))


class SymmetrisedKL(eqx.Module):
    r"""Reverse divergence on fresh samples and forward divergence on given configurations.

    $\alpha\,\langle\log q + S\rangle_q - (1-\alpha)\,\langle\log q\rangle_p$; for
    $\alpha = \frac12$ half the divergence of Jeffreys, $D(q|p) + D(p|q)$, up to constants. The
    reverse part alone may leave out a sector, the forward part alone learns no more than the
    configurations show.

    Attributes:
        reverse: The loss on fresh samples.
        forward: The loss on configurations, of HMC for one.
        weight: $\alpha$, the share of the reverse part, in [0, 1].

    Raises:
        ConfigError: A part is no such loss, or `weight` is out of its range.

    Reference:
        H. Jeffreys, Proc. R. Soc. Lond. A 186 (1946) 453.
    """

    reverse: ReverseKL
    forward: ForwardKL
    weight: Scalar = eqx.field(converter=partial(as_scalar, name="weight"), default=0.5)

    def __check_init__(self) -> None:
        require_type(self.reverse, ReverseKL, "reverse", "be a ReverseKL")
        require_type(self.forward, ForwardKL, "forward", "be a ForwardKL")
        require_real(self.weight, "weight", "lie in [0, 1]", low=0.0)
        value = concrete(self.weight)
        require(value is None or bool(value <= 1.0), "weight", "lie in [0, 1]", self.weight)

    def __call__(
        self, flow: AbstractFlow, key: Key, step: Array
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """The weighted sum of both losses, and what the reverse one reports."""
        reverse_key, forward_key = jax.random.split(key)
        reverse, metrics = self.reverse(flow, reverse_key, step)
        forward = self.forward(flow, forward_key, step)
        loss = self.weight * reverse + (1.0 - self.weight) * forward
        return loss, {**metrics, "minus_log_q": forward}


def _check_configurations(fields: Any, flow: AbstractFlow | None = None) -> None:
    """Raise an error unless there are fields, those of a flow if one is given."""
    name = "configurations"
    require_type(fields, (jax.Array, np.ndarray), name, "be an array")
    inexact = bool(jnp.issubdtype(fields.dtype, jnp.inexact))
    require_shape(inexact, name, "be a floating array", f"dtype {fields.dtype}")
    good = fields.ndim >= 2 and fields.shape[0] >= 1
    rule = "have shape (config, *field) with at least one of them"
    require_shape(good, name, rule, f"shape {fields.shape}")
    if flow is not None:
        good = count_batch_axes(flow, fields, name) == 1
        require_shape(good, name, "have one axis before the field's", f"shape {fields.shape}")


def train(
    flow: AbstractFlow,
    loss: Callable[..., Any],
    n_steps: int,
    *,
    key: Key,
    learning_rate: float = 2e-3,
    warmup_steps: int = 50,
    clip_norm: float = 10.0,
    dtype: Any = jnp.float32,
    **fit_options: Any,
) -> FitResult:
    """Fit a flow by Adam, with a linear warm-up and a cosine decay of the learning rate.

    Args:
        flow: Where to start.
        loss: `ReverseKL`, `ForwardKL`, `SymmetrisedKL`, or any loss of `diffhep.core.fit`.
        n_steps: Optimiser steps.
        key: Random key.
        learning_rate: The largest learning rate.
        warmup_steps: Steps until it is reached, at most a tenth of `n_steps`.
        clip_norm: Largest norm of a gradient.
        dtype: Dtype of the parameters and fields while training; single precision is about twice
            as fast. Densities are summed in double precision either way.
        **fit_options: Passed to `diffhep.core.fit.fit`: checkpoint, name, on_chunk, progress ...

    Returns:
        The fit; its models are in double precision.

    Raises:
        ConfigError: `jax_enable_x64` is off, or a setting is out of its range.
        ConvergenceError: Loss or parameters are not finite.
    """
    require_x64("the sums of densities in training")
    require_flow(flow)
    require(callable(loss), "loss", "be a function loss(flow, key, step)", type(loss).__name__)
    n_steps = as_integer(n_steps, "n_steps", low=0)
    warmup_steps = as_integer(warmup_steps, "warmup_steps", low=0)
    require_rate(learning_rate)
    require_shape(bool(jnp.issubdtype(dtype, jnp.floating)), "dtype", "be real floating", dtype)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(warmup_steps, n_steps // 10), max(n_steps, 1)
    )
    result = fit(
        loss,
        cast(flow, dtype),
        n_steps,
        key=key,
        learning_rate=schedule,
        clip_norm=clip_norm,
        **fit_options,
    )
    return result._replace(
        model=cast(result.model, jnp.float64), best_model=cast(result.best_model, jnp.float64)
    )


def require_rate(learning_rate: Any) -> None:
    """Raise a `ConfigError` unless a learning rate is finite and positive."""
    rule = "be finite and positive"
    require_real(learning_rate, "learning_rate", rule, low=sys.float_info.min)


def cast(flow: AbstractFlow, dtype: Any) -> AbstractFlow:
    """The flow with its floating-point parameters in another dtype."""
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, flow)


class FlowReport(NamedTuple):
    r"""How good a flow is, measured on fresh samples.

    Attributes:
        n: Number of samples.
        ess: Kish's effective sample size, as a fraction.
        ess_error: Its bootstrap error.
        acceptance: Acceptance rate of independence Metropolis over the samples.
        acceptance_error: Its error, by the Gamma method.
        log_z: $\log\langle w\rangle$, an estimate of $\log Z$.
        log_z_error: Its standard error.
        forward_ess: Effective sample size on configurations of the target,
            $1/(\langle w\rangle_p\langle1/w\rangle_p)$, or NaN without any; small where the flow
            misses a region.
        log_weights: All $\log w$.
        observed: What `observe` gave for each sample, in the order of `log_weights`; None without.
    """

    n: int
    ess: float
    ess_error: float
    acceptance: float
    acceptance_error: float
    log_z: float
    log_z_error: float
    forward_ess: float
    log_weights: np.ndarray
    observed: np.ndarray | None = None


def evaluate(
    flow: AbstractFlow,
    action: AbstractAction,
    n: int = 16_384,
    *,
    key: Key,
    configurations: Float[Array, "config *field"] | None = None,
    chunk: int = 1024,
    observe: Callable[..., Any] | None = None,
) -> FlowReport:
    """Measure a flow against an action.

    A region that the flow leaves out shows in `forward_ess`, in `log_z` below the exact value, and
    in the sectors: `count_sectors(report.observed, report.log_weights)` with
    `observe=topological_charge`, against those of the target.

    Args:
        flow: The flow.
        action: The target's action.
        n: Number of samples; below about ten thousand the effective sample size is biased high.
        key: Random key.
        configurations: Samples of the target that the flow was not trained on.
        chunk: Samples per program call, which bounds the memory.
        observe: What to measure on every sample, such as `topological_charge`.

    Returns:
        The report.

    Raises:
        ConfigError: `n` is no integer of at least 16, `chunk` no positive integer, `flow` or
            `action` is none, or `jax_enable_x64` is off.
        ShapeError: `configurations` do not have the flow's shape, or there is none.
    """
    require_x64("log-weights")
    require_pair(flow, action)
    # Of fewer samples the errors would mean nothing.
    n, chunk = as_integer(n, "n", low=16), as_integer(chunk, "chunk", low=1)
    if configurations is not None:
        _check_configurations(configurations, flow)
    draw = eqx.filter_jit(_draw_log_weights)
    parts = []
    for start in range(0, n, chunk):
        part_key = key_at(key_for(key, "weights"), start)
        part = draw(flow, action, part_key, min(chunk, n - start), observe)
        parts.append(jax.tree.map(np.asarray, part))
    log_w, observed = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
    ess, ess_error = ess_fraction_with_error(log_w, key=key_for(key, "bootstrap"))
    log_z, log_z_error = log_mean_weight(log_w)
    accepted = _metropolis(log_w, key=key_for(key, "metropolis"))
    rate = gamma_method(accepted)
    forward = np.nan if configurations is None else _forward_ess(flow, action, configurations)
    return FlowReport(
        n=n,
        ess=float(ess),
        ess_error=float(ess_error),
        acceptance=float(rate.mean),
        acceptance_error=float(rate.error),
        log_z=float(log_z),
        log_z_error=float(log_z_error),
        forward_ess=float(forward),
        log_weights=log_w,
        observed=observed,
    )


def _draw_log_weights(
    flow: AbstractFlow,
    action: AbstractAction,
    key: Key,
    n: int,
    observe: Callable[..., Any] | None,
) -> tuple[Float[Array, " n"], Array | None]:
    U, log_q = flow.push_forward(flow.sample_latents(key, n))
    observed = None if observe is None else jax.vmap(observe, in_axes=-1)(U)
    return -jax.vmap(action, in_axes=-1)(U) - log_q, observed


def _forward_ess(
    flow: AbstractFlow, action: AbstractAction, configurations: Float[Array, "config *field"]
) -> float:
    log_w = -jax.vmap(action)(configurations) - eqx.filter_jit(flow.log_prob)(configurations)
    n = jnp.log(log_w.size)
    log_mean = jax.nn.logsumexp(log_w) - n
    log_mean_inverse = jax.nn.logsumexp(-log_w) - n
    return float(jnp.exp(-log_mean - log_mean_inverse))


def _metropolis(log_w: np.ndarray, *, key: Key) -> np.ndarray:
    """Whether each sample after the first is accepted, in turn."""
    log_uniform = np.log(np.asarray(jax.random.uniform(key, log_w.shape)))
    accepted = np.zeros(max(log_w.size - 1, 1))
    current = log_w[0]
    for index in range(1, log_w.size):
        if log_uniform[index] < log_w[index] - current:
            current = log_w[index]
            accepted[index - 1] = 1.0
    return accepted


def _kish(log_w: Float[Array, " n"]) -> Scalar:
    log_ess = 2 * jax.nn.logsumexp(log_w) - jax.nn.logsumexp(2 * log_w)
    return jnp.exp(log_ess) / log_w.size
