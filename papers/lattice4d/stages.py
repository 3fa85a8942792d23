"""Stages of a run: chains, trajectories and flowed configurations. Each resumes by itself."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import (
    AbstractSamplingAlgorithm,
    Observable,
    SampleResult,
    sample,
)
from diffhep.core.typing import Key
from diffhep_lattice import (
    SU3,
    WilsonAction,
    energy_density,
    force_gradient,
    heatbath,
    hmc,
    leapfrog,
    omelyan2,
    omelyan4,
    plaquette,
    topological_charge,
)
from diffhep_lattice.gradient_flow import flow_action, gradient_flow
from diffhep_lattice.groups import kinetic_energy, random_momentum
from diffhep_lattice.samplers.hmc import HMC
from papers.lattice4d.config import Curve, Flowed, Trajectories
from papers.lattice4d.couplings import AtCoupling, ManyCouplings, at_couplings

GROUP = SU3()

WARM_WIDTH = 1.2
"""Variance of a warm start's momenta, times beta: its plaquette is 0.59 at beta 6."""

INTEGRATORS = {
    "leapfrog": (leapfrog, 2),
    "omelyan2": (omelyan2, 2),
    "omelyan4": (omelyan4, 4),
    "force_gradient": (force_gradient, 4),
}
"""Every splitting scheme with the order of its energy error."""


@dataclass
class Stage:
    """Where a part of a run is saved, and what it found.

    Attributes:
        directory: The run.
        key: Parent of the keys of what is run in it.
        arrays: What goes into data.h5.
    """

    directory: RunDir
    key: Key
    arrays: dict[str, Any] = field(default_factory=dict)

    def keep(self, name: str, **values: Any) -> None:
        """Put arrays into data.h5."""
        self.arrays |= {f"{name}/{what}": np.asarray(value) for what, value in values.items()}


def action_at(beta: float) -> WilsonAction:
    """Wilson's action of SU(3)."""
    return WilsonAction(beta=jnp.asarray(beta), group=GROUP)


def cold_field(length: int, *, single: bool = False) -> Array:
    """The unit field on a lattice of equal lengths, from which the heatbath warms up."""
    dtype = jnp.complex64 if single else jnp.complex128
    unit = jnp.eye(3, dtype=dtype)[None, :, :, None, None, None, None]
    return jnp.broadcast_to(unit, (4, 3, 3, *(length,) * 4))


def warm_field(length: int, beta: float, *, single: bool = False, key: Key) -> Array:
    r"""Links $e^{ip}$ with Gaussian p, as rough as fields at that coupling.

    A cold field is so stiff that a trajectory with the steps of equilibrium is refused, and so is
    one from a random field.
    """
    cold = cold_field(length, single=single)
    momentum = random_momentum(GROUP, cold, key=key)
    return GROUP.move(cold, jnp.sqrt(WARM_WIDTH / beta).astype(momentum.dtype) * momentum)


def run_chains(
    stage: Stage,
    name: str,
    algorithm: AbstractSamplingAlgorithm,
    starts: AtCoupling,
    n_steps: int,
    *,
    observe: dict[str, Observable] | None = None,
    thin: int = 1,
    chunk: int = 20,
) -> SampleResult:
    """Chains of one algorithm at their couplings, by default with the plaquette of every step."""

    def log(step: int, record: Any) -> None:
        rate = float(np.mean(record.info["acceptance_probability"]))
        watched = {key: x for key, x in record.observables.items() if x.ndim == 2}
        means = {key: float(np.mean(x)) for key, x in watched.items()}
        stage.directory.log(name, step, acceptance=rate, **means)

    return sample(
        ManyCouplings(algorithm),
        starts,
        n_steps,
        observe=observe or {"plaquette": lambda at: plaquette(at.U)},
        key=key_for(stage.key, name),
        thin=thin,
        chunk=chunk,
        name=name,
        checkpoint=stage.directory.checkpoint(name),
        on_chunk=log,
    )


