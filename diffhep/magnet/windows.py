"""Windows of recordings: what is known when a forecast is made, and what it is held against."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffhep.core.checks import as_integer, require, require_real
from diffhep.core.errors import DataError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.datasets import Recording

_NONE = np.zeros(0)

_LARGEST_T = 10.0
"""No magnet of an accelerator has a field above this."""

_LARGEST_T_PER_A = 0.2
"""Nor one of so much field per ampere: kiloamperes are likelier."""


class Window(NamedTuple):
    """What is known when a forecast is made.

    Attributes:
        u: The input along context and horizon; the programme of the horizon is known ahead.
        y: The output along the context.
        dt: Seconds between samples.
        covariates: What stays the same along the window and is known: a temperature, say.
    """

    u: Float[Array, " context_and_horizon"]
    y: Float[Array, " context"]
    dt: Scalar | float = 1.0
    covariates: Float[Array, " covariate"] | np.ndarray = _NONE

    @property
    def n_context(self) -> int:
        """Samples whose output is known."""
        return self.y.shape[-1]

    @property
    def n_horizon(self) -> int:
        """Samples whose output is forecast."""
        return self.u.shape[-1] - self.y.shape[-1]


class Windows(NamedTuple):
    """Windows of one form, and what was found in their horizons.

    Attributes:
        known: A `Window` whose every leaf has a leading axis, the window.
        target: The output along the horizons.
        recording: Which recording each was cut from; what is split is recordings.
        start: Index of each window's first sample in its recording.
    """

    known: Window
    target: Float[Array, "window horizon"]
    recording: Int[Array, " window"]
    start: Int[Array, " window"]

    @property
    def n_windows(self) -> int:
        """How many there are."""
        return self.target.shape[0]

    def take(self, rows: Int[Array, "*row"]) -> "Windows":
        """Some of them.

        Args:
            rows: Which ones.

        Returns:
            Those.
        """
        return jax.tree.map(lambda leaf: leaf[rows], self)


def cut_windows(
    recordings: Sequence[Recording],
    n_context: int,
    n_horizon: int,
    *,
    stride: int | None = None,
) -> Windows:
    """All windows of a form that recordings hold, one every `stride` samples.

    Cost: a copy of the data for every window, so (n_context + n_horizon) / stride of them.

    Args:
        recordings: Of one time step and of the same units.
        n_context: Samples whose output is known; none for a forecast from the input alone.
        n_horizon: Samples to forecast.
        stride: Samples between the starts of two windows of a recording; the horizon by default,
            so that every sample is forecast once.

    Returns:
        The windows, in the order of the recordings.

    Raises:
        ConfigError: A length is out of its range.
        DataError: Recordings differ in time step or units, have unequal or non-finite series, or
            one is too short.
    """
    n_context = as_integer(n_context, "n_context", low=0)
    n_horizon = as_integer(n_horizon, "n_horizon", low=1)
    stride = as_integer(n_horizon if stride is None else stride, "stride", low=1)
    require_alike(recordings)
    length = n_context + n_horizon
    u, y, number, start, covariates = [], [], [], [], []
    for index, recording in enumerate(recordings):
        if len(recording.u) < length:
            raise DataError(
                f"Argument `recordings` must hold at least {length} samples each, context and "
                f"horizon, but {recording.name!r} has {len(recording.u)}."
            )
        starts = np.arange(0, len(recording.u) - length + 1, stride)
        rows = starts[:, None] + np.arange(length)
        u.append(recording.u[rows])
        y.append(recording.y[rows])
        start.append(starts)
        number.append(np.full(len(starts), index))
        temperature = recording.temperature_C
        found = _NONE if temperature is None else np.array([temperature])
        covariates.append(np.broadcast_to(found, (len(starts), found.size)))
    all_y, n = np.concatenate(y), sum(map(len, start))
    dt = recordings[0].dt_s
    known = Window(
        jnp.asarray(np.concatenate(u)),
        jnp.asarray(all_y[:, :n_context]),
        jnp.full(n, 1.0 if dt is None else dt),
        jnp.asarray(np.concatenate(covariates)),
    )
    target = jnp.asarray(all_y[:, n_context:])
    return Windows(
        known, target, jnp.asarray(np.concatenate(number)), jnp.asarray(np.concatenate(start))
    )


def split_recordings(
    recordings: Sequence[Recording], held_out: float, *, key: Key
) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """Recordings to learn from, and whole recordings kept from it.

    Windows of one recording share its noise, drift and history, so that a random split of windows
    would test on what was learned.

    Args:
        recordings: At least two.
        held_out: The share kept, in (0, 1); at least one recording on either side.
        key: Random key.

    Returns:
        Those to learn from and those kept, each in their order.

    Raises:
        ConfigError: The share is out of its range.
        DataError: There is only one recording.
    """
    check_key(key)
    require_real(held_out, "held_out", "lie in (0, 1)")
    require(0.0 < held_out < 1.0, "held_out", "lie in (0, 1)", held_out)
    n = len(recordings)
    if n < 2:
        raise DataError(f"Argument `recordings` must hold at least 2 to be split, but holds {n}.")
    n_kept = min(max(1, round(held_out * n)), n - 1)
    kept = set(np.asarray(jax.random.permutation(key, n))[:n_kept].tolist())
    parts = ([], [])
    for index, recording in enumerate(recordings):
        parts[index in kept].append(recording)
    return tuple(parts[0]), tuple(parts[1])


def require_alike(recordings: Sequence[Recording]) -> None:
    """Recordings can be learned from together.

    Args:
        recordings: They.

    Raises:
        DataError: There is none; series of one differ in length or hold a value that is not
            finite; they differ from one another in time step, units or in what else is known.

    Warns:
        UserWarning: A magnitude does not fit its unit.
    """
    if not recordings:
        raise DataError("Argument `recordings` must hold at least one, but it is empty.")
    first = recordings[0]
    for recording in recordings:
        _require_whole(recording)
        for name in ("dt_s", "u_unit", "y_unit"):
            found, expected = getattr(recording, name), getattr(first, name)
            same = np.isclose(found, expected) if _are_numbers(found, expected) else None
            if not (found == expected if same is None else same):
                raise DataError(
                    f"Argument `recordings` must share `{name}`, but {first.name!r} has "
                    f"{expected!r} and {recording.name!r} has {found!r}."
                )
        if (recording.temperature_C is None) != (first.temperature_C is None):
            raise DataError(
                f"Argument `recordings` must all know their temperature or none, but "
                f"{first.name!r} and {recording.name!r} differ."
            )

    _warn_of_units(recordings)


def _warn_of_units(recordings: Sequence[Recording]) -> None:
    """Fields in gauss or millitesla called tesla, currents in kiloamperes called amperes."""
    first = recordings[0]
    largest = {
        name: max(float(np.max(np.abs(getattr(one, name)))) for one in recordings)
        for name in ("u", "y")
    }
    for name, unit in (("u", first.u_unit), ("y", first.y_unit)):
        if unit == "T" and largest[name] > _LARGEST_T:
            warnings.warn(
                f"`{name}` of the recordings reaches {largest[name]:.4g} T, above "
                f"{_LARGEST_T:g} T: are its values in gauss or millitesla?",
                stacklevel=3,
            )
    if (first.u_unit, first.y_unit) != ("A", "T") or largest["y"] > _LARGEST_T:
        return
    if largest["y"] > _LARGEST_T_PER_A * largest["u"]:
        warnings.warn(
            f"`u` of the recordings reaches {largest['u']:.4g} A and `y` {largest['y']:.4g} T, "
            f"more than {_LARGEST_T_PER_A:g} T/A: are the currents in kiloamperes?",
            stacklevel=3,
        )


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, float | int) for value in values)


def _require_whole(recording: Recording) -> None:
    """Series of the same length, all values finite."""
    if len(recording.u) != len(recording.y):
        raise DataError(
            f"Argument `recordings` must have as many inputs as outputs, but {recording.name!r} "
            f"has {len(recording.u)} and {len(recording.y)}."
        )
    for name in ("u", "y"):
        finite = np.isfinite(getattr(recording, name))
        if not finite.all():
            index = int(np.argmin(finite))
            raise DataError(
                f"Argument `recordings` must be finite, but `{name}` of {recording.name!r} at "
                f"index {index} is {getattr(recording, name)[index]}."
            )
