"""An ensemble as a file of settings: what the command line builds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import require
from diffhep.core.config import config_hash
from diffhep.core.distributed import grid
from diffhep.core.rng import key_for
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key
from diffhep_lattice import observables
from diffhep_lattice.actions import AbstractAction, WilsonAction
from diffhep_lattice.ensemble.ensemble import Ensemble
from diffhep_lattice.ensemble.schedule import Schedule
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import U1, AbstractGroup
from diffhep_lattice.samplers import heatbath, hmc, leapfrog, omelyan2, omelyan4

T = TypeVar("T")

GROUPS: Mapping[str, Callable[[], AbstractGroup]] = {"u1": U1}
ACTIONS = {"wilson": WilsonAction}
INTEGRATORS = {"leapfrog": leapfrog, "omelyan2": omelyan2, "omelyan4": omelyan4}
SAMPLERS = ("hmc", "heatbath")
STARTS = ("cold", "hot")
DTYPES = {"float64": np.float64, "float32": np.float32}
OBSERVABLES = {
    "plaquette": observables.plaquette,
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


@dataclass(frozen=True)
class Settings:
    """One ensemble of a pure gauge theory.

    Args:
        lattice: Sites along each direction; the last one is time.
        beta: Inverse coupling.
        group: u1 (two dimensions), su2 or su3.
        action: wilson.
        sampler: hmc or heatbath.
        integrator: Of HMC: leapfrog, omelyan2 or omelyan4.
        trajectory_length: Of HMC, in molecular-dynamics units.
        n_steps: Integrator steps of a trajectory.
        precision: Of the links, float64 or float32.
        start: cold (unit links) or hot (Haar distributed).
        n_streams: Independent Markov chains.
        n_configurations: Stored configurations of every stream after the warm-up.
        schedule: When to measure and to store.
        observe: What to measure: plaquette, action, topological_charge.
        formats: Files of configurations: hdf5, nersc, ildg.
        mesh: Parts into which directions x, y, z, t or "stream" are divided over devices.
        seed: Of everything random.
        checkpoint_every_s: Least time between two checkpoints, in seconds.
    """

    lattice: tuple[int, ...]
    beta: float
    group: str = "su3"
    action: str = "wilson"
    sampler: str = "hmc"
    integrator: str = "omelyan2"
    trajectory_length: float = 1.0
    n_steps: int = 10
    precision: str = "float64"
    start: str = "cold"
    n_streams: int = 1
    n_configurations: int = 10
    schedule: Schedule = field(default_factory=Schedule)
    observe: tuple[str, ...] = ("plaquette", "action")
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
        return choose("action", ACTIONS, self.action)(beta=self.beta, group=group)

    def build_algorithm(self) -> AbstractSamplingAlgorithm:
        """The Markov transition.

        Returns:
            The module.

        Raises:
            ConfigError: A name is unknown, or a number is out of range.
        """
        action = self.build_action()
        choose("sampler", dict.fromkeys(SAMPLERS), self.sampler)
        if self.sampler == "heatbath":
            return heatbath(action)  # pyright: ignore[reportArgumentType]
        require(self.n_steps >= 1, "n_steps", "be a positive integer", self.n_steps)
        integrator = choose("integrator", INTEGRATORS, self.integrator)()
        step_size = self.trajectory_length / self.n_steps
        return hmc(action, step_size=step_size, n_steps=self.n_steps, integrator=integrator)

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
        return {name: choose("observe", table, name) for name in self.observe}

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
        return Ensemble(
            out,
            self.build_algorithm(),
            self.schedule,
            start=self.build_start(key=key_for(jax.random.key(self.seed), "start")),
            observe=self.build_observables(),
            seed=self.seed,
            formats=self.formats,
            metadata={
                "group": self.group,
                "action": self.action,
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
