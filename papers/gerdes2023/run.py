"""Continuous flows of phi^4 theory with the symmetry of the square, small lattices first."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.core.fit import FitResult
from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.sampling import sample
from diffhep.core.stats import MIN_LENGTH, gamma_method, jackknife
from diffhep.core.typing import Key
from diffhep_lattice import exact
from diffhep_lattice.actions import Phi4Action
from diffhep_lattice.flows import ScalarFlow, continuous_flow, with_steps
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.samplers import hmc
from diffhep_lattice.training import FlowReport, ReverseKL, evaluate, train
from papers.phi4_values import MASS_SQUARED, truth

__all__ = ["PRESETS", "Config", "run"]

N_BINS = 64
"""Bins of the jackknife over independent samples."""


@dataclass(frozen=True)
class Point:
    """A lattice, its coupling, and how long the flow is trained there.

    Attributes:
        length: Sites a side.
        coupling: The quartic coupling.
        n_steps: Optimiser steps, from the parameters of the point before.
        batch: Samples a step.
        learning_rate: The largest learning rate.
        n_samples: Samples for the report.
        least_acceptance: Bar for the acceptance of independence Metropolis.
        least_ess: Bar for the effective sample size.
        hmc_steps: Transitions of the chains of HMC beside; 0 for none.
    """

    length: int
    coupling: float
    n_steps: int
    batch: int
    learning_rate: float
    n_samples: int = 8192
    least_acceptance: float = 0.8
    least_ess: float = 0.9
    hmc_steps: int = 0

    def __post_init__(self) -> None:
        require_counts(self, 2, "length")
        require_counts(self, 1, "n_steps", "batch")
        require_counts(self, 256, "n_samples")
        require_positive(self, "coupling", "learning_rate")
        good = self.hmc_steps == 0 or self.hmc_steps >= 2 * MIN_LENGTH
        require(good, "hmc_steps", f"be 0 or at least {2 * MIN_LENGTH}", self.hmc_steps)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers of a run.

    Attributes:
        points: Where the flow is trained, in turn; the large preset puts a lattice in between
            that has the coupling of the largest one, where a step costs a quarter.
        n_sines: Sines of the field in the velocity.
        n_modes: Cosines in time.
        reach: The longest displacement along an axis in the kernels.
        training_steps: Steps of the integrator in training.
        training_order: Its order, 4 or 8.
        exact_steps: Steps of eighth order in everything that is reported.
        n_chains: Chains of HMC.
    """

    points: tuple[Point, ...]
    n_sines: int = 5
    n_modes: int = 4
    reach: int = 3
    training_steps: int = 6
    training_order: int = 4
    exact_steps: int = 24
    n_chains: int = 64

    def __post_init__(self) -> None:
        require(len(self.points) >= 1, "points", "hold a point", self.points)
        counts = ("n_sines", "n_modes", "training_steps", "exact_steps", "n_chains")
        require_counts(self, 1, *counts)
        require(self.reach >= 0, "reach", "not be negative", self.reach)


_SIX = Point(length=6, coupling=6.975, n_steps=400, batch=256, learning_rate=1e-2, n_samples=4096)

_TWELVE = (
    Point(6, 6.975, n_steps=300, batch=128, learning_rate=5e-3, n_samples=2048),
    Point(12, 5.276, n_steps=300, batch=64, learning_rate=5e-3, n_samples=2048),
)
_LARGER = {"n_sines": 7, "n_modes": 5, "reach": 5, "training_steps": 3, "training_order": 8}
"""More of everything near the transition, and an integrator that it does not outwit."""

PRESETS = {
    "smoke": Config(
        points=(
            Point(
                length=4,
                coupling=8.0,
                n_steps=60,
                batch=64,
                learning_rate=2e-2,
                n_samples=1024,
                least_acceptance=0.5,
                least_ess=0.5,
                hmc_steps=200,
            ),
        ),
        n_sines=2,
        n_modes=2,
        reach=2,
        training_steps=3,
        exact_steps=8,
    ),
    "demo": Config(points=(_SIX,)),
    "full": Config(points=_TWELVE, **_LARGER),
    "large": Config(
        points=(
            *_TWELVE,
            Point(16, 4.572, n_steps=300, batch=64, learning_rate=4e-3, n_samples=2048),
            Point(32, 4.572, n_steps=250, batch=64, learning_rate=2e-3, n_samples=1024),
        ),
        **_LARGER,
    ),
}


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train along the points, each from the one before, and hold all of it against exact values.

    Args:
        config: The settings.
        directory: Where the run lives; every training resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made: list[Claim] = []
    arrays: dict[str, Any] = {"length": [point.length for point in config.points]}
    flow = continuous_flow(
        _lattice(config.points[0]),
        key=key_for(key, "flow"),
        n_sines=config.n_sines,
        n_modes=config.n_modes,
        reach=config.reach,
        n_steps=config.training_steps,
        order=config.training_order,
    )
    for point in config.points:
        at = f"L={point.length}"
        point_key = key_for(key, at)
        untrained = flow.on(_lattice(point))
        fitted = _trained(untrained, point, directory, key=key_for(point_key, "training"))
        flow = fitted.model
        precise = with_steps(flow, config.exact_steps, 8)
        report = _report(precise, point, key=key_for(point_key, "report"))
        made += _quality(point, report)
        arrays[f"{at}/batch_ess"] = fitted.history["batch_ess"]
        arrays[f"{at}/log_weights"] = report.log_weights
        arrays[f"{at}/ess"] = [report.ess, report.ess_error]
        arrays[f"{at}/seconds"] = fitted.seconds + fitted.compile_seconds
        if point is config.points[0]:
            made += _map_claims(precise, point, key=key_for(point_key, "map"))
        known = truth(point.length, point.coupling)
        if known is not None:
            arrays[f"{at}/log_z"] = known.log_z
            made += _exact_claims(config, point, precise, report, known, key=point_key)
    directory.save_data(arrays, {"mass_squared": MASS_SQUARED})
    return made


