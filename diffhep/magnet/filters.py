"""What is done to measured series before anything is learned from them.

The chain in use at accelerators: low-pass, decimate from 1 kHz to 50 Hz, subtract the anhysteretic
calibration, add the current's rate.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.signal import butter, sosfiltfilt

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import ConfigError, DataError
from diffhep.magnet.datasets import Recording
from diffhep.magnet.operators.calibration import Calibration
from diffhep.magnet.windows import require_alike

ORDER = 4
"""Of the Butterworth filter, which is run forth and back and so has twice that."""

SHARE_OF_NYQUIST = 0.8
"""Where `decimate` cuts, in units of the new Nyquist frequency."""


def low_pass(recording: Recording, cut_Hz: float) -> Recording:
    """Input and output without what is faster, neither delayed.

    The filter looks ahead; it is for recordings, not for what is measured right now.

    Args:
        recording: It, with a time step.
        cut_Hz: Frequency at which half the power is left.

    Returns:
        The recording, filtered.

    Raises:
        ConfigError: The frequency does not lie below the recording's Nyquist frequency.
        DataError: There is no time step, or too few samples.
    """
    dt_s = _time_step(recording)
    nyquist = 0.5 / dt_s
    require(0.0 < cut_Hz < nyquist, "cut_Hz", f"lie between 0 and {nyquist} Hz", cut_Hz)
    sections = np.asarray(butter(ORDER, cut_Hz / nyquist, output="sos"))
    shortest = 3 * (2 * len(sections) + 1)
    if len(recording.u) <= shortest:
        raise DataError(
            f"Argument `recording` must hold more than {shortest} samples to be filtered, but "
            f"{recording.name!r} has {len(recording.u)}."
        )
    u, y = (sosfiltfilt(sections, row) for row in (recording.u, recording.y))
    return dataclasses.replace(recording, u=u, y=y)


def decimate(recording: Recording, factor: int) -> Recording:
    """Every so many samples, after a low-pass that keeps faster ones from being folded in.

    Args:
        recording: It, with a time step and without standard errors of single samples.
        factor: Samples before for one after; 20 from 1 kHz to 50 Hz.

    Returns:
        The recording at the longer time step.

    Raises:
        ConfigError: The factor is no integer of at least 2.
        DataError: There is no time step, or too few samples.
    """
    factor = as_integer(factor, "factor", low=2)
    dt_s = _time_step(recording)
    slow = low_pass(recording, SHARE_OF_NYQUIST * 0.5 / (factor * dt_s))
    u, y = slow.u[::factor], slow.y[::factor]
    return dataclasses.replace(slow, u=u, y=y, y_sigma=None, dt_s=factor * dt_s)


def rate(u: Float[np.ndarray, " time"], dt_s: float) -> Float[np.ndarray, " time"]:
    """What the input changed since the sample before, per second; 0 at the first.

    Args:
        u: Inputs.
        dt_s: Seconds between them.

    Returns:
        Rates.
    """
    return np.diff(u, prepend=u[:1]) / dt_s


def fit_calibration(recordings: Sequence[Recording], n_points: int = 24) -> Calibration:
    """The rising curve through the means of samples with similar inputs.

    The bins are evenly spaced in the rank of the inputs, each value of the input counted once: a
    plateau, however long, is one value, and of the same weight as any other.

    Args:
        recordings: Of one unit and time step.
        n_points: Most points of the curve; bins that would not rise are joined to the one before.

    Returns:
        The curve.

    Raises:
        ConfigError: Fewer than two points, or the output does not rise with the input.
        DataError: The recordings differ in kind or hold values that are not finite.
    """
    n_points = as_integer(n_points, "n_points", low=2)
    require_alike(recordings)
    u = np.concatenate([one.u for one in recordings])
    y = np.concatenate([one.y for one in recordings])
    distinct, group = np.unique(np.round(u, 6), return_inverse=True)
    mean = np.bincount(group, y) / np.bincount(group)
    points: list[tuple[float, float]] = []
    for rows in np.array_split(np.arange(distinct.size), min(n_points, distinct.size)):
        at, found = float(distinct[rows].mean()), float(mean[rows].mean())
        if not points or (at > points[-1][0] and found > points[-1][1]):
            points.append((at, found))
    if len(points) < 2:
        raise ConfigError("Argument `recordings` must hold an output that rises with the input.")
    return Calibration(*np.array(points).T)


def subtract(recording: Recording, calibration: Calibration) -> Recording:
    """What a calibration curve leaves of the output.

    Args:
        recording: It.
        calibration: The curve.

    Returns:
        The recording with the difference as its output.
    """
    return dataclasses.replace(
        recording, y=recording.y - np.asarray(calibration(jnp.asarray(recording.u))[0])
    )


def _time_step(recording: Recording) -> float:
    if recording.dt_s is None:
        raise DataError(
            f"Argument `recording` must have a time step, but {recording.name!r} has none."
        )
    return recording.dt_s
