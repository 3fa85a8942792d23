"""An ensemble as a file of settings: what the command line builds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from diffhep.core.checks import require
from diffhep.core.config import config_hash
from diffhep.core.distributed import grid
from diffhep.core.rng import key_for
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key
from diffhep_lattice import observables
from diffhep_lattice.actions import AbstractAction, WilsonAction, dbw2, iwasaki, symanzik
from diffhep_lattice.actions.boundary import BOUNDARIES
from diffhep_lattice.ensemble.ensemble import Ensemble
from diffhep_lattice.ensemble.flow import IMPROVED_REACH, REACH, FlowMeasurement
from diffhep_lattice.ensemble.schedule import Schedule
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SU2, SU3, U1, AbstractGroup
from diffhep_lattice.samplers import (
    force_gradient,
    heatbath,
    hmc,
    leapfrog,
    omelyan2,
    omelyan4,
)

T = TypeVar("T")

GROUPS: Mapping[str, Callable[[], AbstractGroup]] = {"u1": U1, "su2": SU2, "su3": SU3}
IMPROVED = {"symanzik": symanzik, "iwasaki": iwasaki, "dbw2": dbw2}
ACTIONS = ("wilson", *IMPROVED)
INTEGRATORS = {
    "leapfrog": leapfrog,
    "omelyan2": omelyan2,
    "omelyan4": omelyan4,
    "force_gradient": force_gradient,
}
SAMPLERS = ("hmc", "heatbath")
STARTS = ("cold", "hot")
DTYPES = {"float64": np.float64, "float32": np.float32}
MD_DTYPES = {"same": None, "float32": jnp.float32}


def _polyakov_loop(U: Array) -> dict[str, Array]:
    """Both parts of the mean Polyakov loop."""
    loop = observables.polyakov_loop(U)
    return {"real": loop.real, "imag": loop.imag}


OBSERVABLES: Mapping[str, Callable[[Any], Any]] = {
    "plaquette": observables.plaquette,
    "spatial_plaquette": observables.spatial_plaquette,
    "temporal_plaquette": observables.temporal_plaquette,
    "polyakov_loop": _polyakov_loop,
    "topological_charge": observables.topological_charge,
}
"""What can be measured by name; "action" is measured too."""


def choose(name: str, table: Mapping[str, T], choice: str) -> T:
    """An entry of a table.

    Args:
        name: What is chosen, for the message.
        table: What there is.
        choice: The key wanted.

    Returns:
        The entry.

    Raises:
        ConfigError: There is none; the message lists the keys.
    """
    require(choice in table, name, f"be one of {', '.join(table)}", choice)
    return table[choice]


class BulkPlaquette(eqx.Module):
    """The mean plaquette of SU(N) over the time slices away from open boundaries.

    Attributes:
        margin: Slices left out at either end.
    """

    margin: int = eqx.field(static=True)

    def __call__(self, U: Array) -> Array:
        """The mean of one configuration."""
        energy = observables.energy_density(U, kind="plaquette")
        bulk = energy[..., self.margin : energy.shape[-1] - self.margin]
        n_planes = U.shape[0] * (U.shape[0] - 1) // 2
        return 1.0 - jnp.mean(bulk, dtype=jnp.float64) / (2.0 * U.shape[1] * n_planes)


@dataclass(frozen=True)
class Settings:
    """One ensemble of a pure gauge theory.

    Args:
        lattice: Sites along each direction; the last one is time.
        beta: Inverse coupling.
        group: u1 (two dimensions), su2 or su3.
        action: wilson, symanzik, iwasaki or dbw2; of U(1) wilson.
        boundary: In time, periodic or open; of U(1) periodic.
        sampler: hmc, or heatbath for Wilson's action.
        n_overrelaxation: Overrelaxation sweeps after each heatbath sweep.
        integrator: Of HMC: leapfrog, omelyan2, omelyan4 or force_gradient.
        trajectory_length: Of HMC, in molecular-dynamics units.
        n_steps: Integrator steps of a trajectory.
        md_precision: Of HMC's trajectories: that of the links, "same", or float32.
        precision: Of the links, float64 or float32.
        start: hot (Haar distributed) or cold (unit links). HMC leaves a cold start only with steps
            far finer than it needs in equilibrium.
        n_streams: Independent Markov chains.
        n_configurations: Stored configurations of every stream after the warm-up.
        schedule: When to measure and to store.
        observe: What to measure: plaquette, spatial_plaquette, temporal_plaquette, action,
            polyakov_loop, topological_charge; with open boundaries plaquette and action.
        margin: With open boundaries, time slices at either end that means leave out: at least 1,
            and 3 where the improved charge is measured.
        flow_times: Where to measure along the gradient flow of SU(N), in units of the lattice
            spacing squared: energy, topological charges, and from them t0 and w0. At least 4, or
            none. A flow costs as much as some trajectories: see `schedule.measure_every`.
        flow_density: Whether the improved charge density at the last flow time is kept.
        formats: Files of configurations: hdf5, nersc, ildg.
        mesh: Parts into which directions x, y, z, t or "stream" are divided over devices.
        seed: Of everything random.
        checkpoint_every_s: Least time between two checkpoints, in seconds.
    """

    lattice: tuple[int, ...]
    beta: float
    group: str = "su3"
    action: str = "wilson"
    boundary: str = "periodic"
    sampler: str = "hmc"
    n_overrelaxation: int = 0
    integrator: str = "omelyan2"
    trajectory_length: float = 1.0
    n_steps: int = 10
    md_precision: str = "same"
    precision: str = "float64"
    start: str = "hot"
    n_streams: int = 1
    n_configurations: int = 10
    schedule: Schedule = field(default_factory=Schedule)
    observe: tuple[str, ...] = ("plaquette", "action")
    margin: int = 0
    flow_times: tuple[float, ...] = ()
    flow_density: bool = False
    formats: tuple[str, ...] = ("hdf5",)
    mesh: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    checkpoint_every_s: float = 60.0

    def build_action(self) -> AbstractAction:
        """The action.

        Returns:
            The module.

        Raises:
            ConfigError: A name is unknown, or `beta` is out of range.
        """
        group = choose("group", GROUPS, self.group)()
        dimensions = (2,) if self.group == "u1" else (2, 3, 4)
        rule = "have 2 to 4 directions, or 2 for u1"
        require(Lattice(self.lattice).dimension in dimensions, "lattice", rule, self.lattice)
        choose("action", dict.fromkeys(ACTIONS), self.action)
        choose("boundary", dict.fromkeys(BOUNDARIES), self.boundary)
        require(
            self.group != "u1" or self.action == "wilson", "action", "be wilson for u1", self.action
        )
        if self.action in IMPROVED:
            return IMPROVED[self.action](self.beta, group, self.boundary)
        return WilsonAction(beta=self.beta, group=group, boundary=self.boundary)

    def build_algorithm(self) -> AbstractSamplingAlgorithm:
        """The Markov transition.

        Returns:
            The module.

        Raises:
            ConfigError: A name is unknown, or a number is out of range.
        """
        action = self.build_action()
        choose("sampler", dict.fromkeys(SAMPLERS), self.sampler)
        if isinstance(action, WilsonAction) and self.sampler == "heatbath":
            return heatbath(action, n_overrelaxation=self.n_overrelaxation)
        require(self.sampler != "heatbath", "action", "be wilson for a heatbath", self.action)
        require(self.n_steps >= 1, "n_steps", "be a positive integer", self.n_steps)
        integrator = choose("integrator", INTEGRATORS, self.integrator)()
        step_size = self.trajectory_length / self.n_steps
        return hmc(
            action,
            step_size=step_size,
            n_steps=self.n_steps,
            integrator=integrator,
            md_dtype=choose("md_precision", MD_DTYPES, self.md_precision),
        )

    def build_start(self, *, key: Key) -> np.ndarray:
        """Where every stream starts; a hot start differs between streams.

        Args:
            key: Random key.

        Returns:
            Fields of shape (stream, mu, *element, *site).

        Raises:
            ConfigError: A name is unknown, or a number is out of range.
        """
        require(self.n_streams >= 1, "n_streams", "be at least 1", self.n_streams)
        choose("start", dict.fromkeys(STARTS), self.start)
        real = np.dtype(choose("precision", DTYPES, self.precision))
        lattice = Lattice(self.lattice)
        group = choose("group", GROUPS, self.group)()
        shape = (lattice.dimension, *lattice.shape)
        if self.start == "hot":
            draw = jax.jit(lambda stream: group.haar(shape, key=stream, dtype=jnp.dtype(real)))
            return np.stack(
                [draw(jax.random.fold_in(key, stream)) for stream in range(self.n_streams)]
            )
        unit = np.zeros((1, *group.element_shape, *(1,) * lattice.dimension), real)
        if group.element_shape:
            n = group.element_shape[0]
            unit = np.eye(n).reshape(unit.shape).astype(np.result_type(real, np.complex64))
        whole = (self.n_streams, shape[0], *group.element_shape, *lattice.shape)
        return np.broadcast_to(unit, whole).copy()

    def build_observables(self) -> dict[str, Callable[[Any], Any]]:
        """What is measured, by name.

        Returns:
            Functions of one configuration.

        Raises:
            ConfigError: A name is unknown.
        """
        table = {**OBSERVABLES, "action": self.build_action()}
        flow = self.build_flow()
        if self.boundary == "open":
            self._check_margin(IMPROVED_REACH if flow and len(self.lattice) == 4 else REACH)
            table = {"plaquette": BulkPlaquette(self.margin), "action": table["action"]}
        else:
            require(self.margin == 0, "margin", "be 0 for periodic boundaries", self.margin)
        found = {name: choose("observe", table, name) for name in self.observe}
        return found if flow is None else {**found, "flow": flow}

    def build_flow(self) -> FlowMeasurement | None:
        """What is measured along the gradient flow.

        Returns:
            The measurement, or None where there are no flow times.

        Raises:
            ConfigError: The flow times are not good, or there is no such flow.
        """
        if not self.flow_times:
            require(not self.flow_density, "flow_density", "come with `flow_times`", True)
            return None
        group = choose("group", GROUPS, self.group)()
        require(self.group != "u1", "flow_times", "be empty for u1", self.flow_times)
        rule = "be false unless the lattice has four directions"
        require(not self.flow_density or len(self.lattice) == 4, "flow_density", rule, True)
        action = WilsonAction(beta=2.0 * group.n_colors, group=group, boundary=self.boundary)
        return FlowMeasurement(action, self.flow_times, self.margin, self.flow_density)

    def _check_margin(self, reach: int) -> None:
        most = (self.lattice[-1] - 1) // 2
        rule = f"lie between {reach} and {most} for these open boundaries"
        require(reach <= self.margin <= most, "margin", rule, self.margin)

    def open(
        self, out: Path | str, *, resume: bool = False, reseed: int | None = None, **options: Any
    ) -> Ensemble:
        """The ensemble in a folder.

        Args:
            out: The folder.
            resume: Whether it may hold an earlier part of this run.
            reseed: As for `Ensemble`.
            **options: Passed to `Ensemble`.

        Returns:
            The ensemble; its `run(n_configurations)` starts it.

        Raises:
            ConfigError: A setting is out of range, or the folder is of another run.
            DataError: The folder cannot be written.
        """
        mesh = grid(self.mesh) if self.mesh else None
        flow = self.build_flow()
        return Ensemble(
            out,
            self.build_algorithm(),
            self.schedule,
            start=self.build_start(key=key_for(jax.random.key(self.seed), "start")),
            observe=self.build_observables(),
            derive=None if flow is None else flow.series,
            seed=self.seed,
            formats=self.formats,
            metadata={
                "group": self.group,
                "action": self.action,
                "boundary": self.boundary,
                "beta": self.beta,
                "lattice": list(self.lattice),
                "settings": config_hash(self),
            },
            mesh=mesh,
            resume=resume,
            reseed=reseed,
            checkpoint_every_s=self.checkpoint_every_s,
            **options,
        )
