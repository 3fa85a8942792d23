"""Forecasts of a sequence of cycles, the measured field taken up now and then or never."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key
from diffhep.magnet.datasets import Recording
from diffhep.magnet.forecasters.base import AbstractForecaster, Forecast
from diffhep.magnet.forecasters.operator import OperatorForecaster
from diffhep.magnet.windows import Window, require_alike


class CycleForecast(NamedTuple):
    """A cycle's forecast beside what was measured.

    Attributes:
        name: Of the cycle.
        mean: Forecast along it.
        quantiles: One row for each level.
        measured: What was found.
        n_ahead: Cycles since the last one whose measured output was used: 1 or more.
    """

    name: str
    mean: Float[np.ndarray, " time"]
    quantiles: Float[np.ndarray, "quantile time"]
    measured: Float[np.ndarray, " time"]
    n_ahead: int


def rollout(
    forecaster: AbstractForecaster,
    recordings: Sequence[Recording],
    *,
    resync: int | None = 1,
    key: Key | None = None,
) -> tuple[CycleForecast, ...]:
    """Forecast cycle after cycle, each from the one before.

    The forecaster's context is the cycle before, whose output is the measured one where the
    sequence is synchronised, and otherwise its own forecast; its state is carried from cycle to
    cycle. The first cycle's output is always known.

    Args:
        forecaster: It, one that takes contexts and horizons of any length.
        recordings: The cycles in their order, at least two, of one time step.
        resync: After how many cycles the measured output is used: 1 for every cycle, None for the
            first one only.
        key: Random key, for a forecaster that draws.

    Returns:
        The forecasts of all cycles but the first.

    Raises:
        ConfigError: `resync` is no positive integer, or there is only one cycle.
        DataError: The recordings differ in kind or hold values that are not finite.
    """
    every = None if resync is None else as_integer(resync, "resync", low=1)
    require_alike(recordings)
    require(len(recordings) >= 2, "recordings", "hold at least 2 cycles", len(recordings))
    n = len(recordings)
    keys: list[Any] = [None] * n if key is None else list(jax.random.split(key, n))
    found: list[CycleForecast] = []
    measured_state = own_state = own_past = None
    n_ahead = 0
    for before, now, one in zip(recordings, recordings[1:], keys, strict=False):
        synchronise = not found or (every is not None and n_ahead >= every)
        # What a synchronised forecast needs is the state along measured cycles.
        along = None
        if synchronise or every is not None:
            along = forecast_cycle(forecaster, before, before.y, now.u, measured_state, key=one)
            measured_state = along.state
        if synchronise and along is not None:
            ahead, n_ahead = along, 1
        else:
            ahead = forecast_cycle(forecaster, before, own_past, now.u, own_state, key=one)
            n_ahead += 1
        own_state, own_past = ahead.state, np.asarray(ahead.mean)
        quantiles = np.asarray(ahead.quantiles)
        found.append(CycleForecast(now.name, own_past, quantiles, now.y, n_ahead))
    return tuple(found)


def forecast_cycle(
    forecaster: AbstractForecaster,
    before: Recording,
    past: Float[np.ndarray, " context"] | None,
    programme: Float[np.ndarray, " horizon"],
    state: Any = None,
    *,
    key: Key | None = None,
) -> Forecast:
    """Forecast one cycle from the one before.

    Args:
        forecaster: It.
        before: The cycle before, for its programme and time step.
        past: The output along it, measured or forecast.
        programme: The input to come.
        state: Of the forecast of the cycle before.
        key: Random key, for a forecaster that draws.

    Returns:
        The forecast.
    """
    u = jnp.asarray(np.append(before.u, programme))
    if isinstance(forecaster, OperatorForecaster):
        # Inside the compiled prediction inputs are traced, and nothing could be said of them.
        forecaster.warn_outside(programme)
    window = Window(u, jnp.asarray(past), 1.0 if before.dt_s is None else before.dt_s)
    return _predict(forecaster, window, state, key)


def error_by_horizon(
    errors: Float[np.ndarray, " cycle"], n_ahead: Int[np.ndarray, " cycle"]
) -> Float[np.ndarray, " horizon"]:
    """Root mean square error for every number of cycles ahead.

    Args:
        errors: One for each cycle.
        n_ahead: Cycles since the last measured one.

    Returns:
        For 1 cycle ahead first; not a number where there is none.
    """
    squares = np.bincount(n_ahead, errors**2)[1:]
    counts = np.bincount(n_ahead)[1:]
    return np.sqrt(np.divide(squares, counts, out=np.full(squares.size, np.nan), where=counts > 0))


@eqx.filter_jit
def _predict(forecaster: AbstractForecaster, window: Window, state: Any, key: Any) -> Forecast:
    return forecaster.predict(window, state=state, key=key)
