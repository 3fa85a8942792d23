"""Flow-based sampling of two-dimensional U(1) theory beside plain HMC, on the exact lines."""

from dataclasses import replace
from typing import Any

import numpy as np

from diffhep.core.fit import FitResult
from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.sampling import SampleResult
from diffhep.core.typing import Key
from diffhep_lattice.flows import AbstractFlow
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from diffhep_lattice.training import FlowReport, evaluate
from papers.kanwar2020 import claims, stages
from papers.kanwar2020.config import PRESETS, Config, Ensemble
from papers.kanwar2020.stages import Place

__all__ = ["PRESETS", "Config", "run"]

LOCAL_UPDATES = ("hmc", "heatbath")
"""Samplers that cannot change the charge but through a barrier."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train the flows, run every sampler, save the series, and hold all of it against theory.

    Args:
        config: The settings.
        directory: Where the run lives; every stage resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made: list[Claim] = []
    arrays: dict[str, Any] = {}
    bars = {"main": config.smallest_ess_main, "check": config.smallest_ess_check}
    for name, bar in bars.items():
        point: Ensemble = getattr(config, name)
        if point.level_steps:
            place = stages.place_of(point, name, directory, key=key_for(key, name))
            made += _point(place, point, bar, config)
            arrays |= place.arrays
    place = stages.place_of(config.local, "local", directory, key=key_for(key, "local"))
    made += _local(place, config)
    arrays |= place.arrays
    arrays |= _scan(config, directory, key=key_for(key, "scan"))
    directory.save_data(arrays, {"length": config.main.length, "beta": config.main.beta})
    return made


def _point(place: Place, point: Ensemble, bar: float, config: Config) -> list[Claim]:
    """Multiscale flow, every sampler and their claims at one point of the theory."""
    flow, fitted = stages.trained_multiscale(place, point.level_steps)
    report = evaluate(flow, place.action, config.n_samples, key=place.key_of("report"))
    _keep_report(place, "multiscale", report)
    made = claims.of_flow(place, "multiscale", report, bar)
    results = _chains(place, point, flow)
    for name, result in results.items():
        # A chain of local updates may be frozen: its means hold for the sectors it started in.
        if name not in LOCAL_UPDATES or _moves(place, result):
            made += claims.of_sampler(place, name, result)
        _keep_series(place, name, result)
    if "flow_hmc" in results:
        if config.judge_cost:
            place.keep("flow_hmc", force=stages.latent_forces(place, flow))
        made += _latent_claims(place, "multiscale", results["flow_hmc"], results["hmc"])
    if config.judge_cost:
        made += _cost_claims(place, results, fitted)
    return made


def _chains(place: Place, point: Ensemble, flow: AbstractFlow) -> dict[str, SampleResult]:
    """Every sampler, all but the first from equilibrium."""
    first, starts = stages.equilibrium(place, flow, point.n_chains, point.independence_steps)
    results = {"independence": first}
    for name, (algorithm, n_steps) in stages.samplers_of(place, point, flow).items():
        results[name] = stages.run_chains(place, name, algorithm, n_steps, starts)
    return results


def _moves(place: Place, result: SampleResult) -> bool:
    """Whether the charge of a chain decorrelates well within it."""
    found = _mobility(place, result)
    n_steps = result.observables["Q"].shape[1]
    return max(found.tau, found.lower_bound) < n_steps / 20


def _mobility(place: Place, result: SampleResult) -> claims.Mobility:
    return claims.mobility(result.observables["Q"], float(place.action.beta), place.lattice.volume)


def _keep_report(place: Place, name: str, report: FlowReport) -> None:
    place.keep(
        name,
        ess=[report.ess, report.ess_error],
        acceptance=[report.acceptance, report.acceptance_error],
        log_z=[report.log_z, report.log_z_error],
    )


def _keep_series(place: Place, name: str, result: SampleResult) -> None:
    """Means with errors and the mobility of the charge, for the figure."""
    found = _mobility(place, result)
    place.keep(
        name,
        tau=[found.tau, found.tau_error, found.lower_bound],
        acceptance=np.mean(result.info["acceptance_probability"]),
        Q=result.observables["Q"].astype(np.int16),
    )
    for observable in ("plaquette", "W(2x2)", "W(3x3)"):
        mean, error, *_ = claims.gamma_method(result.observables[observable])
        place.keep(name, **{observable: [mean, error]})
    mean, error, *_ = claims.gamma_method(result.observables["Q"] ** 2)
    place.keep(name, **{"Q^2": [mean, error]})


def _latent_claims(
    place: Place, name: str, latent: SampleResult, plain: SampleResult
) -> list[Claim]:
    """HMC in a flow's latent space accepts, and forgets the charge faster than plain HMC."""
    at = f"{place.name} flow_hmc on {name}"
    rate = claims.gamma_method(latent.info["acceptance_probability"])
    ours, theirs = _mobility(place, latent), _mobility(place, plain)
    slow = max(theirs.tau, theirs.lower_bound)
    return [
        Claim(f"{at}: acceptance", rate.mean, rate.error, 0.6, "target", ">="),
        Claim(f"{at}: tau(Q) / plain HMC's", ours.tau / slow, None, 1.0, "target", "<"),
    ]


