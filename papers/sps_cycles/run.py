"""Cycles of an accelerator with memory: forecast, interval, correction before the cycle starts."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.magnet import (
    CYCLES,
    Calibration,
    CycleCorrector,
    OperatorForecaster,
    SyntheticMagnet,
    adaptive_intervals,
    conformal_intervals,
    coverage,
    fit_calibration,
    fit_operating_range,
    flat_bottom,
    identify,
    rollout,
    sps_dipole,
)
from diffhep.magnet.cycles import FLAT_BOTTOM_A, FLAT_BOTTOM_T
from diffhep.magnet.synthetic import FULL_CURRENT_A
from papers.sps_cycles import stages
from papers.sps_cycles.config import PRESETS, Config
from papers.sps_cycles.networks import network_errors
from papers.sps_cycles.stages import REACH_A, Sequences, bottom_errors, corrected

__all__ = ["PRESETS", "Config", "run"]

LEVEL = 0.9
"""Probability of the intervals."""

FINE_T = 2e-6
"""Smallest step of a second corrector: what the forecasts are good for."""

DISTANCE_LIMIT = 0.05
"""Up to which a programme counts as known."""


STRANGE_A = (161.0, 161.0, 3500.0, 3500.0, 159.0, 159.0, 161.0, 161.0)
"""Currents of a cycle that was never learned from."""


class _Forecasters(NamedTuple):
    """What is compared: operators, a calibration curve, and that curve kept at the field."""

    operators: OperatorForecaster
    curve: Calibration
    kept: OperatorForecaster


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Learn from supercycles, forecast and correct cycles in another order.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    magnet, dt_s = sps_dipole(), config.dt_s
    cycles = {
        "train": stages.learning_cycles(config.n_repeats),
        "calibration": stages.unseen_cycles(
            config.n_calibration, config.n_cycles, key=key_for(key, "calibration order")
        ),
        "test": stages.unseen_cycles(
            config.n_test, config.n_cycles, key=key_for(key, "test order")
        ),
    }
    parts = {
        name: stages.measured(magnet, one, dt_s, key=key_for(key, name))
        for name, one in cycles.items()
    }
    forecasters = _learned(parts["train"])
    directory.log("operators", 0, sigma=float(forecasters.operators.sigma))
    arrays: dict[str, Any] = {"dt_s": dt_s, "unseen": stages.share_unseen(cycles["test"])}
    made = _forecast_claims(config, forecasters, parts, arrays)
    directory.log("forecasts", 1, **{claim.name: claim.value for claim in made})
    made += _free_claims(config, forecasters.operators, parts["test"], arrays, magnet)
    made += _correction_claims(config, magnet, forecasters, cycles["test"], arrays, key=key)
    made += _range_claims(parts)
    if config.judge:
        seconds = stages.latency_s(forecasters.operators, parts["test"][0])
        made.append(Claim("forecast of a cycle, compiled / s", seconds, None, 0.5, "target", "<="))
    if config.n_steps:
        calibration = fit_calibration([one for row in parts["train"] for one in row])
        found = network_errors(
            calibration,
            parts["train"],
            parts["test"],
            config.n_steps,
            directory,
            key=key_for(key, "networks"),
        )
        made += [
            _rms_claim(f"{name}, resync each cycle", error, 2e-5) for name, error in found.items()
        ]
        arrays |= {f"network/{name}": error for name, error in found.items()}
    directory.save_data(arrays)
    return made


def _learned(train: Sequences) -> _Forecasters:
    """Identified on the sequences to learn from, and nothing else."""
    operators = identify(train, u_reference=FLAT_BOTTOM_A, reach=REACH_A, sweep=FULL_CURRENT_A)
    calibration = fit_calibration([one for sequence in train for one in sequence])
    bottoms = [flat_bottom(one.y, one.dt_s or 1.0) for row in train for one in row]
    at_bottom = float(_at_bottom(calibration))
    curve = Calibration(calibration.u, calibration.y + float(np.mean(bottoms)) - at_bottom)
    kept = OperatorForecaster(
        operator=curve,
        history=[FLAT_BOTTOM_A],
        u_reference=FLAT_BOTTOM_A,
        reach=REACH_A,
        memory_s=0.2,
    )
    return _Forecasters(operators, curve, kept)


def _rms(errors: np.ndarray) -> tuple[float, float | None]:
    """Root mean square, its error by the jackknife over sequences."""
    value = float(np.sqrt(np.mean(errors**2)))
    n = errors.shape[0]
    if n < 2:
        return value, None
    without = [math.sqrt(np.mean(np.delete(errors, i, axis=0) ** 2)) for i in range(n)]
    return value, math.sqrt((n - 1) * float(np.var(without)))


def _rms_claim(name: str, errors: np.ndarray, bar: float, source: str = "target") -> Claim:
    return Claim(f"{name}: flat bottom, RMS / T", *_rms(errors), bar, source, "<=")


def _forecast_claims(
    config: Config, forecasters: _Forecasters, parts: dict[str, Sequences], arrays: dict[str, Any]
) -> list[Claim]:
    """Errors with the field measured up to the cycle's start, and the intervals around them."""
    test = parts["test"]
    own, kept = bottom_errors(forecasters.operators, test), bottom_errors(forecasters.kept, test)
    before = bottom_errors(forecasters.operators, parts["calibration"]).error_T
    arrays |= {"resync/operators": own.error_T, "resync/curve": kept.error_T}
    arrays |= {"field_T": own.field_T, "calibration_errors": before}
    bar = 2e-5 if config.judge else 1e-4
    made = [
        _rms_claim("operators, resync each cycle", own.error_T, bar),
        _rms_claim("calibration curve, resync each cycle", kept.error_T, bar),
    ]
    half_width = float(conformal_intervals(before.ravel(), LEVEL))
    sequence = np.repeat(np.arange(config.n_test), config.n_cycles)
    held = coverage(own.error_T.ravel(), half_width, sequence)
    adaptive = adaptive_intervals(before.ravel(), own.error_T.ravel(), LEVEL)
    followed = coverage(own.error_T.ravel(), adaptive, sequence)
    arrays |= {"half_width_T": half_width, "adaptive_T": adaptive}
    if not config.judge:
        return made
    for name, one in (("conformal", held), ("adaptive", followed)):
        off = abs(one.share - LEVEL)
        made.append(
            Claim(f"{name} 90 % interval: |coverage - 0.9|", off, one.stderr, 0.02, "target", "<=")
        )
    made.append(
        Claim("conformal 90 % interval: half-width / T", half_width, None, 2e-5, "target", "<=")
    )
    return made


