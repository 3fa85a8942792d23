"""What a run is made of: sequences of cycles, forecasts of their flat bottoms, corrections."""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.typing import Key
from diffhep.magnet import (
    Calibration,
    CorrectedRun,
    Cycle,
    CycleCorrector,
    OperatorForecaster,
    Recording,
    SyntheticMagnet,
    correct_cycles,
    flat_bottom,
    forecast_cycle,
    random_order,
    supercycle,
)
from diffhep.magnet.cycles import FLAT_BOTTOM_A, FLAT_BOTTOM_T, INJECTION_S
from diffhep.magnet.synthetic import FULL_CURRENT_A

Sequences = tuple[tuple[Recording, ...], ...]

SUPERCYCLES = (
    ("fixed target", "MD", "LHC", "fixed target, economy"),
    ("LHC", "LHC, economy", "fixed target", "MD"),
    ("fixed target", "fixed target, economy", "LHC, economy", "MD"),
)
"""Orders of cycles to learn from; of 25 pairs of neighbours they hold 9."""

REACH_A = 1.0
"""How near the flat bottom's current a residual counts."""

N_TIMED = 20
"""Repetitions of the timed forecast."""


def learning_cycles(n_repeats: int) -> list[tuple[Cycle, ...]]:
    """The supercycles, each so many times.

    Args:
        n_repeats: How often.

    Returns:
        One sequence for each supercycle.
    """
    return [supercycle(names * n_repeats) for names in SUPERCYCLES]


def unseen_cycles(n: int, n_cycles: int, *, key: Key) -> list[tuple[Cycle, ...]]:
    """Sequences of cycles in random order, with one more at the start.

    Args:
        n: Sequences.
        n_cycles: Cycles that are forecast.
        key: Random key.

    Returns:
        The sequences.
    """
    return [random_order(n_cycles + 1, key=one) for one in jax.random.split(key, n)]


def share_unseen(cycles: Sequence[Sequence[Cycle]]) -> float:
    """Share of the pairs of neighbours that the supercycles do not hold.

    Args:
        cycles: Sequences.

    Returns:
        The share.
    """
    known = {
        pair for names in SUPERCYCLES for pair in zip(names, (*names[1:], names[0]), strict=True)
    }
    pairs = [(a.name, b.name) for sequence in cycles for a, b in pairwise(sequence)]
    return sum(pair not in known for pair in pairs) / len(pairs)


def measured(
    magnet: SyntheticMagnet, cycles: Sequence[Sequence[Cycle]], dt_s: float, *, key: Key
) -> Sequences:
    """Run sequences side by side, each with a drift and noise of its own.

    Args:
        magnet: The magnet.
        cycles: The sequences.
        dt_s: Seconds between samples.
        key: Random key.

    Returns:
        Their recordings, one for each cycle.
    """
    currents = [[cycle.samples(dt_s) for cycle in sequence] for sequence in cycles]
    joined = [np.concatenate(one) for one in currents]
    longest = max(one.size for one in joined)
    padded = np.stack([np.pad(one, (0, longest - one.size), mode="edge") for one in joined])
    fields = np.asarray(
        _fields(magnet, jnp.asarray(padded), dt_s, jax.random.split(key, len(joined)))
    )
    found = []
    for sequence, parts, field in zip(cycles, currents, fields, strict=True):
        ends = np.cumsum([part.size for part in parts])
        rows = np.split(field[: ends[-1]], ends[:-1])
        found.append(
            tuple(
                Recording(cycle.name, u, y, "A", "T", dt_s=dt_s)
                for cycle, u, y in zip(sequence, parts, rows, strict=True)
            )
        )
    return tuple(found)


@eqx.filter_jit
def _fields(
    magnet: SyntheticMagnet, currents: Float[Array, "chain time"], dt_s: float, keys: Array
) -> Float[Array, "chain time"]:
    def one(current: Array, key: Key) -> Array:
        first, second = jax.random.split(key)
        state = magnet.init(FLAT_BOTTOM_A, key=first)
        return magnet.run(state, current, dt_s, key=second)[1]

    return jax.vmap(one)(currents, keys)


def bench_calibration(magnet: SyntheticMagnet) -> Calibration:
    """The curve of a bench: mean of both branches between no and full current, slowly.

    Args:
        magnet: The magnet.

    Returns:
        The curve.
    """
    up = np.concatenate([[0.0, 60.0, 120.0, FLAT_BOTTOM_A], np.linspace(250.0, FULL_CURRENT_A, 25)])
    way = jnp.asarray(np.concatenate([up, up[::-1], up, up[::-1]]))
    field = np.asarray(eqx.filter_jit(magnet.operator)(way, 60.0)[0])[-2 * up.size :]
    return Calibration(up, 0.5 * (field[: up.size] + field[: up.size - 1 : -1]))


