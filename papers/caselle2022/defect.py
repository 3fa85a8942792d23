"""The charge of U(1) past a defect: replica exchange from open to periodic beside HMC alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim
from diffhep.core.sampling import AbstractSamplingAlgorithm, SampleResult, sample
from diffhep.core.stats import gamma_method
from diffhep_lattice import (
    DefectAction,
    alternate,
    exact,
    hmc,
    plaquette,
    replica_exchange,
    topological_charge,
    translation,
)
from papers.caselle2022.config import Defect
from papers.caselle2022.stages import Run

MD_STEPS, MD_LENGTH = 5, 1.0
"""Leapfrog steps of a trajectory and its length."""


def charges(run: Run) -> list[Claim]:
    """The plaquette and the charge of the periodic rung, and how long the charge remembers.

    Args:
        run: The run.

    Returns:
        The claims.
    """
    settings = run.config.defect
    field = jnp.zeros((settings.n_chains, 2, settings.length, settings.length))
    rungs = [_algorithm(settings, strength) for strength in settings.strengths]
    ladder = jnp.broadcast_to(field[:, None], (settings.n_chains, len(rungs), *field.shape[1:]))
    exchange = _chains(run, "exchange", replica_exchange(rungs), ladder, lambda U: U[-1])
    made = _exact_claims(settings, exchange)
    ours = _memory(run, "exchange", exchange, len(rungs))
    run.arrays["defect/swaps"] = [
        float(np.mean(exchange.info[f"swaps/{rung}/acceptance_probability"]))
        for rung in range(len(rungs) - 1)
    ]
    if not settings.beside_hmc:
        return made
    # One rung alone has as many trajectories as all rungs of the ladder together.
    alone = _chains(run, "alone", rungs[-1], field, lambda U: U, n_times=len(rungs))
    theirs = _memory(run, "alone", alone, 1)
    ratio = theirs[0] / ours[0]
    error = ratio * np.hypot(theirs[1] / theirs[0], ours[1] / ours[0])
    name = f"{_name(settings)}: tau_int(Q) of HMC over replica exchange, all rungs counted"
    return [*made, Claim(name, ratio, float(error), 1.0, "target", ">")]


def _name(settings: Defect) -> str:
    return f"U(1) L={settings.length} beta={settings.beta:g}"


def _memory(run: Run, name: str, result: SampleResult, cost: int) -> tuple[float, float]:
    """tau_int of the charge and its error, in trajectories of which a step has `cost`."""
    settings, charge = run.config.defect, result.observables["charge"]
    burn_in = settings.burn_in * len(settings.strengths) // cost
    measured = gamma_method(charge[:, burn_in:])
    tau = (cost * measured.tau_int, cost * measured.tau_int_error)
    run.arrays[f"defect/{name}/tau"] = tau
    run.arrays[f"defect/{name}/charge"] = charge[0]
    run.arrays[f"defect/{name}/seconds"] = result.seconds
    run.arrays[f"defect/{name}/cost"] = cost
    return tau


def _algorithm(settings: Defect, strength: float) -> AbstractSamplingAlgorithm:
    action = DefectAction(beta=settings.beta, strength=strength, extent=1)
    update = hmc(action, step_size=MD_LENGTH / MD_STEPS, n_steps=MD_STEPS)
    return alternate(update, translation(action))


def _chains(
    run: Run,
    name: str,
    algorithm: AbstractSamplingAlgorithm,
    starts: jax.Array,
    field: Any,
    n_times: int = 1,
) -> SampleResult:
    settings, stage = run.config.defect, f"defect-{name}"
    return sample(
        algorithm,
        starts,
        n_times * (settings.burn_in + settings.n_steps),
        observe={
            "plaquette": lambda U: plaquette(field(U)),
            "charge": lambda U: topological_charge(field(U)),
        },
        key=key_for(run.key, stage),
        name=stage,
        checkpoint=run.directory.checkpoint(stage),
    )


def _exact_claims(settings: Defect, result: SampleResult) -> list[Claim]:
    volume, beta = settings.length**2, settings.beta
    series = {key: x[:, settings.burn_in :] for key, x in result.observables.items()}
    rows = {
        "plaquette": (series["plaquette"], exact.u1_plaquette(beta, volume)),
        "<Q^2>": (series["charge"] ** 2, exact.u1_charge_squared(beta, volume)),
    }
    made = []
    for observable, (values, truth) in rows.items():
        found = gamma_method(values)
        claim = f"{_name(settings)} replica exchange: {observable}"
        made.append(Claim(claim, found.mean, found.error, truth, "exact", "pull<4"))
    return made
