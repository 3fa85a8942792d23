"""Stages of a run: train a flow, run a sampler. Each resumes from its checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.fit import FitResult
from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import AbstractSamplingAlgorithm, SampleResult, sample
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows import AbstractFlow, block_flow, multiscale_flow, stripe_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.level_training import train_levels
from diffhep_lattice.observables import plaquette, topological_charge, wilson_loop
from diffhep_lattice.samplers.alternate import alternate
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.independence import independence_metropolis
from diffhep_lattice.samplers.instanton import instanton_hit
from diffhep_lattice.samplers.latent_hmc import flow_hmc
from diffhep_lattice.training import ReverseKL, train
from papers.kanwar2020.config import Ensemble, Local

EQUILIBRATION = 50
"""Independence-Metropolis steps that are not measured; the flow's samples are near already."""

OBSERVABLES = {
    "plaquette": plaquette,
    "W(2x2)": lambda U: wilson_loop(U, 2, 2),
    "W(3x3)": lambda U: wilson_loop(U, 3, 3),
    "Q": topological_charge,
}


@dataclass
class Place:
    """One point of the theory in one run: where its stages are saved and what they found.

    Attributes:
        name: Prefix of stages, arrays and claims.
        action: The action there.
        lattice: The lattice there.
        directory: The run.
        key: Parent of the keys of its stages.
        arrays: What goes into data.h5.
    """

    name: str
    action: WilsonAction
    lattice: Lattice
    directory: RunDir
    key: Key
    arrays: dict[str, Any] = field(default_factory=dict)

    def key_of(self, stage: str) -> Key:
        """The key of a stage."""
        return key_for(self.key, stage)

    def keep(self, stage: str, **values: Any) -> None:
        """Put arrays of a stage into data.h5."""
        self.arrays |= {f"{self.name}/{stage}/{name}": value for name, value in values.items()}


def place_of(point: Ensemble | Local, name: str, directory: RunDir, *, key: Key) -> Place:
    """A point of the theory, ready for its stages."""
    lattice = Lattice((point.length, point.length))
    place = Place(name, WilsonAction(beta=jnp.asarray(point.beta)), lattice, directory, key)
    table = exact.u1_charge_distribution(point.beta, lattice.volume)
    place.keep("exact", length=point.length, beta=point.beta, charge=table.charge)
    place.keep("exact", P=table.probability)
    place.keep("exact", log_z=exact.u1_log_partition(point.beta, lattice.volume))
    place.keep("exact", plaquette=exact.u1_plaquette(point.beta, lattice.volume))
    for size in (2, 3):
        loop = exact.u1_wilson_loop(point.beta, lattice.volume, size**2)
        place.arrays[f"{name}/exact/W({size}x{size})"] = loop
    place.arrays[f"{name}/exact/Q^2"] = exact.u1_charge_squared(point.beta, lattice.volume)
    return place


def trained_multiscale(place: Place, n_steps: int) -> tuple[AbstractFlow, FitResult]:
    """The multiscale flow of a place, trained level by level."""
    flow = multiscale_flow(place.lattice, key=place.key_of("multiscale"))
    options = _options(place, "multiscale", "loss")
    result = train_levels(
        flow, float(place.action.beta), n_steps, key=place.key_of("levels"), **options
    )
    place.keep("multiscale", loss=result.history["loss"])
    return result.model, result


