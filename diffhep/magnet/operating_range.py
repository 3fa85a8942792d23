"""Whether a programme is near those a forecaster was identified on, and a fallback if not."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_positive, require_shape
from diffhep.core.typing import Flag, Key, Scalar
from diffhep.magnet.datasets import Recording
from diffhep.magnet.forecasters.base import AbstractForecaster, Forecast
from diffhep.magnet.windows import Window, require_alike


class OperatingRange(eqx.Module):
    r"""The programmes that are known, and how far another one is from the nearest of them.

    A programme is described by its lowest and highest input, the input's fastest fall and its
    fastest rise. The distance is Euclidean, each of the four in units of the input's or its rate's
    whole range; the inputs' extrema are what hysteresis remembers, the rates what eddy currents do.

    Attributes:
        known: Descriptions of the known programmes.
        scale: Units of the four.
    """

    known: Float[Array, "programme 4"]
    scale: Float[Array, " 4"]

    def distance(self, u: Float[Array, " time"], dt_s: Scalar | float) -> Scalar:
        """How far a programme is from the nearest known one.

        Args:
            u: Inputs.
            dt_s: Seconds between them.

        Returns:
            The distance; 0 for a known programme, 1 for one as far away as the known ones span.
        """
        away = (_describe(u, dt_s) - self.known) / self.scale
        return jnp.sqrt(jnp.min(jnp.sum(away**2, axis=1)))


def fit_operating_range(recordings: Sequence[Recording]) -> OperatingRange:
    """The range that recordings cover.

    Args:
        recordings: One for each cycle, with a time step.

    Returns:
        The range.

    Raises:
        ConfigError: The input never changes.
        DataError: The recordings differ in kind or hold values that are not finite.
    """
    require_alike(recordings)
    dt_s = recordings[0].dt_s or 1.0
    rows = jnp.stack([_describe(jnp.asarray(one.u), dt_s) for one in recordings])
    low, high = jnp.min(rows, axis=0), jnp.max(rows, axis=0)
    span = jnp.stack([high[1] - low[0]] * 2 + [high[3] - low[2]] * 2)
    moves = bool((np.asarray(span) > 0).all())
    require(moves, "recordings", "hold an input that changes", np.asarray(span).tolist())
    return OperatingRange(jnp.unique(rows, axis=0), span)


class GatedForecaster(AbstractForecaster):
    """A forecaster where the programme is near known ones, and another one elsewhere.

    Both are run, so that either has its state when it is needed.

    Attributes:
        forecaster: For known programmes.
        fallback: For others; a calibration curve, or an operator behind a network.
        operating_range: What is known.
        limit: Largest distance at which the forecaster is believed.

    Raises:
        ConfigError: The levels differ, or the limit is not positive.
    """

    forecaster: AbstractForecaster
    fallback: AbstractForecaster
    operating_range: OperatingRange
    limit: float = eqx.field(static=True, default=0.05)

    def __check_init__(self) -> None:
        require_positive(self, "limit")
        rule = f"have the levels {self.levels}"
        require(self.fallback.levels == self.levels, "fallback", rule, self.fallback.levels)

    @property
    def levels(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Probabilities of the quantiles."""
        return self.forecaster.levels

    def is_known(self, window: Window) -> Flag:
        """Whether the programmes of context and horizon are both near known ones.

        Args:
            window: What is known.

        Returns:
            Whether the forecaster is believed.
        """
        n = window.n_context
        parts = [window.u[n:]] + ([window.u[:n]] if n > 1 else [])
        away = [self.operating_range.distance(part, window.dt) for part in parts]
        return jnp.max(jnp.stack(away)) <= self.limit

    def predict(self, window: Window, *, state: Any = None, key: Key | None = None) -> Forecast:
        """The forecast of one of the two; see `AbstractForecaster.predict`.

        Args:
            window: What is known; its horizon is a whole programme.
            state: Of an earlier forecast.
            key: Random key, for forecasters that draw.

        Returns:
            The forecast, with the states of both.

        Raises:
            ShapeError: The horizon has fewer than two samples.
        """
        good = window.u.ndim == 1 and window.n_horizon >= 2
        require_shape(good, "window", "have a horizon of 2 samples or more", window.u.shape)
        first, second = (None, None) if state is None else state
        one = self.forecaster.predict(window, state=first, key=key)
        other = self.fallback.predict(window, state=second, key=key)
        known = self.is_known(window)

        def chosen(a: Array, b: Array) -> Array:
            return jnp.where(known, a, b)

        mean, quantiles = jax.tree.map(chosen, one[:2], other[:2])
        return Forecast(mean, quantiles, (one.state, other.state))


def _describe(u: Float[Array, " time"], dt_s: Scalar | float) -> Float[Array, " 4"]:
    speed = jnp.diff(u) / dt_s
    return jnp.stack([jnp.min(u), jnp.max(u), jnp.min(speed), jnp.max(speed)])
