"""Coupling flows of two-dimensional phi^4 theory as proposals of independence Metropolis."""

import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.training import FlowReport
from papers.albergo2019 import stages
from papers.albergo2019.config import PRESETS, THEORIES, Config, Point
from papers.albergo2019.rejections import tau_of_rejections
from papers.albergo2019.stages import Measured, Place
from papers.phi4_values import MASS_SQUARED, truth

__all__ = ["PRESETS", "Config", "run"]

PUBLISHED_CHI2 = {(8, 8.0): (0.75, 0.01)}
"""Of HMC, with its error, in the notebook of arXiv:2101.08176."""

MASS_TIMES_LENGTH = 4.0
MASS_TOLERANCE = 0.5
"""What the five theories of the paper have in common, quoted from memory."""

_EXACT = ("phi2", "chi2")


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train every flow, run it and HMC at every theory, and compare them.

    Args:
        config: The settings.
        directory: Where the run lives; every stage resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    places: dict[tuple[int, float], Place] = {}
    found: dict[tuple[int, float], Measured] = {}
    made: list[Claim] = []

    def visit(length: int, coupling: float) -> Place:
        at = (length, coupling)
        if at not in places:
            place_key = key_for(key, f"L={length} lambda={coupling:g}")
            places[at] = Place(length, coupling, directory, place_key)
            found[at] = stages.hmc_chains(places[at], config.chains)
            made.extend(_hmc_claims(places[at], found[at]))
        return places[at]

    for length, coupling in config.hmc_only:
        visit(length, coupling)
    for series in config.series:
        flow = None
        for point in series.points:
            place = visit(point.length, point.coupling)
            name = series.flow.name
            if flow is None:
                flow_key = key_for(place.key, name)
                flow = stages.untrained(series.flow, place.lattice, key=flow_key)
            fitted = stages.trained(place, name, flow, point)
            flow = fitted.model
            report = stages.reported(place, name, flow, config.n_samples)
            seconds = fitted.seconds + fitted.compile_seconds
            place.keep(name, batch_ess=fitted.history["batch_ess"], seconds=seconds)
            made += _quality(place, name, point, report)
            measured = stages.flow_chains(place, name, flow, config.chains)
            made += _flow_claims(place, name, measured, found[point.length, point.coupling])
    arrays = {name: value for place in places.values() for name, value in place.arrays.items()}
    directory.save_data(arrays, {"mass_squared": MASS_SQUARED})
    return made


def _keep(place: Place, name: str, measured: Measured) -> None:
    """Means, errors and autocorrelation times of a sampler into data.h5."""
    rows = {
        observable: [x.mean, x.error, x.tau_int, x.tau_int_error]
        for observable, x in measured.values.items()
    }
    masses = [[t + 1, x.mean, x.error] for t, x in enumerate(measured.masses)]
    place.keep(name, **rows, masses=masses, chain_acceptance=measured.acceptance)
    place.keep(name, seconds_per_step=measured.seconds_per_step)


def _exact_values(known: exact.Phi4) -> dict[str, float]:
    values = {name: getattr(known, name) for name in _EXACT}
    return {**values, "mass": stages.mass_at(known.correlator, len(known.correlator) // 2)}


def _against_exact(place: Place, name: str, measured: Measured) -> list[Claim]:
    known = truth(place.length, place.coupling)
    if known is None:
        return []
    made = []
    for observable, value in _exact_values(known).items():
        x = measured.values[observable]
        claim = f"{place.name} {name}: {observable}"
        made.append(Claim(claim, x.mean, x.error, value, "exact", "pull<4"))
    return made


def _hmc_claims(place: Place, measured: Measured) -> list[Claim]:
    """HMC against exact values, published ones, and the mass that the theories should have."""
    _keep(place, "hmc", measured)
    made = _against_exact(place, "hmc", measured)
    if published := PUBLISHED_CHI2.get((place.length, place.coupling)):
        x = measured.values["chi2"]
        error = float(np.hypot(x.error, published[1]))
        name = f"{place.name} hmc: chi2 as published"
        made.append(Claim(name, x.mean, error, published[0], "arXiv:2101.08176", "pull<4"))
    if (place.length, place.coupling) in THEORIES:
        x = measured.values["mass"]
        apart = abs(place.length * x.mean - MASS_TIMES_LENGTH)
        name, error = f"{place.name} hmc: |m L - 4|", place.length * x.error
        made.append(Claim(name, apart, error, MASS_TOLERANCE, "arXiv:1904.12072, recalled", "<"))
    return made


def _quality(place: Place, name: str, point: Point, report: FlowReport) -> list[Claim]:
    """Acceptance and effective sample size of a flow; log Z where it is known."""
    place.keep(name, ess=[report.ess, report.ess_error], log_z=[report.log_z, report.log_z_error])
    place.keep(name, acceptance=[report.acceptance, report.acceptance_error])
    place.keep(name, tau_of_rejections=tau_of_rejections(report.log_weights))
    rate = (report.acceptance, report.acceptance_error)
    bar, source = point.least_acceptance, point.source
    made = [Claim(f"{place.name} {name}: acceptance", *rate, bar, source, ">=")]
    if known := truth(place.length, place.coupling):
        log_z = (report.log_z, report.log_z_error)
        made.append(Claim(f"{place.name} {name}: log Z", *log_z, known.log_z, "exact", "pull<4"))
    return made


def _flow_claims(place: Place, name: str, measured: Measured, other: Measured) -> list[Claim]:
    """Independence Metropolis against exact values and against HMC."""
    _keep(place, name, measured)
    made = _against_exact(place, name, measured)
    for observable, x in measured.values.items():
        y = other.values[observable]
        error = float(np.hypot(x.error, y.error))
        claim = f"{place.name} {name}: {observable} as hmc"
        made.append(Claim(claim, x.mean, error, y.mean, "HMC of this run", "pull<4"))
    return made