def trained_local(place: Place, local: Local, kind: str) -> tuple[AbstractFlow, FitResult]:
    """Local couplings of a place: "stripes" as published, or "blocks" from coarse to fine."""
    key = place.key_of(kind)
    if kind == "stripes":
        flow = stripe_flow(place.lattice, key=key, n_layers=local.stripe_layers)
        n_steps = local.stripe_steps
        pace = {"learning_rate": local.stripe_learning_rate, "clip_norm": local.stripe_clip_norm}
    else:
        flow = block_flow(place.lattice, key=key, largest=local.largest_block, n_polish=0)
        n_steps, pace = local.block_steps, {"learning_rate": local.learning_rate}
    result = train(
        flow,
        ReverseKL(place.action, local.batch, anneal_steps=n_steps // 10),
        n_steps,
        key=place.key_of(f"{kind} training"),
        **pace,
        **_options(place, kind, "minus_log_w"),
    )
    history = {name: result.history[name] for name in ("minus_log_w", "batch_ess")}
    place.keep(kind, **history)
    # A training that falls apart late keeps what it had.
    return result.best_model, result


def _options(place: Place, stage: str, watched: str) -> dict[str, Any]:
    """Where a fit is saved, and what of it goes into metrics.jsonl."""
    name = f"{place.name}-{stage}"

    def log(step: int, metrics: dict[str, Any]) -> None:
        place.directory.log(name, step, **{watched: float(np.mean(metrics[watched]))})

    return {"checkpoint": place.directory.checkpoint(name), "name": name, "on_chunk": log}


def samplers_of(
    place: Place, point: Ensemble, flow: AbstractFlow
) -> dict[str, tuple[AbstractSamplingAlgorithm, int]]:
    """The other samplers of a place with their number of steps; those with none are left out."""
    action = place.action
    plain = plain_hmc(place, point)
    latent = flow_hmc(
        flow,
        action,
        step_size=point.latent_length / point.latent_leapfrog_steps,
        n_steps=point.latent_leapfrog_steps,
    )
    proposals = independence_metropolis(flow, action)
    table = {
        "hmc": (plain, point.hmc_steps),
        "hmc+flow": (alternate(plain, proposals), point.mixture_steps),
        "flow_hmc": (latent, point.flow_hmc_steps),
        "heatbath": (heatbath(action), point.heatbath_steps),
        "hmc+instanton": (alternate(plain, instanton_hit(action)), point.instanton_steps),
    }
    return {name: entry for name, entry in table.items() if entry[1]}


def plain_hmc(place: Place, point: Ensemble) -> AbstractSamplingAlgorithm:
    """HMC with trajectories of length one."""
    n_steps = point.hmc_leapfrog_steps
    return hmc(place.action, step_size=1.0 / n_steps, n_steps=n_steps)


def run_chains(
    place: Place,
    stage: str,
    algorithm: AbstractSamplingAlgorithm,
    n_steps: int,
    starts: Float[Array, "chain mu L T"],
) -> SampleResult:
    """Chains of one sampler; the observables of every step are kept."""
    name = f"{place.name}-{stage}"

    def log(step: int, record: Any) -> None:
        rate = np.mean(record.info["acceptance_probability"])
        place.directory.log(name, step, acceptance=float(rate))

    return sample(
        algorithm,
        starts,
        n_steps,
        observe=OBSERVABLES,
        key=place.key_of(f"{stage} chains"),
        chunk=max(n_steps // 20, 10),
        name=name,
        checkpoint=place.directory.checkpoint(name),
        on_chunk=log,
    )


def equilibrium(
    place: Place, flow: AbstractFlow, n_chains: int, n_steps: int, of: str = ""
) -> tuple[SampleResult, Float[Array, "chain mu L T"]]:
    """Independence-Metropolis chains, frozen by nothing, and the fields in equilibrium they end at.

    They start from the flow's own samples. A hot or cold start would stick: far from equilibrium
    the flow's density falls faster than the target's, and the weight is astronomically large. The
    first `EQUILIBRATION` steps are not measured.
    """
    draw = eqx.filter_jit(flow.sample_and_log_prob)
    drawn, _ = draw(place.key_of(f"starts{of}"), n_chains)
    proposals = independence_metropolis(flow, place.action)
    result = run_chains(place, f"independence{of}", proposals, n_steps + EQUILIBRATION, drawn)
    measured = result._replace(
        observables={name: x[:, EQUILIBRATION:] for name, x in result.observables.items()},
        info={name: x[:, EQUILIBRATION:] for name, x in result.info.items()},
    )
    return measured, result.state.position


def latent_forces(place: Place, flow: AbstractFlow, n_samples: int = 512) -> np.ndarray:
    r"""Euclidean norms of the force of latent-space HMC, $|\nabla_z(S(f(z)) - \log|\det f'|)|$.

    Where the largest is far above the median, the latent density has tails too steep for HMC.
    """
    latents = flow.sample_latents(place.key_of("forces"), n_samples)
    latent = flow_hmc(flow, place.action)

    def norm(z: Any) -> jax.Array:
        force = jax.grad(lambda at: latent.potential(at)[0])(z)
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(force)))

    return np.asarray(eqx.filter_jit(jax.vmap(norm, in_axes=-1))(latents))
