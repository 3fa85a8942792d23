"""Cycles of an accelerator: the current of a magnet as a function of time, from knots.

The cycles here stand in for those of CERN's Super Proton Synchrotron, whose measured fields are not
public: the flat bottom of 161 A gives 0.0622 T, and durations, ramp rates and currents are of
realistic size. Nothing in them was taken from a machine's settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from diffhep.core.checks import as_integer, require, require_positive
from diffhep.core.errors import ConfigError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key

FLAT_BOTTOM_A = 161.0
"""Current at which particles are injected."""

FLAT_BOTTOM_T = 0.0622
"""Field at which they should be."""

INJECTION_S = (0.2, 0.5)
"""From when to when after the cycle's start the field at the flat bottom matters."""

_TRIM_ON_S = 0.1
"""Seconds in which a trim is switched on at the cycle's start, and off when the ramp starts."""


@dataclass(frozen=True)
class Cycle:
    """A current programme that starts and ends at the flat bottom.

    Straight between knots, averaged over `rounding_s`, so that ramps begin and end as parabolas.

    Attributes:
        name: Of the kind of cycle.
        knots_s: Times of the knots in seconds, rising from 0; the last one is the duration.
        knots_A: Currents there; the first and the last are the flat bottom's.
        flat_bottom_end_s: When the ramp starts.
        rounding_s: Width of the average.

    Raises:
        ConfigError: The knots do not rise from 0, are not one for one, do not start and end at the
            same current, or the ramp starts before the injection has ended.
    """

    name: str
    knots_s: tuple[float, ...]
    knots_A: tuple[float, ...]
    flat_bottom_end_s: float
    rounding_s: float = 0.12

    def __post_init__(self) -> None:
        require_positive(self, "rounding_s")
        times, n = self.knots_s, len(self.knots_s)
        require(len(self.knots_A) == n >= 2, "knots_A", f"have {n} values", len(self.knots_A))
        require(
            times[0] == 0.0 and bool((np.diff(times) > 0).all()), "knots_s", "rise from 0", times
        )
        ends = self.knots_A[0], self.knots_A[-1]
        require(ends[0] == ends[1], "knots_A", "end where they start", ends)
        late = INJECTION_S[1] <= self.flat_bottom_end_s <= times[-1]
        rule = f"lie between {INJECTION_S[1]} and {times[-1]}"
        require(late, "flat_bottom_end_s", rule, self.flat_bottom_end_s)

    @property
    def duration_s(self) -> float:
        """From one start to the next."""
        return self.knots_s[-1]

    def current_A(self, t_s: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """The programme at times after the start; beyond the cycle the flat bottom.

        Args:
            t_s: Times in seconds.

        Returns:
            Currents in A.
        """
        half = self.rounding_s / 2
        mean = (self._charge(t_s + half) - self._charge(t_s - half)) / self.rounding_s
        # To the microampere: a plateau that wavers by rounding would be full of reversals.
        return np.round(mean, 6)

    def samples(self, dt_s: float) -> Float[np.ndarray, " time"]:
        """The programme at every time step from the start on, the end left to the next cycle.

        Args:
            dt_s: Time step, of which the duration holds a whole number.

        Returns:
            Currents in A.

        Raises:
            ConfigError: It holds no whole number of them.
        """
        return self.current_A(self._times(dt_s))

    def trim_shape(self, dt_s: float) -> Float[np.ndarray, " time"]:
        """What a trim of one ampere adds to the samples: on before injection, off on the ramp.

        Args:
            dt_s: Time step.

        Returns:
            Shares between 0 and 1.
        """
        knots = np.array([0.0, _TRIM_ON_S, self.flat_bottom_end_s])
        shape = np.array([0.0, 1.0, 1.0])
        off = self.flat_bottom_end_s + _TRIM_ON_S
        return np.interp(self._times(dt_s), np.append(knots, off), np.append(shape, 0.0))

    def _times(self, dt_s: float) -> Float[np.ndarray, " time"]:
        n = round(self.duration_s / dt_s)
        good = n > 0 and abs(n * dt_s - self.duration_s) < 1e-6 * dt_s * n
        require(good, "dt_s", f"divide the duration of {self.duration_s} s", dt_s)
        return dt_s * np.arange(n)

    def _charge(self, t_s: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
        """The integral of the current between knots, from 0 on."""
        knots, current = np.array(self.knots_s), np.array(self.knots_A)
        parts = 0.5 * (current[1:] + current[:-1]) * np.diff(knots)
        at_knots = np.append(0.0, np.cumsum(parts))
        inside = np.clip(t_s, 0.0, knots[-1])
        i = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, knots.size - 2)
        here = np.interp(inside, knots, current)
        within = at_knots[i] + 0.5 * (current[i] + here) * (inside - knots[i])
        return within + np.where(t_s < 0.0, current[0], current[-1]) * (t_s - inside)


def _cycle(
    name: str,
    flat_bottom_s: float,
    rise_s: float,
    top_A: float,
    top_s: float,
    fall_s: float,
    undershoot_A: float,
    duration_s: float,
) -> Cycle:
    """Flat bottom, ramp, flat top, ramp down to an undershoot, back to the flat bottom."""
    lengths = [flat_bottom_s, rise_s, top_s, fall_s, 0.2, 0.1]
    knots = [0.0, *np.cumsum(lengths).tolist(), duration_s]
    low = FLAT_BOTTOM_A - undershoot_A
    currents = [FLAT_BOTTOM_A] * 2 + [top_A] * 2 + [low] * 2 + [FLAT_BOTTOM_A] * 2
    return Cycle(name, tuple(knots), tuple(currents), flat_bottom_s)


CYCLES = {
    one.name: one
    for one in (
        _cycle("fixed target", 1.2, 3.0, 5100.0, 6.6, 1.8, 3.0, 14.4),
        _cycle("fixed target, economy", 1.2, 1.0, 1500.0, 10.0, 0.6, 7.0, 14.4),
        _cycle("LHC", 6.0, 4.2, 5750.0, 0.6, 1.8, 5.0, 14.4),
        _cycle("LHC, economy", 6.0, 1.0, 1200.0, 4.2, 0.6, 9.0, 14.4),
        _cycle("MD", 2.4, 1.4, 2300.0, 0.6, 1.0, 2.0, 7.2),
    )
}
"""Kinds of cycles by name: fixed target, LHC, machine development, and two of dynamic economy, in
which a cycle without beam goes to a low plateau only."""


def flat_bottom(field: Float[np.ndarray, " time"], dt_s: float) -> float:
    """Mean field of a cycle during injection.

    Args:
        field: Along the cycle or at least until injection ends, from the cycle's start on.
        dt_s: Time step in seconds.

    Returns:
        The mean, in the field's unit.
    """
    first, last = (round(t / dt_s) for t in INJECTION_S)
    return float(np.mean(np.asarray(field)[first:last]))


def supercycle(names: Sequence[str], cycles: dict[str, Cycle] | None = None) -> tuple[Cycle, ...]:
    """Cycles by name, in the order given.

    Args:
        names: Of the cycles.
        cycles: The kinds there are; `CYCLES` by default.

    Returns:
        The cycles.

    Raises:
        ConfigError: There is no cycle of a name.
    """
    known = CYCLES if cycles is None else cycles
    for name in names:
        if name not in known:
            found = ", ".join(repr(one) for one in known)
            raise ConfigError(f"Argument `names` must be among {found}, but there is {name!r}.")
    return tuple(known[name] for name in names)


def random_order(n: int, cycles: dict[str, Cycle] | None = None, *, key: Key) -> tuple[Cycle, ...]:
    """Cycles drawn one by one, all kinds with equal probability.

    Args:
        n: How many.
        cycles: The kinds there are; `CYCLES` by default.
        key: Random key.

    Returns:
        The cycles.

    Raises:
        ConfigError: `n` is no positive integer.
    """
    check_key(key)
    n = as_integer(n, "n", low=1)
    names = list(CYCLES if cycles is None else cycles)
    drawn = np.asarray(jax.random.randint(key, (n,), 0, len(names)))
    return supercycle([names[i] for i in drawn], cycles)
