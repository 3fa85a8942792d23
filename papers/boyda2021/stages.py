"""Stages of a run: train a flow, run a sampler. Each resumes from its checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import AbstractSamplingAlgorithm, SampleResult, sample
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.comb_training import CombFit, train_comb
from diffhep_lattice.flows import Comb, CouplingFlow, comb_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SUN
from diffhep_lattice.observables import plaquette, wilson_loop
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc
from diffhep_lattice.samplers.independence import independence_metropolis
from papers.boyda2021.config import Chains, Point, Training

OBSERVABLES = {
    "plaquette": plaquette,
    "W(2x2)": lambda U: wilson_loop(U, 2, 2),
    "W(3x3)": lambda U: wilson_loop(U, 3, 3),
}
AREAS = {"plaquette": 1, "W(2x2)": 4, "W(3x3)": 9}
"""What is measured, and the number of plaquettes in each loop."""

_LARGE = 10_000
"""Plaquettes of a torus on which the constraint does not matter to sixteen digits."""


@dataclass
class Place:
    """One theory in one run: where its stages are saved and what they found.

    Attributes:
        point: The theory.
        lattice: The lattice there.
        directory: The run.
        key: Parent of the keys of its stages.
        arrays: What goes into data.h5.
    """

    point: Point
    lattice: Lattice
    directory: RunDir
    key: Key
    arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the theory, as in claims."""
        return f"SU({self.point.n_colors}) beta={self.point.beta:g}"

    @property
    def action(self) -> WilsonAction:
        """Wilson's action there."""
        return WilsonAction(beta=jnp.asarray(self.point.beta), group=SUN(self.point.n_colors))

    @property
    def log_z(self) -> float:
        """The exact log Z."""
        return exact.sun_log_partition(self.point.n_colors, self.point.beta, self.lattice.volume)

    def truth(self, observable: str) -> float:
        """The exact mean of an observable."""
        n, beta, volume = self.point.n_colors, self.point.beta, self.lattice.volume
        return exact.sun_wilson_loop(n, beta, volume, AREAS[observable])

    def stage(self, name: str) -> str:
        """The name of a stage's files."""
        return f"su{self.point.n_colors}-{self.point.beta:g}-{name}"

    def keep(self, stage: str, **values: Any) -> None:
        """Put arrays of a stage into data.h5."""
        self.arrays |= {f"{self.name}/{stage}/{name}": value for name, value in values.items()}


def baseline_ess(point: Point) -> float:
    r"""$z(\beta)^2/z(2\beta)$: all plaquettes but one as they should be, the last one Haar."""
    log_z = [
        exact.sun_log_partition(point.n_colors, b * point.beta, _LARGE) / _LARGE for b in (1, 2)
    ]
    return float(np.exp(2 * log_z[0] - log_z[1]))


def trained(place: Place, settings: Training) -> CombFit:
    """The comb flow of a place."""
    flow = comb_flow(
        place.lattice,
        place.point.n_colors,
        key=key_for(place.key, "flow"),
        n_constrained=settings.n_constrained,
    )

    def options(part: str) -> dict[str, Any]:
        name = place.stage(part)

        def log(step: int, metrics: dict[str, Any]) -> None:
            place.directory.log(name, step, loss=float(np.mean(metrics["loss"])))

        return {"checkpoint": place.directory.checkpoint(name), "name": name, "on_chunk": log}

    result = train_comb(
        flow,
        place.point.beta,
        key=key_for(place.key, "training"),
        n_plaquette_steps=settings.plaquette_steps,
        n_chain_steps=settings.chain_steps,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        options=options,
    )
    place.keep("plaquette", loss=result.plaquette.history["loss"])
    if result.chain:
        place.keep("chain", loss=result.chain.history["loss"])
    return result


def without_conditions(place: Place, found: CombFit) -> CouplingFlow:
    """The flow that treats all plaquettes but the last one as if there were no constraint."""
    return CouplingFlow(place.lattice, Comb(found.plaquette.model, None, 1), found.flow.group)


def moved_to(flow: CouplingFlow, length: int) -> CouplingFlow:
    """The same parameters on another lattice."""
    return CouplingFlow(Lattice((length, length)), flow.bijection, flow.group)


def n_parameters(flow: CouplingFlow) -> int:
    """The number of trained numbers."""
    return sum(x.size for x in jax.tree.leaves(eqx.filter(flow, eqx.is_inexact_array)))


def samplers_of(
    place: Place, chains: Chains, flow: CouplingFlow
) -> dict[str, tuple[AbstractSamplingAlgorithm, int]]:
    """The samplers of a place with their number of steps; those with none are left out."""
    action, n_leapfrog = place.action, chains.hmc_leapfrog_steps
    table = {
        "independence": (independence_metropolis(flow, action), chains.independence_steps),
        "hmc": (hmc(action, step_size=1.0 / n_leapfrog, n_steps=n_leapfrog), chains.hmc_steps),
        "heatbath": (
            heatbath(action, n_overrelaxation=chains.n_overrelaxation),
            chains.heatbath_steps,
        ),
    }
    return {name: entry for name, entry in table.items() if entry[1]}


def run_chains(
    place: Place,
    name: str,
    algorithm: AbstractSamplingAlgorithm,
    n_steps: int,
    starts: Complex[Array, "chain mu row column L T"],
    burn_in: int,
) -> SampleResult:
    """Chains of one sampler from the flow's samples; the first steps are not measured."""
    stage = place.stage(name)

    def log(step: int, record: Any) -> None:
        rate = np.mean(record.info["acceptance_probability"])
        place.directory.log(stage, step, acceptance=float(rate))

    result = sample(
        algorithm,
        starts,
        n_steps + burn_in,
        observe=OBSERVABLES,
        key=key_for(place.key, f"{name} chains"),
        chunk=20,
        name=stage,
        checkpoint=place.directory.checkpoint(stage),
        on_chunk=log,
    )
    return result._replace(
        observables={k: x[:, burn_in:] for k, x in result.observables.items()},
        info={k: x[:, burn_in:] for k, x in result.info.items()},
    )