class BottomErrors(NamedTuple):
    """Errors of forecasts at flat bottom, cycle after cycle.

    Attributes:
        error_T: Forecast less measured, a row for each sequence.
        field_T: Measured.
    """

    error_T: Float[np.ndarray, "sequence cycle"]
    field_T: Float[np.ndarray, "sequence cycle"]


def bottom_errors(forecaster: OperatorForecaster, sequences: Sequences) -> BottomErrors:
    """Forecast the flat bottom of every cycle but the first, each from the measured one before.

    As `rollout` with resynchronisation at every cycle, of the samples that matter only.

    Args:
        forecaster: It.
        sequences: Recordings of cycles.

    Returns:
        The errors.
    """
    errors, fields = [], []
    for sequence in sequences:
        state, dt_s = None, sequence[0].dt_s or 1.0
        n = round(INJECTION_S[1] / dt_s)
        row = []
        for before, now in pairwise(sequence):
            ahead = forecast_cycle(forecaster, before, before.y, now.u[:n], state)
            state = ahead.state
            row.append(flat_bottom(np.asarray(ahead.mean), dt_s))
        field = np.array([flat_bottom(one.y, dt_s) for one in sequence[1:]])
        errors.append(np.array(row) - field)
        fields.append(field)
    return BottomErrors(np.stack(errors), np.stack(fields))


class Corrections(NamedTuple):
    """Errors at flat bottom with and without corrections, on the same cycles, drift and noise.

    Attributes:
        error_T: Measured less what it should be, a row for each sequence.
        trim_T: What was applied.
    """

    error_T: Float[np.ndarray, "sequence cycle"]
    trim_T: Float[np.ndarray, "sequence cycle"]


def corrected(
    corrector: CycleCorrector,
    forecaster: OperatorForecaster,
    magnet: SyntheticMagnet,
    cycles: Sequence[Sequence[Cycle]],
    dt_s: float,
    slope_T_A: float,
    *,
    key: Key,
) -> Corrections:
    """Correct sequences, each after the supercycles that were learned from, once.

    Args:
        corrector: Makes the trims.
        forecaster: Forecasts.
        magnet: Responds.
        cycles: The sequences; the first cycle of each is not counted.
        dt_s: Seconds between samples.
        slope_T_A: Field per current at the flat bottom.
        key: Random key, for drift and noise.

    Returns:
        The errors of what is counted.
    """
    made = [
        _corrected(corrector, forecaster, magnet, sequence, dt_s, slope_T_A, key=one)
        for sequence, one in zip(cycles, jax.random.split(key, len(cycles)), strict=True)
    ]
    rows = [one.cycles[-(len(cycles[0]) - 1) :] for one in made]
    error = [[cycle.measured_T - FLAT_BOTTOM_T for cycle in row] for row in rows]
    return Corrections(np.array(error), np.array([[cycle.trim_T for cycle in row] for row in rows]))


def _corrected(
    corrector: CycleCorrector,
    forecaster: OperatorForecaster,
    magnet: SyntheticMagnet,
    cycles: Sequence[Cycle],
    dt_s: float,
    slope_T_A: float,
    *,
    key: Key,
) -> CorrectedRun:
    first, *keys = jax.random.split(key, 1 + 1 + len(cycles) + sum(map(len, SUPERCYCLES)))
    state, left = magnet.init(FLAT_BOTTOM_A, key=first), iter(keys)

    def respond(current: np.ndarray) -> np.ndarray:
        nonlocal state
        state, field = magnet.run(state, jnp.asarray(current), dt_s, key=next(left))
        return np.asarray(field)

    commissioning = [cycle for names in SUPERCYCLES for cycle in supercycle(names)]
    u = commissioning[-1].samples(dt_s)
    before = Recording(commissioning[-1].name, u, respond(u), "A", "T", dt_s=dt_s)
    every = [*commissioning, *cycles]
    return correct_cycles(corrector, forecaster, every, before, respond, slope_T_A=slope_T_A)


def latency_s(forecaster: OperatorForecaster, sequence: Sequence[Recording]) -> float:
    """Median time of a compiled forecast of a whole cycle, the cycle before it read.

    Args:
        forecaster: It.
        sequence: Cycles.

    Returns:
        Seconds.
    """
    before, now = sequence[0], sequence[1]
    state = forecast_cycle(forecaster, before, before.y, now.u).state
    taken = []
    for _ in range(N_TIMED):
        start = time.perf_counter()
        ahead = forecast_cycle(forecaster, before, before.y, now.u, state)
        jax.block_until_ready(ahead.mean)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:]))