def by_coupling(betas: tuple[float, ...], values: np.ndarray | Array) -> dict[float, Any]:
    """Rows of chains divided by their coupling."""
    return dict(zip(betas, values.reshape(len(betas), -1, *values.shape[1:]), strict=True))


def plaquette_curve(
    stage: Stage, curve: Curve, name: str
) -> tuple[dict[float, np.ndarray], dict[float, Array]]:
    """Plaquettes after the warm-up, (chain, sweep), and the last fields, by coupling."""
    result = run_chains(
        stage,
        name,
        heatbath(action_at(curve.betas[0]), n_overrelaxation=curve.n_overrelaxation),
        at_couplings(curve.betas, curve.n_chains, cold_field(curve.length, single=curve.single)),
        curve.n_warm + curve.n_sweeps,
    )
    series = by_coupling(curve.betas, result.observables["plaquette"][:, curve.n_warm :])
    return series, by_coupling(curve.betas, result.state.position.U)


class HmcSeries(NamedTuple):
    r"""Plaquette and $\Delta H$ after the warm-up, (chain, trajectory), and the acceptance."""

    plaquette: np.ndarray
    energy_change: np.ndarray
    acceptance: float


def trajectory_of(beta: float, n_steps: int, integrator: Any = None) -> HMC:
    """HMC with unit trajectories, by default of the fourth-order minimum-norm scheme."""
    return hmc(
        action_at(beta),
        step_size=1.0 / n_steps,
        n_steps=n_steps,
        integrator=integrator or omelyan4(),
    )


def hmc_series(
    stage: Stage, settings: Trajectories, starts: dict[float, Array]
) -> dict[float, HmcSeries]:
    """HMC from fields in equilibrium, by coupling."""
    betas, n_warm = settings.betas, settings.n_warm
    n_chains = starts[betas[0]].shape[0]
    fields = jnp.concatenate([starts[beta] for beta in betas])
    result = run_chains(
        stage,
        "hmc",
        trajectory_of(betas[0], settings.n_steps),
        at_couplings(betas, n_chains, fields),
        n_warm + settings.n_trajectories,
    )
    plaquettes = by_coupling(betas, result.observables["plaquette"][:, n_warm:])
    changes = by_coupling(betas, result.info["energy_change"][:, n_warm:])
    rates = by_coupling(betas, result.info["acceptance_probability"][:, n_warm:])
    return {
        beta: HmcSeries(plaquettes[beta], changes[beta], float(np.mean(rates[beta])))
        for beta in betas
    }


class IntegratorErrors(NamedTuple):
    r"""What unit trajectories of one integrator show.

    Attributes:
        energy: Root mean square of $\Delta H$, for each number of steps.
        reversal: Largest deviation of a link after the trajectory with the fewest steps and, with
            reversed momenta, back.
    """

    energy: list[float]
    reversal: float


