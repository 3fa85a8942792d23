"""Stages of a run: train a flow, run a sampler. Each resumes from its checkpoint."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.derived import gamma_method_of
from diffhep.core.fit import FitResult
from diffhep.core.rng import key_for
from diffhep.core.run import RunDir
from diffhep.core.sampling import AbstractSamplingAlgorithm, SampleResult, sample
from diffhep.core.stats import GammaResult, gamma_method
from diffhep.core.typing import Key
from diffhep_lattice.actions import Phi4Action
from diffhep_lattice.flows import (
    Chain,
    Dilation,
    FreeField,
    LineSpline,
    ScalarFlow,
    checkerboard_flow,
)
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.observables import (
    effective_mass,
    two_point_susceptibility,
    zero_momentum_correlator,
)
from diffhep_lattice.samplers import hmc, independence_metropolis
from diffhep_lattice.training import FlowReport, ReverseKL, evaluate, train
from papers.albergo2019.config import Architecture, Chains, Point
from papers.phi4_values import MASS_SQUARED

OBSERVABLES = {
    "phi2": lambda phi: jnp.mean(phi**2),
    "abs_mean": lambda phi: jnp.abs(jnp.mean(phi)),
    "chi2": two_point_susceptibility,
}
"""<phi^2>, the modulus of the mean of the field, and the two-point susceptibility."""

_CORRELATOR = "correlator"
_START_WIDTH = 0.3
"""Of the fields that HMC starts from, about half of the width in equilibrium."""


@dataclass
class Place:
    """One theory in one run.

    Attributes:
        length: Sites a side.
        coupling: The quartic coupling.
        directory: The run.
        key: Parent of the keys of its stages.
        arrays: What goes into data.h5.
    """

    length: int
    coupling: float
    directory: RunDir
    key: Key
    arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the theory, as in claims."""
        return f"L={self.length} lambda={self.coupling:g}"

    @property
    def lattice(self) -> Lattice:
        """The square lattice."""
        return Lattice((self.length, self.length))

    @property
    def action(self) -> Phi4Action:
        """The action there."""
        return Phi4Action(
            mass_squared=jnp.asarray(MASS_SQUARED), coupling=jnp.asarray(self.coupling)
        )

    def stage(self, name: str) -> str:
        """The name of a stage's files."""
        return f"{self.name} {name}".replace(" ", "-").replace("=", "")

    def keep(self, stage: str, **values: Any) -> None:
        """Put arrays of a stage into data.h5."""
        self.arrays |= {f"{self.name}/{stage}/{name}": value for name, value in values.items()}


class Measured(NamedTuple):
    """What a sampler found.

    Attributes:
        values: Means, errors and autocorrelation times by observable; `mass` is the pole mass.
        masses: Effective masses at the distances from 1 to half of the torus.
        acceptance: Mean acceptance probability.
        seconds_per_step: Wall time of one transition of one chain, of all run side by side.
    """

    values: dict[str, GammaResult]
    masses: list[GammaResult]
    acceptance: float
    seconds_per_step: float


def untrained(architecture: Architecture, lattice: Lattice, *, key: Key) -> ScalarFlow:
    """Couplings near the identity, after the map to a free field if there is one."""
    couplings = checkerboard_flow(
        lattice,
        key=key,
        n_layers=architecture.n_layers,
        kernel=Dilation() if architecture.kernel == "affine" else LineSpline(),
        hidden=architecture.hidden,
        width=architecture.width,
        is_odd=architecture.is_odd,
    )
    if not architecture.is_free:
        return couplings
    free = FreeField(jnp.asarray(0.0))
    return ScalarFlow(lattice, Chain((free, couplings.bijection)))


def trained(place: Place, name: str, start: ScalarFlow, point: Point) -> FitResult:
    """The flow after its training at a place, with the path gradient."""
    stage = place.stage(name)

    def log(step: int, metrics: dict[str, Any]) -> None:
        place.directory.log(stage, step, batch_ess=float(np.mean(metrics["batch_ess"])))

    return train(
        start.on(place.lattice),
        ReverseKL(place.action, point.batch),
        point.n_steps,
        key=key_for(place.key, f"{name} training"),
        learning_rate=point.learning_rate,
        checkpoint=place.directory.checkpoint(stage),
        name=stage,
        chunk=50,
        on_chunk=log,
    )


def reported(place: Place, name: str, flow: ScalarFlow, n_samples: int) -> FlowReport:
    """Effective sample size, acceptance and log Z of a flow."""
    key = key_for(place.key, f"{name} report")
    return evaluate(flow, place.action, n_samples, key=key, chunk=min(n_samples, 1024))


def flow_chains(place: Place, name: str, flow: ScalarFlow, chains: Chains) -> Measured:
    """Independence Metropolis, from samples of the flow."""
    draw = eqx.filter_jit(flow.sample_and_log_prob)
    starts, _ = draw(key_for(place.key, f"{name} starts"), chains.n_chains)
    algorithm = independence_metropolis(flow, place.action)
    return _run(place, f"{name} chains", algorithm, starts, chains.flow_steps, chains.burn_in)


def hmc_chains(place: Place, chains: Chains) -> Measured:
    """HMC, from independent normal fields."""
    shape = (chains.n_chains, *place.lattice.shape)
    starts = _START_WIDTH * jax.random.normal(key_for(place.key, "hmc starts"), shape)
    n = chains.leapfrog_steps
    algorithm = hmc(place.action, step_size=1.0 / n, n_steps=n)
    return _run(place, "hmc", algorithm, starts, chains.hmc_steps, chains.burn_in)


def _run(
    place: Place,
    name: str,
    algorithm: AbstractSamplingAlgorithm,
    starts: Float[Array, "chain L T"],
    n_steps: int,
    burn_in: int,
) -> Measured:
    stage = place.stage(name)

    def log(step: int, record: Any) -> None:
        rate = np.mean(record.info["acceptance_probability"])
        place.directory.log(stage, step, acceptance=float(rate))

    result = sample(
        algorithm,
        starts,
        n_steps + burn_in,
        observe={**OBSERVABLES, _CORRELATOR: zero_momentum_correlator},
        key=key_for(place.key, name),
        chunk=50,
        name=stage,
        checkpoint=place.directory.checkpoint(stage),
        on_chunk=log,
    )
    return _measured(result, burn_in)


def _measured(result: SampleResult, burn_in: int) -> Measured:
    series = {name: values[:, burn_in:] for name, values in result.observables.items()}
    correlator = series[_CORRELATOR]
    masses = [
        gamma_method_of(lambda mean, t=t: mass_at(mean, t), correlator)
        for t in range(1, correlator.shape[-1] // 2 + 1)
    ]
    values = {name: gamma_method(series[name]) for name in OBSERVABLES}
    values["mass"] = masses[-1]
    rate = float(np.mean(result.info["acceptance_probability"][:, burn_in:]))
    n_transitions = next(iter(result.info.values())).size
    return Measured(values, masses, rate, result.seconds / n_transitions)


def mass_at(correlator: Float[np.ndarray, " time"], t: int) -> float:
    """The effective mass at a distance in time, in lattice units; 0 where noise leaves none.

    In the middle of the torus, where the lightest state is alone as far as it can be, it is the
    pole mass of the record.

    Args:
        correlator: The mean correlator at distances 0 to T - 1.
        t: The distance, from 1 to T - 2.

    Returns:
        The mass.
    """
    return float(np.nan_to_num(effective_mass(correlator)[t - 1]))
