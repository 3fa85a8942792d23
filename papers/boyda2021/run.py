"""Spectral flows for two-dimensional SU(2) and SU(3) theory beside classical samplers."""

import equinox as eqx
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.sampling import SampleResult
from diffhep.core.stats import gamma_method
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.comb_training import CombFit
from diffhep_lattice.flows import CouplingFlow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.training import evaluate
from papers.boyda2021 import stages
from papers.boyda2021.config import PRESETS, Config
from papers.boyda2021.stages import Place

__all__ = ["PRESETS", "Config", "run"]

PUBLISHED_LENGTH = 16
"""The lattice of the published effective sample sizes."""

CHUNK = 512
"""Samples per program call."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train the flow of every theory, run every sampler, and hold all of it against theory.

    Args:
        config: The settings.
        directory: Where the run lives; every stage resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    lattice = Lattice((config.length, config.length))
    made: list[Claim] = []
    trained: list[tuple[Place, CouplingFlow]] = []
    for point in config.points:
        named = key_for(key, f"SU({point.n_colors}) {point.beta}")
        place = Place(point, lattice, directory, named)
        flow, claims = _flow(place, config)
        trained.append((place, flow))
        made += claims
    made += _scan(*trained[0], config)
    for place, flow in trained:
        if place.point.run_samplers:
            made += _samplers(place, config, flow)
    arrays = {name: value for place, _ in trained for name, value in place.arrays.items()}
    directory.save_data(arrays, {"length": config.length})
    return made


def _flow(place: Place, config: Config) -> tuple[CouplingFlow, list[Claim]]:
    """Train a flow; its effective sample size, log Z and number of parameters."""
    found = stages.trained(place, config.training)
    flow, point, size = found.flow, place.point, stages.n_parameters(found.flow)
    report = evaluate(
        flow, place.action, config.n_samples, key=key_for(place.key, "report"), chunk=CHUNK
    )
    fits = [fit for fit in (found.plaquette, found.chain) if fit]
    seconds = sum(fit.seconds + fit.compile_seconds for fit in fits)
    ess, log_z = (report.ess, report.ess_error), (report.log_z, report.log_z_error)
    place.keep("flow", ess=ess, log_z=log_z, parameters=size, training_seconds=seconds)
    place.keep("flow", acceptance=[report.acceptance, report.acceptance_error])
    place.keep("exact", log_z=place.log_z, bar=point.smallest_ess)
    place.keep("baseline", exact=stages.baseline_ess(point))
    pull = (report.log_z - place.log_z) / report.log_z_error
    place.directory.log(place.stage("report"), report.n, ess=report.ess, log_z_pull=pull)
    source = "arXiv:2008.05456" if config.length == PUBLISHED_LENGTH else "target"
    made = [
        Claim(f"{place.name} flow: ESS", *ess, point.smallest_ess, source, ">="),
        Claim(f"{place.name} flow: log Z", *log_z, place.log_z, "exact", "pull<3"),
        Claim(f"{place.name} flow: parameters", size, None, config.largest_size, "target", "<="),
    ]
    return flow, made + (
        _baseline(place, config, found) if config.baseline and point.run_samplers else []
    )


def _baseline(place: Place, config: Config, found: CombFit) -> list[Claim]:
    """The flow without conditional maps, whose effective sample size is known."""
    plain = stages.without_conditions(place, found)
    key = key_for(place.key, "baseline")
    report = evaluate(plain, place.action, config.n_samples, key=key, chunk=CHUNK)
    known = stages.baseline_ess(place.point)
    place.keep("baseline", ess=[report.ess, report.ess_error])
    name = f"{place.name} without conditional maps: ESS"
    return [Claim(name, report.ess, report.ess_error, known, "exact", "pull<4")]


def _samplers(place: Place, config: Config, flow: CouplingFlow) -> list[Claim]:
    """Every sampler from equilibrium, beside the exact loops."""
    chains, made = config.chains, []
    draw = eqx.filter_jit(flow.sample_and_log_prob)
    starts, _ = draw(key_for(place.key, "starts"), chains.n_chains)
    for name, (algorithm, n_steps) in stages.samplers_of(place, chains, flow).items():
        result = stages.run_chains(place, name, algorithm, n_steps, starts, chains.burn_in)
        made += _loops(place, name, result)
    return made


def _loops(place: Place, name: str, result: SampleResult) -> list[Claim]:
    """The means of a sampler, their errors by the Gamma method."""
    made, n_measured = [], result.observables["plaquette"].size
    for observable, values in result.observables.items():
        found, truth = gamma_method(values), place.truth(observable)
        claim = f"{place.name} {name}: {observable}"
        made.append(Claim(claim, found.mean, found.error, truth, "exact", "pull<4"))
        place.keep(name, **{observable: [found.mean, found.error, truth, found.tau_int]})
    rate = np.mean(result.info["acceptance_probability"])
    place.keep(name, acceptance=rate, seconds=result.seconds, steps=n_measured)
    return made


def _scan(place: Place, flow: CouplingFlow, config: Config) -> list[Claim]:
    """The same parameters on other lattices: log Z there, and the effective sample size."""
    made, point = [], place.point
    rows = [[config.length, *place.arrays[f"{place.name}/flow/ess"]]]
    for length in config.scan_lengths:
        moved = stages.moved_to(flow, length)
        key = key_for(place.key, f"length {length}")
        n_samples = config.n_samples // max(1, length // config.length) ** 2
        report = evaluate(moved, place.action, n_samples, key=key, chunk=min(CHUNK, n_samples))
        truth = exact.sun_log_partition(point.n_colors, point.beta, length**2)
        at = f"{place.name} on {length}x{length}"
        made += [
            Claim(f"{at}: ESS", report.ess, report.ess_error, point.smallest_ess, "target", ">="),
            Claim(f"{at}: log Z", report.log_z, report.log_z_error, truth, "exact", "pull<3"),
        ]
        rows.append([length, report.ess, report.ess_error])
    place.keep("scan", table=np.array(rows))
    return made
