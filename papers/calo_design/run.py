"""A sampling calorimeter under a budget: searched through surrogates, held against a full scan."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key, Scalar
from diffhep.detector import Design, DesignProblem, LocalSurrogate, Trace, TrustRegion, optimise
from diffhep.detector.objectives import resolution
from diffhep.detector.problem import value_and_error
from diffhep.detector.surrogates import AbstractSurrogate
from papers.calo_design import rounds
from papers.calo_design.config import PRESETS, Config, Search
from papers.calo_design.fidelity import Fidelity, judge, known, learn, to_features, to_segments
from papers.calo_design.stack import (
    Simulate,
    depth_x0,
    n_layers,
    segments,
    simulator,
    stack,
)

__all__ = ["PRESETS", "Config", "run"]

START_MM = (5.0, 2.0)
"""Thick lead and thin scintillator: half as wide again as the best."""

MOST_EVENTS = 0.2
"""Of the search, in those of the scan."""

N_LINE = 4000
"""Events of the surrogate at each point of a line in the figure."""

MOST_AUC, MOST_WIDTH = 0.60, 0.03

STANDARD_ERRORS = {"geant4": 1.0, "gflash": 3.0}
"""By how many of them the design found may be above the scan's best."""

AGAIN_SEED, UNSEEN_SEED = 100_000, 200_000
"""Added to the first seed, so that no event is used twice."""


class ScanResult(NamedTuple):
    """The full scan.

    Attributes:
        designs: One after another.
        energies: Segments of the events of each.
        width: sigma/E of each.
        error: Its standard error.
        best: Which is the least.
        again: sigma/E of the best, from fresh events.
        again_error: Its standard error.
    """

    designs: list[Design]
    energies: list[np.ndarray]
    width: Float[np.ndarray, " design"]
    error: Float[np.ndarray, " design"]
    best: int
    again: float
    again_error: float


def width(outcomes: Float[Array, "event observable"]) -> Scalar:
    """The objective: sigma/E of the first observable, its bias at few events taken off.

    Args:
        outcomes: Of events.

    Returns:
        sigma/E.
    """
    return resolution(outcomes[:, 0])


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Scan, search, and judge a surrogate of the whole space.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    simulate = simulator(config)
    scan = _scan(config, simulate)
    at = scan.designs[scan.best].to_vector()
    directory.log("scan", 0, best=at, width=scan.again, error=scan.again_error)
    trace = _search(config.search, simulate, key=key_for(key, "search"))
    directory.log("search", 0, found=trace.design.to_vector(), width=trace.value, error=trace.error)
    arrays = _arrays(config, scan, trace)
    found = (trace.value, trace.error, trace.n_calls)
    claims = [*_search_claims("local surrogates", config, scan, *found), _round_trip(scan)]
    if config.rounds is not None:
        one = rounds.search(config, simulate, width, key=key_for(key, "rounds"))
        found = (one.value, one.error, one.n_calls)
        directory.log("rounds", 0, found=one.design.to_vector(), promised=one.promised)
        claims += _search_claims("one flow", config, scan, *found)
        arrays |= {
            "rounds/found": np.asarray(one.design.to_vector()),
            "rounds/layers": np.array([n_layers(one.design), depth_x0(one.design)]),
            "rounds/promised": np.array(one.promised),
            "rounds/verified": np.array(found),
            "rounds/designs": one.designs,
        }
    if config.n_steps:
        more, judged = _surrogate(config, scan, simulate, key=key_for(key, "surrogate"))
        claims, arrays = claims + more, arrays | judged
    directory.save_data(arrays)
    return claims


def _scan(config: Config, simulate: Simulate) -> ScanResult:
    """Every design of the grid, and the best of them again."""
    scan = config.scan
    designs = [stack(a, g) for a in scan.absorber_mm for g in scan.gap_mm]
    layers = [simulate(one, scan.n_events, config.seed + i) for i, one in enumerate(designs)]
    values, errors = np.array([_value(one) for one in layers]).T
    best = int(np.argmin(values))
    again = _value(simulate(designs[best], scan.n_again, config.seed + AGAIN_SEED))
    energies = [segments(one) for one in layers]
    return ScanResult(designs, energies, values, errors, best, *again)


def _value(layers: np.ndarray) -> tuple[float, float]:
    """sigma/E of the energy in all gaps, and its error."""
    return value_and_error(width, layers.sum(axis=1, keepdims=True))


def _search(search: Search, simulate: Simulate, *, key: Key) -> Trace:
    """From a bad start, by local surrogates of the energy that is seen."""
    problem = DesignProblem(
        stack(*START_MM),
        lambda design, n_events, seed: simulate(design, n_events, seed).sum(axis=1, keepdims=True),
        width,
        name="calo_design",
    )
    method = LocalSurrogate(
        region=TrustRegion(radius=search.radius, least=0.07),
        spread=search.radius,
        n_designs=search.n_designs,
        n_events=search.n_events,
        n_check=search.n_check,
        most_check=search.most_check,
    )
    return optimise(problem, budget=search.budget, method=method, n_verify=search.n_verify, key=key)