@eqx.filter_jit
def _follow(one_step: HMC, n_steps: Array, U: Array, momentum: Array) -> tuple[Array, Array]:
    """A trajectory step by step, so that one program serves every number of steps."""

    def advance(_: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        return one_step.trajectory(*at)

    return jax.lax.fori_loop(0, n_steps, advance, (U, momentum))


@eqx.filter_jit
def _energy(action: WilsonAction, U: Array, momentum: Array) -> Array:
    return action(U) + kinetic_energy(momentum)


def integrator_errors(
    beta: float, name: str, counts: tuple[int, int], U: Array, n_momenta: int, *, key: Key
) -> IntegratorErrors:
    """Energy errors and reversibility of an integrator from one field.

    Args:
        beta: Inverse coupling.
        name: A key of `INTEGRATORS`.
        counts: Numbers of integrator steps of a unit trajectory.
        U: A field in equilibrium.
        n_momenta: Momenta drawn, the same for all counts and integrators.
        key: Random key.

    Returns:
        The errors.
    """
    action, build = action_at(beta), INTEGRATORS[name][0]
    momenta = [random_momentum(GROUP, U, key=k) for k in jax.random.split(key, n_momenta)]

    def follow(n: int, start: Array, momentum: Array) -> tuple[Array, Array]:
        one_step = hmc(action, step_size=1.0 / n, n_steps=1, integrator=build())
        return _follow(one_step, jnp.asarray(n), start, momentum)

    def energy_change(n: int, momentum: Array) -> float:
        return float(_energy(action, *follow(n, U, momentum)) - _energy(action, U, momentum))

    energy = [float(np.sqrt(np.mean([energy_change(n, p) ** 2 for p in momenta]))) for n in counts]
    end, final = follow(counts[0], U, momenta[0])
    back, _ = follow(counts[0], end, -final)
    return IntegratorErrors(energy, float(jnp.max(jnp.abs(back - U))))


def flow_times(settings: Flowed) -> np.ndarray:
    """Equally spaced flow times, the last one given."""
    return settings.last_time / settings.n_times * np.arange(1, settings.n_times + 1)


def flowed_series(stage: Stage, settings: Flowed) -> tuple[np.ndarray, np.ndarray]:
    """Energy densities (config, time) and charges (config,) of flowed configurations."""
    times = flow_times(settings)

    def measure(at: AtCoupling) -> Array:
        flowed = gradient_flow(
            at.U,
            times,
            observe={"E": lambda V: jnp.mean(energy_density(V), dtype=float)},
            tolerance=settings.tolerance,
        )
        return jnp.append(flowed.observed["E"], topological_charge(flowed.U, improved=True))

    name = f"flow-{settings.name}"
    start = warm_field(
        settings.length,
        settings.beta,
        single=settings.single,
        key=key_for(stage.key, f"{name} start"),
    )
    result = run_chains(
        stage,
        name,
        trajectory_of(settings.beta, settings.n_steps),
        at_couplings((settings.beta,), 1, start),
        (settings.n_warm + settings.n_configs) * settings.n_between,
        observe={"flow": measure},
        thin=settings.n_between,
        chunk=settings.n_between,
    )
    found = result.observables["flow"][0, settings.n_warm :]
    energy, charge = found[:, :-1], found[:, -1]
    stage.keep(
        f"flow/{settings.name}",
        time=times,
        energy=energy,
        charge=charge,
        length=settings.length,
        beta=settings.beta,
        acceptance=np.mean(result.info["acceptance_probability"]),
        seconds=result.seconds,
    )
    return energy, charge


@eqx.filter_jit
def fixed_step_flow(U: Array, times: Array, n_steps: Array) -> Array:
    r"""$t^2\langle E\rangle$ by a scheme of fourth order with fixed steps, without error estimate.

    The commutator-free scheme of E. Celledoni, A. Marthinsen, B. Owren, Future Gener. Comput. Syst.
    19 (2003) 341; it shares nothing but the force with `gradient_flow`.

    Args:
        U: A field of matrices.
        times: Equally spaced flow times, the first one step after 0.
        n_steps: Fixed steps between two of them.

    Returns:
        $t^2\langle E(t)\rangle$ at the flow times, with the clover energy density.
    """
    action = flow_action(U)
    move = action.group.move
    step = times[0] / n_steps

    def slope(V: Array) -> Array:
        return -step * action.force(V)

    def advance(_: Array, V: Array) -> Array:
        k1 = slope(V)
        V2 = move(V, 0.5 * k1)
        k2 = slope(V2)
        k3 = slope(move(V, 0.5 * k2))
        k4 = slope(move(V2, k3 - 0.5 * k1))
        half = move(V, (3 * k1 + 2 * k2 + 2 * k3 - k4) / 12)
        return move(half, (-k1 + 2 * k2 + 2 * k3 + 3 * k4) / 12)

    def segment(V: Array, time: Array) -> tuple[Array, Array]:
        V = jax.lax.fori_loop(0, n_steps, advance, V)
        return V, time**2 * jnp.mean(energy_density(V))

    return jax.lax.scan(segment, U, times)[1]


def adaptive_flow(U: Array, times: Array) -> Array:
    r"""$t^2\langle E\rangle$ by `gradient_flow` with its own settings."""
    found = gradient_flow(U, times, observe={"E": lambda V: jnp.mean(energy_density(V))})
    return times**2 * found.observed["E"]