def _lattice(point: Point) -> Lattice:
    return Lattice((point.length, point.length))


def _action(point: Point) -> Phi4Action:
    return Phi4Action(mass_squared=jnp.asarray(MASS_SQUARED), coupling=jnp.asarray(point.coupling))


def _trained(flow: ScalarFlow, point: Point, directory: RunDir, *, key: Key) -> FitResult:
    """The flow after its training at a point, with the path gradient."""
    name = f"L{point.length}"

    def log(step: int, metrics: dict[str, Any]) -> None:
        directory.log(name, step, batch_ess=float(np.mean(metrics["batch_ess"])))

    return train(
        flow,
        ReverseKL(_action(point), point.batch),
        point.n_steps,
        key=key,
        learning_rate=point.learning_rate,
        checkpoint=directory.checkpoint(name),
        name=name,
        chunk=20,
        on_chunk=log,
    )


def _report(flow: ScalarFlow, point: Point, *, key: Key) -> FlowReport:
    """Large lattices in small chunks, which bounds the memory."""
    chunk = max(16, min(1024, 131_072 // point.length**2))
    return evaluate(flow, _action(point), point.n_samples, key=key, chunk=chunk)


def _quality(point: Point, report: FlowReport) -> list[Claim]:
    at = f"L={point.length}"
    published = {6: "; arXiv:2207.00283 has 0.7907"}.get(point.length, "")
    published_ess = {32: "; arXiv:2207.00283 has 0.9038"}.get(point.length, "")
    return [
        Claim(
            f"{at}: acceptance",
            report.acceptance,
            report.acceptance_error,
            point.least_acceptance,
            f"target{published}",
            ">=",
        ),
        Claim(
            f"{at}: ESS",
            report.ess,
            report.ess_error,
            point.least_ess,
            f"target{published_ess}",
            ">=",
        ),
    ]


def _map_claims(flow: ScalarFlow, point: Point, *, key: Key) -> list[Claim]:
    """The integrator's own Jacobian, its way back and its symmetry, at one latent field."""
    z = flow.sample_latent(key)

    @eqx.filter_jit
    def jacobian(flow: ScalarFlow, z: jax.Array) -> jax.Array:
        def field(x: jax.Array) -> jax.Array:
            return flow.forward_and_log_det(x.reshape(z.shape))[0].ravel()

        return jnp.linalg.slogdet(jax.jacfwd(field)(z.ravel()))[1]

    forward = eqx.filter_jit(flow.forward_and_log_det)
    phi, log_det = forward(z)
    back, _ = eqx.filter_jit(flow.inverse_and_log_det)(phi)
    turned, _ = forward(-jnp.rot90(jnp.roll(z, 1, axis=1)))
    expected = -jnp.rot90(jnp.roll(phi, 1, axis=1))
    errors = {
        "log-det against its Jacobian": (abs(float(log_det - jacobian(flow, z))), 1e-8),
        "round trip": (float(jnp.max(jnp.abs(back - z))), 1e-9),
        "symmetry": (float(jnp.max(jnp.abs(turned - expected))), 1e-10),
    }
    return [
        Claim(f"L={point.length} {name}", value, None, bar, "target", "<")
        for name, (value, bar) in errors.items()
    ]


def _exact_claims(
    config: Config,
    point: Point,
    flow: ScalarFlow,
    report: FlowReport,
    known: exact.Phi4,
    *,
    key: Key,
) -> list[Claim]:
    """The partition function, reweighted moments, and those of HMC, against the transfer matrix."""
    at = f"L={point.length}"
    made = [Claim(f"{at}: log Z", report.log_z, report.log_z_error, known.log_z, "exact", "pull<3")]
    fields, log_q = eqx.filter_jit(flow.sample_and_log_prob)(
        key_for(key, "fields"), min(point.n_samples, 4096)
    )
    log_w = -jax.vmap(_action(point))(fields) - log_q
    weights = np.exp(np.asarray(log_w - jnp.max(log_w)))
    for name, observe in OBSERVABLES.items():
        values = np.asarray(jax.vmap(observe)(fields))
        pairs = np.stack([weights * values, weights], axis=1)
        found = jackknife(pairs, lambda x: x[:, 0].sum() / x[:, 1].sum(), N_BINS)
        reference = getattr(known, name)
        claim = Claim(f"{at} flow: {name}", found.value, found.error, reference, "exact", "pull<4")
        made.append(claim)
    if point.hmc_steps:
        made += _hmc_claims(config, point, known, key=key_for(key, "hmc"))
    return made


OBSERVABLES = {
    "phi2": lambda phi: jnp.mean(phi**2),
    "phi4": lambda phi: jnp.mean(phi**4),
    "chi2": lambda phi: jnp.sum(phi) ** 2 / phi.size,
}


def _hmc_claims(config: Config, point: Point, known: exact.Phi4, *, key: Key) -> list[Claim]:
    start = 0.3 * jax.random.normal(key_for(key, "start"), (config.n_chains, *(point.length,) * 2))
    result = sample(
        hmc(_action(point), step_size=0.08, n_steps=8),
        start,
        point.hmc_steps,
        observe=OBSERVABLES,
        key=key,
        chunk=point.hmc_steps,
    )
    made = []
    for name, series in result.observables.items():
        found = gamma_method(series[:, point.hmc_steps // 4 :])
        reference = getattr(known, name)
        claim = Claim(
            f"L={point.length} hmc: {name}", found.mean, found.error, reference, "exact", "pull<4"
        )
        made.append(claim)
    return made