def _free_claims(
    config: Config,
    forecaster: OperatorForecaster,
    test: Sequences,
    arrays: dict[str, Any],
    magnet: SyntheticMagnet,
) -> list[Claim]:
    """Errors without resynchronisation, beside what the drift alone makes of them."""
    rows, times = [], []
    for sequence in test[: config.n_free]:
        found = rollout(forecaster, sequence, resync=None)
        rows.append([flat_bottom(one.mean - one.measured, config.dt_s) for one in found])
        times.append(np.cumsum([one.u.size * config.dt_s for one in sequence[:-1]]))
    error, elapsed = np.array(rows), np.mean(times, axis=0)
    drift = magnet.drift_T * np.sqrt(2.0 * (1.0 - np.exp(-elapsed / magnet.drift_s)))
    first = test[0][:5]
    shown = rollout(forecaster, first)
    arrays |= {
        "free": error,
        "drift_T": drift,
        "shown/u": np.concatenate([one.u for one in first[1:]]),
        "shown/measured": np.concatenate([one.measured for one in shown]),
        "shown/mean": np.concatenate([one.mean for one in shown]),
        "shown/calibration": np.concatenate(
            [np.asarray(_curve(forecaster)(jnp.asarray(one.u))[0]) for one in first[1:]]
        ),
    }
    late = error[:, -max(1, config.n_cycles // 5) :]
    value, spread = _rms(late)
    name = "operators, no resync, last fifth"
    whole = np.sqrt(np.mean((arrays["shown/mean"] - arrays["shown/measured"]) ** 2))
    made = [
        Claim(
            f"{name}: flat bottom, RMS / T",
            value,
            spread,
            3.0 * float(drift[-1]),
            "3 x drift",
            "<=",
        )
    ]
    if config.judge:
        made.append(
            Claim("operators, whole cycles: RMS / T", float(whole), None, 2e-4, "target", "<=")
        )
    return made


def _curve(forecaster: OperatorForecaster) -> Any:
    """The calibration within the identified operator."""
    static: Any = forecaster.operator
    return static.operators[0].operators[0]


def _correction_claims(
    config: Config,
    magnet: SyntheticMagnet,
    forecasters: _Forecasters,
    cycles: list[tuple[Any, ...]],
    arrays: dict[str, Any],
    *,
    key: Key,
) -> list[Claim]:
    """Errors at flat bottom with corrections and without, the same drift and noise."""
    some = cycles[: config.n_corrected]
    bench = stages.bench_calibration(magnet)
    slope = float(jax.grad(bench.curve)(jnp.asarray(FLAT_BOTTOM_A)))
    off = CycleCorrector(gain=0.0)
    correctors = {
        "none": off,
        "standard": CycleCorrector(),
        "fine": CycleCorrector(min_trim_T=FINE_T),
    }
    found = {
        name: corrected(
            one,
            forecasters.operators,
            magnet,
            some,
            config.dt_s,
            slope,
            key=key_for(key, "corrected"),
        )
        for name, one in correctors.items()
    }
    nominal = found["none"].error_T
    # A programme from a curve is off by a constant: by how much the curve is at its current.
    curves = {"bench": bench, "own": forecasters.curve}
    shifted = {
        name: nominal + FLAT_BOTTOM_T - float(_at_bottom(curve)) for name, curve in curves.items()
    }
    arrays |= {f"corrected/{name}": one.error_T for name, one in found.items()}
    arrays |= {f"trim/{name}": one.trim_T for name, one in found.items()}
    arrays |= {f"curve/{name}": one for name, one in shifted.items()}
    standard, fine = found["standard"].error_T, found["fine"].error_T
    bar = 2e-5 if config.judge else 5e-5
    made = [
        _rms_claim("corrected", standard, bar),
        _ratio_claim("calibration curve of the bench / corrected", shifted["bench"], standard),
    ]
    if not config.judge:
        return made
    ratios = {
        "calibration curve of its own recordings / corrected": (shifted["own"], standard),
        "no correction / corrected": (nominal, standard),
        "calibration curve of its own recordings / corrected in fine steps": (shifted["own"], fine),
        "no correction / corrected in fine steps": (nominal, fine),
    }
    return [
        *made,
        _rms_claim("corrected in fine steps", fine, 2e-5),
        *(_ratio_claim(name, *pair) for name, pair in ratios.items()),
    ]


def _at_bottom(curve: Any) -> Any:
    return curve.curve(jnp.asarray(FLAT_BOTTOM_A))


def _ratio_claim(name: str, before: np.ndarray, after: np.ndarray) -> Claim:
    """Ratio of root mean squares, its error by the jackknife over sequences."""

    def ratio(rows: np.ndarray) -> float:
        return math.sqrt(float(np.mean(before[rows] ** 2) / np.mean(after[rows] ** 2)))

    n = before.shape[0]
    without = [ratio(np.delete(np.arange(n), i)) for i in range(n)] if n > 1 else []
    spread = math.sqrt((n - 1) * float(np.var(without))) if without else None
    return Claim(f"RMS of {name}", ratio(np.arange(n)), spread, 10.0, "target", ">=")


def _range_claims(parts: dict[str, Sequences]) -> list[Claim]:
    """Known programmes are known in any order, and a strange one is not."""
    known = fit_operating_range([one for row in parts["train"] for one in row])
    cycles = {one.name: one for row in parts["test"] for one in row}.values()
    dt_s = parts["test"][0][0].dt_s or 1.0
    usual = max(float(known.distance(jnp.asarray(one.u), dt_s)) for one in cycles)
    strange = replace(CYCLES["MD"], knots_A=STRANGE_A).samples(dt_s)
    found = float(known.distance(jnp.asarray(strange), dt_s))
    source = "limit of the gate"
    return [
        Claim("known cycles: distance", usual, None, DISTANCE_LIMIT, source, "<="),
        Claim("a cycle to 3500 A: distance", found, None, DISTANCE_LIMIT, source, ">="),
    ]
