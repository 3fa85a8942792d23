"""Stages of a run: maps, plain flows, work along a schedule, equilibrium. Each resumes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from diffhep.core.fit import fit
from diffhep.core.rng import key_at, key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import sample
from diffhep.core.typing import Key
from diffhep_lattice import Lattice, Phi4Action, exact, hmc, neighbour_couplings, train
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import Chain, Repeat, stack
from diffhep_lattice.flows.convolutions import FreeField
from diffhep_lattice.flows.neighbours import NeighbourCoupling
from diffhep_lattice.flows.scalar import ScalarFlow
from diffhep_lattice.samplers.stochastic_flow import (
    StepwiseWork,
    StochasticFlow,
    WorkSample,
    stochastic_flow,
)
from diffhep_lattice.training import ReverseKL
from papers.caselle2022.config import BATCH, Config, Path

MOMENTS: dict[str, Callable[[Array], Array]] = {
    "phi2": lambda phi: jnp.mean(phi**2),
    "phi4": lambda phi: jnp.mean(phi**4),
    "chi2": lambda phi: jnp.sum(phi) ** 2 / phi.size,
}
"""What is measured at the ends of the trajectories."""

N_TRAINING = 8192
"""Configurations of the prior to train on."""

EQUILIBRIUM_CHAINS, EQUILIBRIUM_WARM, EQUILIBRIUM_THIN = 256, 60, 20
"""Chains of HMC for configurations of the target, transitions before and between those kept."""

EQUILIBRIUM_START = 0.3
"""The chains start from the free field times this: its largest values lie where the quartic force
makes the leapfrog unstable, and a chain that starts there may stay."""


class Work(NamedTuple):
    """Work of independent trajectories, moments at their ends, and processor seconds for one."""

    work: Float[np.ndarray, " trajectory"]
    moments: Float[np.ndarray, "trajectory moment"]
    seconds: float


@dataclass
class Run:
    """What all stages share.

    Attributes:
        config: The settings.
        directory: The run.
        key: Parent of the keys of the stages.
        arrays: What goes into data.h5.
    """

    config: Config
    directory: RunDir
    key: Key
    arrays: dict[str, Any] = field(default_factory=dict)

    def log_loss(self, name: str) -> Callable[[int, dict[str, Any]], None]:
        """Writes the mean loss of a chunk of training."""

        def log(step: int, metrics: dict[str, Any]) -> None:
            self.directory.log(name, step, loss=float(np.mean(metrics["loss"])))

        return log


def action_at(path: Path, time: float) -> Phi4Action:
    """The action on the way, at a time between 0 and 1."""
    linear = path.prior_mass_squared * (1 - time) + path.mass_squared * time
    return Phi4Action(
        mass_squared=linear - path.bend * time * (1 - time), coupling=path.coupling * time
    )


def log_z_prior(path: Path, shape: tuple[int, ...]) -> float:
    """The exact log Z of the free field."""
    return exact.free_scalar(shape, path.prior_mass_squared).log_z


def schedule(
    path: Path, n_steps: int, bijections: Sequence[AbstractBijection] | None = None
) -> StochasticFlow:
    """The stochastic flow of so many steps, or the annealing without maps."""
    times = (np.arange(1, n_steps + 1) / n_steps) ** path.power
    updates = [
        hmc(action_at(path, t), step_size=path.step_size, n_steps=path.md_steps) for t in times
    ]
    return stochastic_flow(action_at(path, 0.0), updates, bijections)


def couplings(n_pairs: int) -> Repeat:
    """Couplings of the even and the odd sites in turn, the identity."""
    return Repeat(stack([neighbour_couplings(2) for _ in range(n_pairs)]))


def trained_stochastic(run: Run) -> dict[int, StochasticFlow]:
    """Stochastic flows of 1, 2, 4 and so on steps, each from the maps of the one before."""
    config, settings, path = run.config, run.config.training, run.config.path
    maps, flows = [couplings(settings.n_pairs)], {}
    starts = _prior_fields(
        path, (settings.length,) * 2, N_TRAINING, key_for(run.key, "training starts")
    )
    for level in range(config.n_levels):
        n_steps = 2**level
        flow = schedule(path, n_steps, maps)
        if n_steps <= settings.n_refined:
            flow = _refined(run, flow, starts)
        flows[n_steps] = flow
        stacked = flow.bijections
        halves = [
            halved(jax.tree.map(lambda x, n=n: x[n] if eqx.is_array(x) else x, stacked))
            for n in range(n_steps)
        ]
        maps = [half for half in halves for _ in range(2)]
    return flows


def _refined(run: Run, flow: StochasticFlow, starts: Array) -> StochasticFlow:
    """A stochastic flow after training step by step."""
    settings, n_steps = run.config.training, flow.n_steps
    name, first = f"stochastic-{n_steps}", n_steps == 1
    n_updates = settings.n_steps if first else settings.n_refining
    rate = settings.learning_rate if first else settings.refining_rate / n_steps
    result = fit(
        StepwiseWork(starts, settings.batch),
        flow,
        n_updates,
        key=key_for(run.key, name),
        learning_rate=optax.cosine_decay_schedule(rate, n_updates),
        clip_norm=10.0,
        name=name,
        checkpoint=run.directory.checkpoint(name),
        on_chunk=run.log_loss(name),
    )
    run.arrays[f"training/{name}/loss"] = result.history["loss"]
    return result.model


def halved(maps: Repeat) -> Repeat:
    """Couplings that move the field about half as far: all parameters but the kernels' extent."""

    def half(coupling: NeighbourCoupling) -> NeighbourCoupling:
        return eqx.tree_at(
            lambda c: (c.raw, c.shift, c.growth),
            coupling,
            (
                coupling.raw * jnp.array([0.5, 0.5, 1.0]),
                0.5 * coupling.shift,
                0.5 * coupling.growth,
            ),
        )

    # The stacked pairs are one Chain with a leading axis on every array.
    pair: Any = maps.stacked
    return Repeat(Chain(tuple(half(coupling) for coupling in pair.bijections)))


