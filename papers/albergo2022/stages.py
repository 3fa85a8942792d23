"""Stages of a run: train the flow, run a sampler, anneal. Each resumes from its checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import AbstractSamplingAlgorithm, SampleResult, sample
from diffhep.core.typing import Key
from diffhep_lattice.actions.schwinger import SchwingerAction
from diffhep_lattice.flows import AbstractFlow, multiscale_flow
from diffhep_lattice.flows.multiscale import MultiscaleFlow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import U1
from diffhep_lattice.level_training import train_levels
from diffhep_lattice.observables import meson_correlators, plaquette, topological_charge
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.delayed_acceptance import delayed_acceptance
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.independence import independence_metropolis
from diffhep_lattice.samplers.instanton import instanton_hit
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from diffhep_lattice.samplers.pseudofermion_hmc import pseudofermion_hmc
from diffhep_lattice.samplers.stochastic_flow import jarzynski, stochastic_flow
from diffhep_lattice.training import ReverseKL, train
from papers.albergo2022.config import Chains, Config, Point

N_TRAJECTORIES = 2048
"""Trajectories of the stochastic flow."""

QUENCHED_SWEEPS = 30
"""Heatbath sweeps from a Haar start; a 2 x 2 lattice forgets it in a few."""

DELAYED_STEPS = 2
"""Proposals that the gauge action judges before the determinant does."""


@dataclass
class Place:
    """One lattice in one run: where its stages are saved and what they found.

    Attributes:
        point: The settings there.
        action: The action, the same at all places.
        directory: The run.
        key: Parent of the keys of its stages.
        training_seconds: What the flow took, compilation included.
        arrays: What goes into data.h5.
    """

    point: Point
    action: SchwingerAction
    directory: RunDir
    key: Key
    training_seconds: float = 0.0
    arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the lattice, as in claims."""
        return f"{self.point.length}x{self.point.length}"

    def keep(self, stage: str, **values: Any) -> None:
        """Put arrays of a stage into data.h5."""
        self.arrays |= {f"{self.name}/{stage}/{name}": value for name, value in values.items()}


def places(config: Config, directory: RunDir, *, key: Key) -> list[Place]:
    """All lattices of a run."""
    action = SchwingerAction(beta=jnp.asarray(config.beta), kappa=jnp.asarray(config.kappa))
    return [
        Place(point, action, directory, key_for(key, f"{point.length}")) for point in config.points
    ]


def trained(place: Place) -> AbstractFlow:
    """The flow of a lattice: trained without fermions, then tuned with them on a smaller one."""
    point = place.point
    flow = _quenched(place, point.length)
    if not point.tuning_steps:
        return flow
    small = point.tuning_length
    start = flow if small == point.length else _quenched(place, small)
    result = train(
        start,
        ReverseKL(place.action, point.tuning_batch),
        point.tuning_steps,
        key=key_for(place.key, "tuning"),
        learning_rate=point.tuning_rate,
        **_options(place, "tuning", "minus_log_w"),
    )
    place.training_seconds += result.seconds + result.compile_seconds
    place.keep("flow", minus_log_w=result.history["minus_log_w"])
    return transferred(result.best_model, flow)


def transferred(small: Any, large: Any) -> MultiscaleFlow:
    """The larger flow with the levels of the smaller one, but for those that feel its size.

    Levels are counted from the plaquettes upwards, as loops of the same area correspond. The
    largest loop of the smaller torus has no parent there, and its halves hardly one.
    """
    if small.lattice == large.lattice:
        return small
    taken = len(small.splits) - 2
    return MultiscaleFlow(large.lattice, large.splits[:-taken] + small.splits[-taken:])


def _quenched(place: Place, length: int) -> MultiscaleFlow:
    """The flow of pure gauge theory, trained level by level."""
    lattice, stage = Lattice((length, length)), f"levels-{length}"
    flow = multiscale_flow(lattice, key=key_for(place.key, stage))
    steps, beta = place.point.level_steps, place.point.flow_beta
    key = key_for(place.key, f"{stage} training")
    result = train_levels(flow, beta, steps, key=key, **_options(place, stage, "loss"))
    place.training_seconds += result.seconds + result.compile_seconds
    return result.model


def _options(place: Place, stage: str, watched: str) -> dict[str, Any]:
    """Where a fit is saved, and what of it goes into metrics.jsonl."""
    name = f"{place.name}-{stage}"

    def log(step: int, metrics: dict[str, Any]) -> None:
        place.directory.log(name, step, **{watched: float(np.mean(metrics[watched]))})

    return {"checkpoint": place.directory.checkpoint(name), "name": name, "on_chunk": log}


