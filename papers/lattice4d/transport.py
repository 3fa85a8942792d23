"""Stochastic flow from one coupling to another: schedules, training, work, free energies."""

import time
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffhep.core.fit import fit
from diffhep.core.rng import key_at, key_for
from diffhep.core.stats import gamma_method
from diffhep.core.typing import Key
from diffhep_lattice import hmc, omelyan4, plaquette
from diffhep_lattice.flows.stout import StoutLayer, stout_layer
from diffhep_lattice.samplers.hmc import HMC
from diffhep_lattice.samplers.stochastic_flow import (
    FreeEnergy,
    StepwiseWork,
    StochasticFlow,
    WorkSample,
    stochastic_flow,
)
from papers.lattice4d.config import TRANSPORT_BATCH, Transport
from papers.lattice4d.couplings import at_couplings
from papers.lattice4d.stages import (
    Stage,
    action_at,
    by_coupling,
    run_chains,
    trajectory_of,
    warm_field,
)

EQUILIBRIUM_STEPS = 2
"""Integrator steps of the trajectories, of unit length, that make the configurations."""

PLANES = 6
"""Plaquettes a site in four dimensions."""


class Equilibrium(NamedTuple):
    """Independent configurations at the two couplings, and others to train on."""

    starts: Array
    ends: Array
    training: Array


class Work(NamedTuple):
    """Work of independent trajectories, and the seconds one took in the fastest batch."""

    work: np.ndarray
    seconds: float


