"""Stages of a run: find the parameters of a flow, measure it. The first resumes."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import RunDir
from diffhep.core.stats import Estimate, ess_fraction_with_error, jackknife, log_mean_weight
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows import CouplingFlow, trivializing_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SUN
from diffhep_lattice.observables import plaquette, wilson_loop
from diffhep_lattice.training import ReverseKL, train
from papers.bacchio2023.config import Point, Training

OBSERVABLES = {
    "plaquette": plaquette,
    "W(2x2)": lambda U: wilson_loop(U, 2, 2),
    "W(3x3)": lambda U: wilson_loop(U, 3, 3),
}
AREAS = {"plaquette": 1, "W(2x2)": 4, "W(3x3)": 9}
"""What is measured, and the number of plaquettes in each loop."""

CHUNK = 256
"""Samples per program call on 16x16, more on smaller lattices."""

WARMUP_STEPS = 5
N_BINS = 64


@dataclass
class Place:
    """One theory in one run: where its stages are saved and what they found."""

    point: Point
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

    def log_z(self, length: int) -> float:
        """The exact log Z."""
        return exact.sun_log_partition(self.point.n_colors, self.point.beta, length**2)

    def truth(self, observable: str, length: int) -> float:
        """The exact mean of an observable."""
        n, beta = self.point.n_colors, self.point.beta
        return exact.sun_wilson_loop(n, beta, length**2, AREAS[observable])

    def keep(self, stage: str, **values: Any) -> None:
        """Put arrays of a stage into data.h5."""
        self.arrays |= {f"{self.name}/{stage}/{name}": value for name, value in values.items()}


def leading_order(place: Place, settings: Training) -> CouplingFlow:
    """The flow of a theory before it is trained, on the lattice of the training."""
    return trivializing_flow(
        Lattice((settings.length, settings.length)),
        place.point.n_colors,
        beta=place.point.beta,
        n_knots=settings.n_knots,
        n_steps=settings.n_flow_steps,
    )


def scaled(flow: CouplingFlow, factor: float) -> CouplingFlow:
    """The flow with all coefficients so many times as large: a start for another coupling."""
    return jax.tree.map(lambda x: factor * x if eqx.is_inexact_array(x) else x, flow)


def trained(place: Place, settings: Training, start: CouplingFlow) -> CouplingFlow:
    """The flow of a theory, trained by the reverse divergence with path gradients."""
    stage = f"su{place.point.n_colors}-{place.point.beta:g}-{n_parameters(start)}"

    def log(step: int, metrics: dict[str, Any]) -> None:
        losses = {name: float(np.mean(metrics[name])) for name in ("minus_log_w", "batch_ess")}
        place.directory.log(stage, step, **losses)

    result = train(
        start,
        ReverseKL(place.action, batch=settings.batch),
        place.point.steps,
        key=key_for(place.key, f"training {n_parameters(start)}"),
        learning_rate=settings.learning_rate,
        warmup_steps=WARMUP_STEPS,
        chunk=25,
        checkpoint=place.directory.checkpoint(stage),
        name=stage,
        on_chunk=log,
    )
    # Divergence up to log Z, which is known on the lattice of the training.
    divergence = result.history["minus_log_w"] + place.log_z(settings.length)
    part = f"training {n_parameters(start)}"
    place.keep(part, divergence=divergence, seconds=result.seconds + result.compile_seconds)
    return result.model


def n_parameters(flow: CouplingFlow) -> int:
    """The number of trained numbers."""
    return coefficients(flow).size


def coefficients(flow: CouplingFlow) -> Float[Array, "knot loop"]:
    """The coefficients of the loops at every knot, all that is trained."""
    (found,) = jax.tree.leaves(eqx.filter(flow, eqx.is_inexact_array))
    return found


class Measured(NamedTuple):
    """What samples of a flow say: weights, and weighted means of the loops."""

    ess: Estimate
    log_z: Estimate
    loops: dict[str, Estimate]


def measure(place: Place, flow: CouplingFlow, length: int, n_samples: int) -> Measured:
    """Weights and loops of fresh samples on a lattice of this length."""
    moved = flow.on(Lattice((length, length)))
    key = key_for(place.key, f"samples {length} {n_parameters(flow)}")
    chunk = min(CHUNK * max(1, 16 // length) ** 2, n_samples)
    draw = eqx.filter_jit(_draw)
    parts = []
    for start in range(0, n_samples, chunk):
        n = min(chunk, n_samples - start)
        parts.append(np.asarray(draw(moved, place.action, key_at(key, start), n)))
    table = np.concatenate(parts)
    loops = {
        name: jackknife(table[:, [0, column]], _weighted_mean, N_BINS)
        for column, name in enumerate(OBSERVABLES, 1)
    }
    ess = ess_fraction_with_error(table[:, 0], key=key_for(key, "bootstrap"))
    return Measured(ess, log_mean_weight(table[:, 0]), loops)


def _draw(
    flow: CouplingFlow, action: WilsonAction, key: Key, n: int
) -> Float[Array, "sample quantity"]:
    """Log-weights of samples, and their loops."""
    U, log_q = flow.push_forward(flow.sample_latents(key, n))
    rows = [-jax.vmap(action, in_axes=-1)(U) - log_q]
    rows += [jax.vmap(observe, in_axes=-1)(U) for observe in OBSERVABLES.values()]
    return jnp.stack(rows, axis=1)


def _weighted_mean(table: np.ndarray) -> float:
    """The mean of the second column, the logarithms of weights in the first."""
    weights = np.exp(table[:, 0] - table[:, 0].max())
    return float(np.sum(weights * table[:, 1]) / np.sum(weights))