def build(name: str, place: Place, flow: AbstractFlow) -> AbstractSamplingAlgorithm:
    """A sampler by its name; trajectories have the length one."""
    action, n_steps = place.action, place.point.hmc_leapfrog_steps
    trajectory = {"step_size": 1.0 / n_steps, "n_steps": n_steps}
    proposals = independence_metropolis(flow, action)
    match name:
        case "pseudofermions":
            return pseudofermion_hmc(action, **trajectory)
        case "hmc+instanton":
            return alternate(hmc(action, **trajectory), instanton_hit(action))
        case "hmc+flow":
            return alternate(hmc(action, **trajectory), proposals)
        case "independence":
            return proposals
        case "delayed":
            gauge = independence_metropolis(flow, action.gauge)
            return delayed_acceptance(gauge, action, n_steps=DELAYED_STEPS)
        case "flow_hmc":
            return flow_hmc(flow, action, **trajectory)
        case _:
            return hmc(action, **trajectory)


def run_chains(
    place: Place, chains: Chains, flow: AbstractFlow, starts: Float[Array, "chain mu L T"]
) -> SampleResult:
    """Chains of one sampler; the first rows are not measured."""
    stage, kappa = f"{place.name}-{chains.sampler}", place.action.kappa

    def fermions(U: Array) -> dict[str, Array]:
        found = meson_correlators(U, kappa)
        return {"condensate": found.condensate, "pion": found.pion}

    def log(step: int, record: Any) -> None:
        rate = np.mean(record.info["acceptance_probability"])
        place.directory.log(stage, step, acceptance=float(rate))

    observe: dict[str, Any] = {"plaquette": plaquette, "Q": topological_charge}
    if place.point.propagators:
        observe["fermions"] = fermions
    rows = chains.rows + chains.burn_in
    result = sample(
        build(chains.sampler, place, flow),
        starts[: chains.n_chains],
        rows * chains.thin,
        observe=observe,
        key=key_for(place.key, f"{chains.sampler} chains"),
        thin=chains.thin,
        chunk=max(rows // 10, 1) * chains.thin,
        name=stage,
        checkpoint=place.directory.checkpoint(stage),
        on_chunk=log,
    )
    names = {name: name.removeprefix("fermions/") for name in result.observables}
    series = {names[name]: x[:, chains.burn_in :] for name, x in result.observables.items()}
    return result._replace(observables=series)


def annealed_determinant(place: Place) -> tuple[float, float]:
    r"""$\log\langle(\det D)^2\rangle$ of the quenched theory, and its error.

    A stochastic flow raises $\kappa$ from zero, with a trajectory of HMC at every step, and
    Jarzynski's equality makes the ratio of partition functions of its work.
    """
    point, action = place.point, place.action
    quenched = SchwingerAction(beta=action.beta, kappa=jnp.zeros(()))
    n_steps = point.hmc_leapfrog_steps
    kappas = action.kappa * jnp.arange(1, point.anneal_steps + 1) / point.anneal_steps
    process = stochastic_flow(
        quenched,
        [
            hmc(
                SchwingerAction(beta=action.beta, kappa=kappa),
                step_size=1.0 / n_steps,
                n_steps=n_steps,
            )
            for kappa in kappas
        ],
    )
    sweep = heatbath(action.gauge)

    @eqx.filter_jit
    def work(process: Any, sweep: Any, key: Key) -> Array:
        start_key, sweep_key, work_key = jax.random.split(key, 3)
        shape = (N_TRAJECTORIES, 2, point.length, point.length)
        fields = U1().haar(shape, key=start_key, dtype=jnp.float64)

        def equilibrate(field: Array, key: Key) -> Array:
            def step(state: Any, key: Key) -> tuple[Any, None]:
                return sweep.step(key, state)[0], None

            keys = jax.random.split(key, QUENCHED_SWEEPS)
            return jax.lax.scan(step, sweep.init(field), keys)[0].position

        fields = jax.vmap(equilibrate)(fields, jax.random.split(sweep_key, N_TRAJECTORIES))
        return process.sample(fields, key=work_key).work

    found = jarzynski(work(process, sweep, key_for(place.key, "annealing")))
    place.keep("annealing", log_determinant=[found.value, found.error])
    return found.value, found.error