def equilibrium(stage: Stage, settings: Transport) -> tuple[Equilibrium, FreeEnergy]:
    r"""HMC at both ends of the schedule and at the nodes between, and the integral over the nodes.

    $S = -\frac{\beta}{3}\sum\mathrm{Re\,tr}\,P$ has $d\log Z/d\beta = 6V\langle P\rangle$ without a
    constant. Gauss's rule of n nodes is exact for polynomials of degree 2n-1.

    Args:
        stage: Where the chains are saved.
        settings: The settings.

    Returns:
        Thinned configurations, those to train on after the starts, and
        $\log Z(\beta_1)/Z(\beta_0) = 6V\int\langle P\rangle\,d\beta$ with its error.
    """
    nodes, weights = np.polynomial.legendre.leggauss(settings.n_nodes)
    middle, half = (settings.beta_1 + settings.beta_0) / 2, (settings.beta_1 - settings.beta_0) / 2
    inner = tuple(float(beta) for beta in middle + half * nodes)
    betas = (settings.beta_0, settings.beta_1, *inner)
    n_warm = -(-settings.n_warm // settings.n_between)
    n_kept = -(-settings.n_trajectories // settings.n_chains) + 2
    start = warm_field(settings.length, settings.beta_0, key=key_for(stage.key, "transport start"))
    found = run_chains(
        stage,
        "transport",
        trajectory_of(settings.beta_0, EQUILIBRIUM_STEPS),
        at_couplings(betas, settings.n_chains, start),
        (n_warm + n_kept) * settings.n_between,
        observe={"U": lambda at: at.U, "plaquette": lambda at: plaquette(at.U)},
        thin=settings.n_between,
    )
    fields = by_coupling(betas, found.observables["U"][:, n_warm:])
    plaquettes = by_coupling(betas, found.observables["plaquette"][:, n_warm:])
    first, last = (_pooled(fields[beta]) for beta in betas[:2])
    n = settings.n_trajectories
    factor = PLANES * settings.length**4 * half
    means = [gamma_method(plaquettes[beta]) for beta in inner]
    value = sum(factor * w * row.mean for w, row in zip(weights, means, strict=True))
    error = np.linalg.norm([factor * w * x.error for w, x in zip(weights, means, strict=True)])
    return Equilibrium(first[:n], last[:n], first[n:]), FreeEnergy(float(value), float(error))


def _pooled(chains: np.ndarray) -> Array:
    """Configurations of all chains, (chain, step, ...), in the order of the steps."""
    return jnp.asarray(np.moveaxis(chains, 1, 0).reshape(-1, *chains.shape[2:]))


def schedule(settings: Transport, n_steps: int) -> list[HMC]:
    """Short trajectories of HMC at equally spaced couplings, the last one the target's."""
    betas = np.linspace(settings.beta_0, settings.beta_1, n_steps + 1)[1:]
    return [
        hmc(
            action_at(beta),
            step_size=settings.md_length / settings.md_steps,
            n_steps=settings.md_steps,
            integrator=omelyan4(),
        )
        for beta in betas
    ]


def annealing(settings: Transport, n_steps: int) -> StochasticFlow:
    """The schedule without maps."""
    return stochastic_flow(action_at(settings.beta_0), schedule(settings, n_steps))


def with_stout(settings: Transport, rates: np.ndarray, n_steps: int) -> StochasticFlow:
    """The schedule with stout couplings whose steps are `rates` times the step of the coupling.

    Args:
        settings: The settings.
        rates: Raw step of the couplings over the step in beta, at equal distances along the way.
        n_steps: Steps of the schedule.

    Returns:
        The flow.
    """
    at = (np.arange(n_steps) + 0.5) / n_steps
    known = (np.arange(rates.size) + 0.5) / rates.size
    width = (settings.beta_1 - settings.beta_0) / n_steps
    layers = [StoutLayer(np.full((4, 2), width * rate)) for rate in np.interp(at, known, rates)]
    return stochastic_flow(action_at(settings.beta_0), schedule(settings, n_steps), layers)


def trained_rates(stage: Stage, settings: Transport, configurations: Array) -> np.ndarray:
    """Steps of the stout couplings per unit of beta, from the least mean work of a short schedule.

    Directions and parities are alike but for the order in which they move: their mean is taken.
    """
    n_layers = settings.training_layers
    if settings.training_steps == 0:
        return np.full(n_layers, settings.first_rate)
    flow = stochastic_flow(
        action_at(settings.beta_0),
        schedule(settings, n_layers),
        [stout_layer(4) for _ in range(n_layers)],
    )
    result = fit(
        StepwiseWork(configurations, settings.training_batch),
        flow,
        settings.training_steps,
        key=key_for(stage.key, "training"),
        learning_rate=settings.learning_rate,
        name="transport-training",
        checkpoint=stage.directory.checkpoint("transport-training"),
        on_chunk=lambda step, metrics: stage.directory.log(
            "transport-training", step, loss=float(np.mean(metrics["loss"]))
        ),
    )
    bijections = result.model.bijections
    rates = np.mean(np.asarray(bijections.raw).reshape(n_layers, -1), axis=1)
    rates = rates * n_layers / (settings.beta_1 - settings.beta_0)
    stage.keep("transport/training", loss=result.history["loss"], rates=rates)
    return rates


@eqx.filter_jit
def _there(flow: StochasticFlow, fields: Array, key: Key) -> WorkSample:
    return flow.sample(fields, key=key)


@eqx.filter_jit
def _back(flow: StochasticFlow, fields: Array, key: Key) -> WorkSample:
    return flow.sample_back(fields, key=key)


def work_of(
    stage: Stage, name: str, flow: StochasticFlow, fields: Array, *, back: bool = False
) -> Work:
    """Work of one trajectory from every field, in batches that are saved one by one."""
    run: Callable[..., WorkSample] = _back if back else _there
    n_batches = fields.shape[0] // TRANSPORT_BATCH
    key = key_for(stage.key, name)
    checkpoint = stage.directory.checkpoint(name)
    table = np.full((n_batches, TRANSPORT_BATCH + 1), np.nan)
    if checkpoint.exists():
        table, _ = checkpoint.restore(table)
    for index in range(n_batches):
        if not np.isnan(table[index, 0]):
            continue
        batch = fields[index * TRANSPORT_BATCH : (index + 1) * TRANSPORT_BATCH]
        began = time.perf_counter()
        table[index, 1:] = np.asarray(run(flow, batch, key_at(key, jnp.asarray(index))).work)
        table[index, 0] = time.perf_counter() - began
        checkpoint.save(table)
        stage.directory.log(name, index, work=float(np.mean(table[index, 1:])))
    found = Work(table[:, 1:].ravel(), float(np.min(table[:, 0])) / TRANSPORT_BATCH)
    stage.keep(f"transport/{name}", work=found.work, seconds=found.seconds)
    return found