def _cost_claims(place: Place, results: dict[str, SampleResult], fitted: FitResult) -> list[Claim]:
    """Seconds per independent charge, training included, against a frozen HMC's lower bound."""
    costs = {}
    for name, result in results.items():
        found = _mobility(place, result)
        tau = max(found.lower_bound, found.tau) if name == "hmc" else found.tau
        steps = result.observables["Q"].size
        seconds = result.seconds + (0.0 if name == "hmc" else fitted.seconds)
        costs[name] = claims.seconds_per_charge(seconds, steps, tau)
        place.keep(name, seconds_per_charge=costs[name], seconds_per_step=result.seconds / steps)
    trained = fitted.seconds + fitted.compile_seconds
    made = [Claim(f"{place.name}: training seconds", trained, None, 300.0, "target", "<=")]
    if _moves(place, results["hmc"]):
        return made
    plain = costs.pop("hmc")
    with_flow = {name: costs[name] for name in ("independence", "hmc+flow", "flow_hmc")}
    best = min(with_flow.values()) / plain
    name = f"{place.name}: best cost / plain HMC's bound"
    return [*made, Claim(name, best, None, 1e-3, "target", "<=")]


def _local(place: Place, config: Config) -> list[Claim]:
    """Local couplings: training, effective sample size, acceptance, and HMC in latent space."""
    local, made = config.local, []
    for kind, n_steps in (("blocks", local.block_steps), ("stripes", local.stripe_steps)):
        if not n_steps:
            continue
        flow, fitted = stages.trained_local(place, local, kind)
        report = evaluate(flow, place.action, config.n_samples, key=place.key_of(f"{kind} report"))
        _keep_report(place, kind, report)
        made += claims.of_flow(place, kind, report, config.smallest_ess_local)
        made.append(
            Claim(
                f"local {kind}: acceptance",
                report.acceptance,
                report.acceptance_error,
                config.smallest_ess_local,
                "target; arXiv:2101.08176 has 0.229",
                ">=",
            )
        )
        if config.judge_cost:
            seconds = fitted.seconds + fitted.compile_seconds
            made.append(
                Claim(f"local {kind}: training seconds", seconds, None, 1200.0, "target", "<=")
            )
        if local.flow_hmc_steps:
            made += _local_latent(place, kind, flow, config)
    return made


def _local_latent(place: Place, kind: str, flow: AbstractFlow, config: Config) -> list[Claim]:
    """HMC in the latent space of local couplings, beside plain HMC at the same point."""
    local = config.local
    _, starts = stages.equilibrium(place, flow, local.n_chains, 200, f"-{kind}")
    n_steps = local.latent_leapfrog_steps
    latent = flow_hmc(flow, place.action, step_size=local.latent_length / n_steps, n_steps=n_steps)
    plain = stages.plain_hmc(place, config.check)

    results = {
        "flow_hmc": stages.run_chains(
            place, f"flow_hmc-{kind}", latent, local.flow_hmc_steps, starts
        ),
        "hmc": stages.run_chains(place, f"hmc-{kind}", plain, config.check.hmc_steps, starts),
    }
    place.keep(f"flow_hmc-{kind}", force=stages.latent_forces(place, flow))
    for name, result in results.items():
        _keep_series(place, f"{name}-{kind}", result)
    made = []
    if _moves(place, results["flow_hmc"]):
        made = claims.of_sampler(place, f"flow_hmc on {kind}", results["flow_hmc"])
    return made + _latent_claims(place, kind, results["flow_hmc"], results["hmc"])


def _scan(config: Config, directory: RunDir, *, key: Key) -> dict[str, Any]:
    """Mobility of the charge and quality of the flow against the coupling."""
    rows = []
    for beta in config.scan_betas:
        point = replace(config.scan, beta=beta)
        place = stages.place_of(point, f"scan-{beta:g}", directory, key=key_for(key, f"{beta}"))
        flow, _ = stages.trained_multiscale(place, point.level_steps)
        report = evaluate(flow, place.action, config.n_samples, key=place.key_of("report"))
        row = [beta, report.ess, report.ess_error]
        for result in _chains(place, point, flow).values():
            row += [float(x) for x in _mobility(place, result)]
        rows.append(row)
    return {"scan/table": np.array(rows)} if rows else {}
