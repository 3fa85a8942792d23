"""The Schwinger model with two flavours: HMC, pseudofermions, instanton hits and flows."""

from typing import NamedTuple

import equinox as eqx
import numpy as np

from diffhep.core.derived import gamma_method_of
from diffhep.core.errors import DataError
from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.sampling import SampleResult
from diffhep.core.stats import GammaResult, gamma_method
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.flows import AbstractFlow
from diffhep_lattice.observables import effective_mass
from diffhep_lattice.training import evaluate
from papers.albergo2022 import stages
from papers.albergo2022.config import FLOW_SAMPLERS, PRESETS, Chains, Config
from papers.albergo2022.stages import Place

__all__ = ["PRESETS", "Config", "run"]

REFERENCE = "hmc+instanton"
"""The sampler that others are held against where nothing is exact."""

MOBILE = 10
"""Autocorrelation times of the charge in a chain that counts as moving."""


class Found(NamedTuple):
    """What the chains of one sampler show.

    Attributes:
        means: By observable, by the Gamma method.
        charge: Of Q.
        tau: Integrated autocorrelation time of Q in steps; half the steps between two rows at
            least. Of a chain that does not move, a lower bound.
        seconds: Of one step of one chain.
        moves: Whether the charge decorrelates well within a chain.
    """

    means: dict[str, GammaResult]
    charge: GammaResult
    tau: float
    seconds: float
    moves: bool


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train the flows, run every sampler on every lattice, and hold them against each other.

    Args:
        config: The settings.
        directory: Where the run lives; every stage resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made: list[Claim] = []
    places = stages.places(config, directory, key=key)
    for place in places:
        flow = stages.trained(place)
        _quality(place, flow)
        found = _chains(place, flow)
        made += _exact_claims(place, found) if place.point.length == 2 else []
        made += _agreement(place, found)
        made += _symmetry(place, found)
        if config.judge_cost and "hmc" in found and place.point.length > 2:
            made += _cost_claims(place, found)
    arrays = {name: value for place in places for name, value in place.arrays.items()}
    directory.save_data(arrays, {"beta": config.beta, "kappa": config.kappa})
    return made


def _quality(place: Place, flow: AbstractFlow) -> None:
    """Effective sample size of the flow for the full action, determinant included."""
    key, n = key_for(place.key, "report"), place.point.n_samples
    report = evaluate(flow, place.action, n, key=key, chunk=256)
    place.keep("flow", ess=[report.ess, report.ess_error])
    place.keep("flow", acceptance=[report.acceptance, report.acceptance_error])
    place.keep("flow", training_seconds=place.training_seconds)
    place.directory.log(f"{place.name}-report", report.n, ess=report.ess)


def _chains(place: Place, flow: AbstractFlow) -> dict[str, Found]:
    """Every sampler from samples of the flow."""
    n_chains = max(chains.n_chains for chains in place.point.chains)
    draw = eqx.filter_jit(flow.sample_and_log_prob)
    starts, _ = draw(key_for(place.key, "starts"), n_chains)
    found = {}
    for chains in place.point.chains:
        result = stages.run_chains(place, chains, flow, starts)
        found[chains.sampler] = _measure(place, chains, result)
    return found


def _measure(place: Place, chains: Chains, result: SampleResult) -> Found:
    """Means with errors, mobility of the charge, and seconds."""
    series = result.observables
    charges = np.rint(series["Q"])
    measured = [name for name in ("plaquette", "condensate") if name in series]
    means = {name: gamma_method(series[name]) for name in measured}
    means["Q^2"] = gamma_method(charges**2)
    charge = gamma_method(charges)
    n_steps = chains.n_chains * (chains.rows + chains.burn_in) * chains.thin
    # A charge that never changes has a tau_int of 1/2, whatever froze it.
    moves = bool(np.ptp(charges)) and charge.tau_int * MOBILE < chains.rows
    found = Found(means, charge, charge.tau_int * chains.thin, result.seconds / n_steps, moves)
    rate = gamma_method(result.info["acceptance_probability"])
    place.keep(
        chains.sampler,
        Q=charges.astype(np.int16),
        thin=chains.thin,
        tau=[found.tau, charge.tau_int_error * chains.thin],
        moves=found.moves,
        acceptance=[rate.mean, rate.error],
        seconds=found.seconds,
        **{name: [one.mean, one.error] for name, one in means.items()},
    )
    if place.point.propagators:
        _keep_pion(place, chains.sampler, series["pion"])
    return found


