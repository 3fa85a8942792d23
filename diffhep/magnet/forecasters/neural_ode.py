"""Neural ordinary differential equations, started from a linear system, and their forecasts."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import LEVELS, AbstractForecaster, Forecast, as_levels
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.dynamic import AbstractField
from diffhep.magnet.windows import Window

__citations__ = ("arXiv:1806.07366",)


class LearnedField(AbstractField):
    r"""$T\dot x = Ax + b\,u/u_s + W[\tanh(Vx + c) - \tanh c]$, $y = y_s\,d\cdot x$.

    States are dimensionless and mean nothing by themselves.

    Attributes:
        linear: A.
        drive: b.
        inner: V.
        bias: c.
        outer: W.
        readout: d.
        time_s: T.
        u_scale: $u_s$.
        y_scale: $y_s$.
    """

    linear: Float[Array, "state state"]
    drive: Float[Array, " state"]
    inner: Float[Array, "hidden state"]
    bias: Float[Array, " hidden"]
    outer: Float[Array, "state hidden"]
    readout: Float[Array, " state"]
    time_s: float = eqx.field(static=True)
    u_scale: float = eqx.field(static=True)
    y_scale: float = eqx.field(static=True)
    n_states: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " state"], u: Scalar) -> Float[Array, " state"]:
        """Rates of the states."""
        hidden = jnp.tanh(self.inner @ x + self.bias) - jnp.tanh(self.bias)
        rate = self.linear @ x + self.drive * (u / self.u_scale) + self.outer @ hidden
        return rate / self.time_s

    def read(self, x: Float[Array, " state"]) -> Scalar:
        """The output."""
        return self.y_scale * (self.readout @ x)


def learned_field(
    linear: Float[Array | np.ndarray, "state state"],
    drive: Float[Array | np.ndarray, " state"],
    readout: Float[Array | np.ndarray, " state"],
    width: int = 8,
    *,
    key: Key,
    time_s: float = 1.0,
    u_scale: float = 1.0,
    y_scale: float = 1.0,
) -> LearnedField:
    """A field that is linear before it is trained.

    Args:
        linear: A of the linear system.
        drive: b.
        readout: d.
        width: Hidden units.
        key: Random key.
        time_s: Unit of time.
        u_scale: Of the input.
        y_scale: Of the output.

    Returns:
        The field.

    Raises:
        ConfigError: There is no hidden unit.
        ShapeError: A is not square.
    """
    width = as_integer(width, "width", low=1)
    found = jnp.asarray(linear, dtype=float)
    n = found.shape[0]
    require_shape(found.shape == (n, n), "linear", "be square", f"shape {found.shape}")
    inner_key, bias_key = jax.random.split(key)
    return LearnedField(
        linear=found,
        drive=jnp.asarray(drive, dtype=float),
        inner=jax.random.normal(inner_key, (width, n)) / np.sqrt(n),
        bias=jax.random.normal(bias_key, (width,)),
        outer=jnp.zeros((n, width)),
        readout=jnp.asarray(readout, dtype=float),
        time_s=time_s,
        u_scale=u_scale,
        y_scale=y_scale,
        n_states=n,
    )


class OperatorForecaster(AbstractForecaster):
    """Any operator as a forecaster: it follows the context's input, then the programme.

    The context's outputs correct the forecast by a constant, the mean of the last residuals: what
    is unknown of a state from before the context is most often an offset. Quantiles are those of a
    normal law.

    Attributes:
        operator: The operator.
        sigma: Standard deviation of the forecast's error, in the output's unit.
        n_offset: How many of the last residuals are averaged; none for no correction.
        levels: Probabilities of the quantiles.

    Raises:
        ConfigError: The levels do not rise inside (0, 1), or the number is negative.
    """

    operator: AbstractOperator
    sigma: Scalar = eqx.field(converter=jnp.asarray)
    n_offset: int = eqx.field(static=True, default=0)
    levels: tuple[float, ...] = eqx.field(static=True, default=LEVELS)

    def __check_init__(self) -> None:
        as_levels(self.levels)
        as_integer(self.n_offset, "n_offset", low=0)

    def predict(self, window: Window, *, state: Any = None, key: Key | None = None) -> Forecast:
        """See `AbstractForecaster.predict`; the state is the operator's."""
        del key
        require_shape(
            window.u.ndim == 1 and window.n_horizon >= 1,
            "window",
            "hold one series with at least one sample of horizon (use jax.vmap for many)",
            f"u of shape {window.u.shape}, y of shape {window.y.shape}",
        )
        n = window.n_context
        begin = self.operator.rest(window.u[0]) if state is None else state
        past = jnp.zeros(0)
        if n:
            past, begin = self.operator(window.u[:n], window.dt, state=begin)
        mean, _ = self.operator(window.u[n:], window.dt, state=begin)
        used = min(self.n_offset, n)
        if used:
            mean = mean + jnp.mean((window.y - past)[n - used :])
        away = jnp.asarray(_normal_quantiles(self.levels))
        return Forecast(mean, mean + self.sigma * away[:, None], begin)


def _normal_quantiles(levels: Sequence[float]) -> list[float]:
    return [NormalDist().inv_cdf(level) for level in levels]
