"""Correction of cycles before they start: from a forecast error at the flat bottom to a current."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.errors import DataError
from diffhep.core.typing import Scalar
from diffhep.magnet.cycles import FLAT_BOTTOM_T, Cycle, flat_bottom
from diffhep.magnet.datasets import Recording
from diffhep.magnet.forecasters.base import AbstractForecaster
from diffhep.magnet.rollout import forecast_cycle

Respond = Callable[[Float[np.ndarray, " time"]], Float[np.ndarray, " time"]]
"""The magnet: the measured field along a current that follows what it was given before."""


def _float(value: Any) -> Array:
    return jnp.asarray(value, dtype=float)


class CycleCorrector(eqx.Module):
    r"""Steps of a cycle's trim, none too small to matter and none too large to be safe.

    The trim $t$ of a kind of cycle, in tesla at the flat bottom, goes from one of its occurrences
    to the next by $-g\,\epsilon$, where $\epsilon$ is the forecast of the error with the trim as it
    is: by nothing if that is smaller than `min_trim_T`, and by at most `clip_dpp` of the field. The
    trim itself stays within `largest_dpp`, so that wrong measurements do not add up. At the flat
    bottom $\mathrm dp/p = \mathrm dB/B$.

    Attributes:
        gain: $g$, between 0 and 1.
        min_trim_T: Smallest step that is made.
        clip_dpp: Largest step in units of the field.
        field_T: What the field should be, positive.
        largest_dpp: Largest trim in units of the field.

    Raises:
        ConfigError: A number is out of its range.
    """

    gain: Scalar = eqx.field(converter=_float, default=1.0)
    min_trim_T: Scalar = eqx.field(converter=_float, default=2e-5)
    clip_dpp: Scalar = eqx.field(converter=_float, default=1e-3)
    field_T: Scalar = eqx.field(converter=_float, default=FLAT_BOTTOM_T)
    largest_dpp: Scalar = eqx.field(converter=_float, default=1e-2)

    def __check_init__(self) -> None:
        for name in ("gain", "min_trim_T", "clip_dpp", "largest_dpp", "field_T"):
            value = concrete(getattr(self, name))
            if value is None:
                continue
            require(bool(0 <= value < np.inf), name, "be finite and at least 0", value.tolist())
            if name == "gain":
                require(bool(value <= 1), name, "be at most 1", value.tolist())
            if name == "field_T":
                require(bool(value > 0), name, "be positive", value.tolist())

    def step(self, trim_T: Scalar | float, error_T: Scalar | float) -> Scalar:
        """The trim of the next occurrence.

        Args:
            trim_T: The trim so far.
            error_T: Forecast field less what it should be, with that trim.

        Returns:
            The trim to apply.

        Raises:
            DataError: The error is not finite.
        """
        known = concrete(jnp.asarray(error_T))
        if known is not None and not np.isfinite(known):
            raise DataError(f"Argument `error_T` must be finite, but it is {known}.")
        wanted = -self.gain * error_T
        limit = self.clip_dpp * self.field_T
        made = jnp.where(jnp.abs(wanted) < self.min_trim_T, 0.0, jnp.clip(wanted, -limit, limit))
        largest = self.largest_dpp * self.field_T
        return jnp.clip(trim_T + made, -largest, largest)


class CorrectedCycle(NamedTuple):
    """A cycle that was forecast, trimmed and run.

    Attributes:
        recording: What was applied and measured.
        trim_T: The trim, in tesla at the flat bottom.
        forecast_T: The flat bottom's field as forecast, the trim's step included.
        measured_T: As measured.
    """

    recording: Recording
    trim_T: float
    forecast_T: float
    measured_T: float


class CorrectedRun(NamedTuple):
    """Cycles that were corrected, and what the next run goes on with.

    Attributes:
        cycles: In their order.
        trims_T: The last trim of every kind of cycle.
        state: Of the forecaster at the start of the last cycle.
    """

    cycles: tuple[CorrectedCycle, ...]
    trims_T: Mapping[str, float]
    state: Any


class StoppedRun(DataError):
    """A run that a measurement stopped.

    Attributes:
        run: The cycles before it, and what a next run goes on with.
    """

    def __init__(self, message: str, run: CorrectedRun) -> None:
        super().__init__(message)
        self.run = run


def correct_cycles(
    corrector: CycleCorrector,
    forecaster: AbstractForecaster,
    cycles: Sequence[Cycle],
    before: Recording,
    respond: Respond,
    *,
    slope_T_A: float,
    trims_T: Mapping[str, float] = MappingProxyType({}),
    state: Any = None,
) -> CorrectedRun:
    """Run cycles, each corrected by the forecast that is made when the one before has ended.

    Args:
        corrector: Makes the trims.
        forecaster: Forecasts each cycle from the measured one before.
        cycles: In their order.
        before: The cycle that ran before the first.
        respond: The magnet, which remembers.
        slope_T_A: Field per current at the flat bottom, from a calibration.
        trims_T: Trims of an earlier run, by the cycles' names; 0 for a name that is not there.
        state: Of the forecaster at the start of `before`.

    Returns:
        The cycles as they ran, and what the next run goes on with.

    Raises:
        ConfigError: The slope is not positive.
        DataError: `before` has no time step.
        StoppedRun: The magnet's response has another length or a value that is not finite; nothing
            more is applied, and the error holds the cycles before.
    """
    require(slope_T_A > 0, "slope_T_A", "be positive", slope_T_A)
    if before.dt_s is None:
        raise DataError(f"Argument `before` must have a time step, but {before.name!r} has none.")
    dt_s = before.dt_s
    trims = dict(trims_T)
    found: list[CorrectedCycle] = []
    for cycle in cycles:
        programme, shape = cycle.samples(dt_s), cycle.trim_shape(dt_s)
        trim = trims.get(cycle.name, 0.0)
        planned = programme + trim / slope_T_A * shape
        ahead = forecast_cycle(forecaster, before, before.y, planned, state)
        state = ahead.state
        forecast = flat_bottom(np.asarray(ahead.mean), dt_s)
        now = float(corrector.step(trim, forecast - float(corrector.field_T)))
        current = programme + now / slope_T_A * shape
        field = np.asarray(respond(current))
        wrong = _what_is_wrong(field, current)
        if wrong:
            done = CorrectedRun(tuple(found), trims, state)
            raise StoppedRun(
                f"Argument `respond` must return finite fields, one a sample, but of "
                f"{cycle.name!r}, cycle {len(found)}, it {wrong}.",
                done,
            )
        before = Recording(cycle.name, current, field, before.u_unit, before.y_unit, dt_s=dt_s)
        measured = flat_bottom(field, dt_s)
        found.append(CorrectedCycle(before, now, forecast + now - trim, measured))
        trims[cycle.name] = now
    return CorrectedRun(tuple(found), trims, state)


def _what_is_wrong(field: np.ndarray, current: np.ndarray) -> str:
    """Of a measured field, in words; nothing where all is right."""
    if field.shape != current.shape:
        return f"returns shape {field.shape} for {current.shape}"
    if not np.isfinite(field).all():
        index = int(np.argmin(np.isfinite(field)))
        return f"returns {field[index]} at sample {index}"
    return ""