def _keep_pion(place: Place, name: str, pion: np.ndarray) -> None:
    """The correlator of the pion, and its mass from the middle of the lattice."""
    times = [gamma_method(pion[..., t]) for t in range(pion.shape[-1])]
    place.keep(name, pion=[[one.mean, one.error] for one in times])
    half = pion.shape[-1] // 2
    if half > 1:
        try:
            mass = gamma_method_of(lambda C: float(effective_mass(C)[half - 1]), pion)
        except DataError:
            return  # The noise of a chain that hardly moves leaves no real mass.
        place.keep(name, pion_mass=[mass.mean, mass.error])


def _exact_claims(place: Place, found: dict[str, Found]) -> list[Claim]:
    """Plaquette and condensate of every sampler on 2 x 2, and the mean determinant."""
    beta, kappa = float(place.action.beta), float(place.action.kappa)
    truth = exact.schwinger_2x2(beta, kappa, 2)
    made = []
    for name, one in found.items():
        for observable, value in (
            ("plaquette", truth.plaquette),
            ("condensate", truth.condensate),
        ):
            mean = one.means[observable]
            claim = f"{place.name} {name}: {observable}"
            made.append(Claim(claim, mean.mean, mean.error, value, "exact", "pull<4"))
            place.keep("exact", **{observable: value})
    if place.point.anneal_steps:
        name, value = f"{place.name} stochastic flow: log <det^2>", float(np.log(truth.determinant))
        measured = stages.annealed_determinant(place)
        made.append(Claim(name, *measured, value, "exact", "pull<4"))
    return made


def _agreement(place: Place, found: dict[str, Found]) -> list[Claim]:
    """Differences between samplers whose charge moves: from the reference, and of both routes."""
    pairs = [(name, REFERENCE) for name in found if name != REFERENCE]
    if {"hmc", "pseudofermions"} <= found.keys():
        pairs.append(("pseudofermions", "hmc"))
    made = []
    for one, other in pairs:
        if not (found[one].moves and found[other].moves):
            continue
        for observable in found[one].means:
            a, b = (found[name].means[observable] for name in (one, other))
            claim = f"{place.name} {one} - {other}: {observable}"
            error = float(np.hypot(a.error, b.error))
            made.append(Claim(claim, a.mean - b.mean, error, 0.0, "peer", "pull<4"))
    return made


def _symmetry(place: Place, found: dict[str, Found]) -> list[Claim]:
    """P(Q) = P(-Q), by charge conjugation."""
    return [
        Claim(
            f"{place.name} {name}: <Q>", one.charge.mean, one.charge.error, 0.0, "exact", "pull<4"
        )
        for name, one in found.items()
        if one.moves
    ]


def _cost_claims(place: Place, found: dict[str, Found]) -> list[Claim]:
    """Seconds per independent charge, training included, against those of plain HMC."""
    costs = {}
    for chains in place.point.chains:
        name, one = chains.sampler, found[chains.sampler]
        n_steps = chains.n_chains * (chains.rows + chains.burn_in) * chains.thin
        training = place.training_seconds / n_steps if name in FLOW_SAMPLERS else 0.0
        costs[name] = 2.0 * one.tau * (one.seconds + training)
        place.keep(name, cost=costs[name], cost_without_training=2.0 * one.tau * one.seconds)
    at = f"{place.name}: cost of a charge"
    # A flow beside HMC, by whichever of its samplers is the best of those that move.
    names = [name for name in FLOW_SAMPLERS if name in costs and found[name].moves]
    return [
        Claim(f"{at}, {label} / HMC", cost / costs["hmc"], None, 1.0, "target", "<")
        for label, cost in (
            ("instanton hits", costs[REFERENCE]),
            ("best flow", min((costs[name] for name in names), default=np.inf)),
        )
    ]