def _search_claims(
    name: str, config: Config, scan: ScanResult, value: float, error: float, n_calls: int
) -> list[Claim]:
    """The design that was found beside the scan's best, both by fresh events."""
    both = float(np.hypot(error, scan.again_error))
    allowed = STANDARD_ERRORS[config.simulator] * both
    share = n_calls / (len(scan.designs) * config.scan.n_events)
    above, source = value - scan.again, f"scan by {config.simulator}"
    return [
        Claim(f"{name}: sigma/E above the scan's best", above, both, allowed, source, "<="),
        Claim(f"{name}: events over the scan's", share, None, MOST_EVENTS, "target", "<="),
    ]


def _round_trip(scan: ScanResult) -> Claim:
    """Segments of the scan's best through what the surrogate learns, and back."""
    energy, design = scan.energies[scan.best], scan.designs[scan.best]
    miss = float(np.abs(to_segments(to_features(energy, design), design) - energy).max())
    return Claim("segments: learned form and back, error in MeV", miss, None, 1e-9, "exact", "<=")


def _surrogate(
    config: Config, scan: ScanResult, simulate: Simulate, *, key: Key
) -> tuple[list[Claim], dict[str, np.ndarray]]:
    """A surrogate of all thicknesses from the scan's events, judged at others."""
    surrogate = learn(config.n_steps, scan.designs, scan.energies, key=key_for(key, "learn"))
    unseen = [stack(*one) for one in config.unseen]
    fresh = [
        segments(simulate(one, config.n_unseen, config.seed + UNSEEN_SEED + index))
        for index, one in enumerate(unseen)
    ]
    fidelity = judge(surrogate, unseen, fresh, key=key_for(key, "judge"))
    arrays = {
        "unseen/designs": np.array(config.unseen),
        "unseen/width": np.stack([fidelity.width, fidelity.width_error, fidelity.surrogate_width]),
        "unseen/high_level": np.array(fidelity.high_level),
        "unseen/simulated": fidelity.simulated.astype(np.float32),
        "unseen/drawn": fidelity.drawn.astype(np.float32),
    }
    return _surrogate_claims(fidelity), arrays | _lines(surrogate, config, key=key)


def _surrogate_claims(fidelity: Fidelity) -> list[Claim]:
    """Classifiers and widths."""
    miss = fidelity.surrogate_width / fidelity.width - 1.0
    worst = int(np.argmax(np.abs(miss)))
    error = float(fidelity.width_error[worst] / fidelity.width[worst])
    low, floor = fidelity.low_level, fidelity.floor
    name = "surrogate: sigma/E at unseen thicknesses, largest deviation"
    high = fidelity.high_level
    return [
        Claim("surrogate: AUC, high-level", *high, MOST_AUC, "target", "<="),
        Claim("surrogate: AUC, low-level", *low, MOST_AUC, "target", "<="),
        Claim("two halves of the simulator's events: AUC", *floor, 0.5, "exact", "pull<4"),
        Claim(name, float(abs(miss[worst])), error, MOST_WIDTH, "target", "<="),
    ]


def _lines(surrogate: AbstractSurrogate, config: Config, *, key: Key) -> dict[str, np.ndarray]:
    """sigma/E of the surrogate over lead, for every thickness of scintillator in the scan."""
    absorber = np.geomspace(config.scan.absorber_mm[0], config.scan.absorber_mm[-1], 25)
    rows = []
    for gap in config.scan.gap_mm:
        designs = [stack(one, gap) for one in absorber]
        # The noise is the same everywhere: what is left of it moves whole lines.
        events = [
            surrogate.sample(known(one), N_LINE, key=key_for(key, "noise")) for one in designs
        ]
        segmented = map(to_segments, map(np.asarray, events), designs)
        rows.append([float(resolution(jnp.asarray(one.sum(axis=1)))) for one in segmented])
    return {"lines/absorber_mm": absorber, "lines/width": np.array(rows)}


def _arrays(config: Config, scan: ScanResult, trace: Trace) -> dict[str, np.ndarray]:
    """What the figure is drawn from."""
    shape = len(config.scan.absorber_mm), len(config.scan.gap_mm)
    best = scan.designs[scan.best]
    return {
        "scan/absorber_mm": np.array(config.scan.absorber_mm),
        "scan/gap_mm": np.array(config.scan.gap_mm),
        "scan/width": scan.width.reshape(shape),
        "scan/error": scan.error.reshape(shape),
        "scan/n_layers": np.array([n_layers(one) for one in scan.designs]).reshape(shape),
        "scan/depth_x0": np.array([depth_x0(one) for one in scan.designs]).reshape(shape),
        "scan/best": np.asarray(best.to_vector()),
        "scan/again": np.array([scan.again, scan.again_error]),
        "search/designs": trace.designs,
        "search/values": np.stack([trace.values, trace.errors]),
        "search/accepted": trace.accepted,
        "search/ratio": trace.ratio,
        "search/radius": trace.radius,
        "search/calls": trace.calls,
        "search/found": np.asarray(trace.design.to_vector()),
        "search/found_layers": np.array([n_layers(trace.design), depth_x0(trace.design)]),
        "search/verified": np.array([trace.value, trace.error, trace.n_calls]),
    }
