"""A forecaster without a network: an identified operator, and an offset that follows the drift."""

import warnings
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require_shape
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractForecaster,
    Forecast,
    as_levels,
    require_finite,
)
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.windows import Window

__citations__ = ("doi:10.1007/978-1-4612-3028-1",)


def _float(value: Any) -> Array:
    return jnp.asarray(value, dtype=float)


class OperatorState(NamedTuple):
    """What is carried on.

    Attributes:
        operator: State of the operator.
        offset: What was added to its output.
    """

    operator: Any
    offset: Scalar


class OperatorForecaster(AbstractForecaster):
    r"""The output of an operator, and what it has lately been short of the measured one.

    Along the context the residual $r_t = y_t - \hat y_t$ is averaged over the samples whose input
    lies within `reach` of `u_reference`, the latest ones most: $w_t = e^{-(T-t)/\tau}$. The share
    `gain` of the difference to the offset before is added to it. A context that was itself
    forecast leaves the offset as it is. With a `Calibration` as the operator this is a calibration
    curve that is kept at the measured field.

    Attributes:
        operator: From input to output.
        history: Inputs that came before the first context, from the demagnetised state on.
        u_reference: The input at which the output matters.
        reach: How far from it a residual counts.
        gain: Between 0 (no offset) and 1.
        memory_s: $\tau$.
        sigma: Standard deviation of a forecast's error; the quantiles are those of a Gaussian, the
            same at every horizon. Intervals that cover are those of `conformal_intervals`.
        levels: Probabilities of the quantiles.
        identified: Lowest and highest input that the operator was identified on, where it is known.
    """

    operator: AbstractOperator
    history: Float[Array, " past"] = eqx.field(converter=_float)
    u_reference: Scalar = eqx.field(converter=_float)
    reach: Scalar = eqx.field(converter=_float)
    gain: Scalar = eqx.field(converter=_float, default=1.0)
    memory_s: Scalar = eqx.field(converter=_float, default=2.0)
    sigma: Scalar = eqx.field(converter=_float, default=1e-5)
    levels: tuple[float, ...] = eqx.field(static=True, converter=as_levels, default=LEVELS)
    identified: tuple[float, float] | None = eqx.field(static=True, default=None)

    def predict(self, window: Window, *, state: Any = None, key: Key | None = None) -> Forecast:
        """The output along the horizon; see `AbstractForecaster.predict`.

        Args:
            window: What is known; the context may be empty.
            state: Of an earlier forecast; without it the operator comes from its history.
            key: Not used: nothing is drawn.

        Returns:
            The forecast.

        Raises:
            DataError: A value is not finite.
            ShapeError: The window is not one series, or has no horizon.

        Warns:
            UserWarning: The input leaves the identified range; traced inputs are not looked at.
        """
        del key
        require_shape(
            window.u.ndim == 1 and window.n_horizon >= 1,
            "window",
            "hold one series with at least one sample of horizon (use jax.vmap for many)",
            f"u of shape {window.u.shape}, y of shape {window.y.shape}",
        )
        require_finite(window)
        self.warn_outside(window.u)
        n = window.n_context
        if state is None:
            # Slow against any eddy current: a history has no times.
            settled = self.operator.init(window.u[0], self.history, 10.0)
            state = OperatorState(settled, jnp.zeros(()))
        if n:
            found, operator = self.operator(window.u[:n], window.dt, state=state.operator)
            state = OperatorState(operator, self._followed(state.offset, window, found))
        ahead, _ = self.operator(window.u[n:], window.dt, state=state.operator)
        mean = ahead + state.offset
        spread = self.sigma * jax.scipy.stats.norm.ppf(jnp.array(self.levels))
        return Forecast(mean, mean + spread[:, None], state)

    def warn_outside(self, u: Float[Array, " time"] | Float[np.ndarray, " time"]) -> None:
        """Warn where inputs leave the range that the operator was identified on.

        Args:
            u: Inputs.

        Warns:
            UserWarning: They do; by how much.
        """
        known = concrete(u)
        if self.identified is None or known is None:
            return
        low, high = self.identified
        away = max(low - float(np.min(known)), float(np.max(known)) - high)
        if away > 1e-6 * (high - low):
            warnings.warn(
                f"The input leaves the identified range [{low:.6g}, {high:.6g}] by {away:.4g}: "
                "the operator extrapolates there.",
                stacklevel=3,
            )

    def _followed(self, offset: Scalar, window: Window, found: Float[Array, " context"]) -> Scalar:
        n = window.n_context
        age = window.dt * jnp.arange(n - 1, -1, -1)
        near = jnp.abs(window.u[:n] - self.u_reference) <= self.reach
        weight = jnp.where(near, jnp.exp(-age / self.memory_s), 0.0)
        total = jnp.sum(weight)
        short = jnp.sum(weight * (window.y - found)) / jnp.where(total > 0.0, total, 1.0)
        return jnp.where(total > 0.0, offset + self.gain * (short - offset), offset)