def trained_plain(run: Run, n_couplings: int) -> ScalarFlow:
    """The same couplings from the same free field without updates, trained from end to end."""
    settings, path = run.config.training, run.config.path
    name = f"plain-{n_couplings}"
    free = FreeField(jnp.log(path.prior_mass_squared))
    lattice = Lattice((settings.length,) * 2)
    result = train(
        ScalarFlow(lattice, Chain((free, couplings(n_couplings // 2)))),
        ReverseKL(action_at(path, 1.0), settings.batch),
        settings.n_steps,
        key=key_for(run.key, name),
        learning_rate=settings.learning_rate * 2 * settings.n_pairs / n_couplings,
        name=name,
        checkpoint=run.directory.checkpoint(name),
        on_chunk=run.log_loss(name),
    )
    run.arrays[f"training/{name}/loss"] = result.history["loss"]
    return result.model


def forward(run: Run, name: str, flow: StochasticFlow, shape: tuple[int, int], n: int) -> Work:
    """So many trajectories from the free field, drawn within the time that is measured."""
    path = run.config.path

    @eqx.filter_jit
    def batch(flow: StochasticFlow, key: Key) -> tuple[Array, Array]:
        starts = _prior_fields(path, shape, BATCH, key_for(key, "prior"))
        return _measured(flow.sample(starts, key=key_for(key, "trajectories")))

    return _in_batches(run, name, lambda key, _: batch(flow, key), n)


def backward(run: Run, name: str, flow: StochasticFlow, ends: Array) -> Work:
    """Reverse trajectories from configurations of the target."""

    @eqx.filter_jit
    def batch(flow: StochasticFlow, key: Key, fields: Array) -> tuple[Array, Array]:
        return _measured(flow.sample_back(fields, key=key))

    def at(key: Key, index: int) -> tuple[Array, Array]:
        return batch(flow, key, ends[index * BATCH : (index + 1) * BATCH])

    return _in_batches(run, name, at, ends.shape[0])


def plain(run: Run, name: str, flow: ScalarFlow, shape: tuple[int, int]) -> Work:
    r"""Samples of a plain flow; what stands for the work is $-\log w - \log Z_0$."""
    action, log_z0 = action_at(run.config.path, 1.0), log_z_prior(run.config.path, shape)

    @eqx.filter_jit
    def batch(flow: ScalarFlow, key: Key) -> tuple[Array, Array]:
        phi, log_q = flow.push_forward(flow.sample_latents(key, BATCH))
        work = jax.vmap(action, in_axes=-1)(phi) + log_q + log_z0
        return work, _moments(jnp.moveaxis(phi, -1, 0))

    moved = flow.on(Lattice(shape))
    return _in_batches(run, name, lambda key, _: batch(moved, key), run.config.n_trajectories)


def equilibrium(run: Run, shape: tuple[int, int]) -> Float[Array, "config L T"]:
    """Configurations of the target, thinned from many chains of HMC."""
    path, name = run.config.path, f"equilibrium-{shape[0]}x{shape[1]}"
    key = key_for(run.key, name)
    n_kept = -(-run.config.n_trajectories // EQUILIBRIUM_CHAINS)
    n_warm = EQUILIBRIUM_WARM // EQUILIBRIUM_THIN
    result = sample(
        hmc(action_at(path, 1.0), step_size=path.step_size / 2, n_steps=2 * path.md_steps),
        EQUILIBRIUM_START * _prior_fields(path, shape, EQUILIBRIUM_CHAINS, key_for(key, "starts")),
        (n_warm + n_kept) * EQUILIBRIUM_THIN,
        observe={"phi": lambda phi: phi},
        key=key_for(key, "chains"),
        thin=EQUILIBRIUM_THIN,
        name=name,
        checkpoint=run.directory.checkpoint(name),
    )
    fields = np.moveaxis(result.observables["phi"][:, n_warm:], 1, 0).reshape(-1, *shape)
    return jnp.asarray(fields[: run.config.n_trajectories])


def _prior_fields(
    path: Path, shape: tuple[int, ...], n: int, key: Key
) -> Float[Array, "config L T"]:
    free = FreeField(jnp.log(path.prior_mass_squared))
    fields, _ = free.forward_and_log_det(jax.random.normal(key, (*shape, n)))
    return jnp.moveaxis(fields, -1, 0)


def _moments(fields: Array) -> Array:
    rows = [jax.vmap(observe)(fields) for observe in MOMENTS.values()]
    return jnp.stack(rows, axis=1)


def _measured(found: WorkSample) -> tuple[Array, Array]:
    return found.work, _moments(found.position)


def _in_batches(
    run: Run, name: str, batch: Callable[[Key, int], tuple[Array, Array]], n: int
) -> Work:
    """Work in batches that are saved one by one; processor time of the fastest one."""
    n_batches, width = n // BATCH, 1 + len(MOMENTS)
    checkpoint = run.directory.checkpoint(name)
    table = np.full((n_batches, 1 + BATCH * width), np.nan)
    if checkpoint.exists():
        table, _ = checkpoint.restore(table)
    key = key_for(run.key, name)
    for index in range(n_batches):
        if not np.isnan(table[index, 0]):
            continue
        began = time.process_time()
        work, moments = jax.block_until_ready(batch(key_at(key, jnp.asarray(index)), index))
        seconds = time.process_time() - began
        table[index] = np.concatenate([[seconds], np.asarray(work), np.asarray(moments).ravel()])
        checkpoint.save(table)
        run.directory.log(name, index, work=float(np.mean(work)))
    return Work(
        table[:, 1 : 1 + BATCH].ravel(),
        table[:, 1 + BATCH :].reshape(-1, len(MOMENTS)),
        float(np.min(table[:, 0])) / BATCH,
    )
