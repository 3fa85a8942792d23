"""Layouts of hits and of layers, found by the gradient of what their fit's covariance says."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from diffhep.core.typing import Key, Scalar
from diffhep.detector.reconstruction import (
    Layers,
    States,
    helix_covariance,
    helix_fit,
    kalman_filter,
    kalman_smoother,
    plane_model,
    through_layers,
)
from diffhep.detector.reconstruction.helix import scattering_angles
from diffhep.detector.reconstruction.small_matrices import inverse

FIELD_T = 2.0
INNER_mm, OUTER_mm = 30.0, 1030.0
RESOLUTION_mm = (0.02, 0.1)
"""Along the azimuth and along z."""

THICKNESS_X0 = 0.01
"""Of a layer of the tracker."""

MUON_GeV = 0.1056583755


def spread(degree: int, x: Float[Array, " hit"]) -> Scalar:
    r"""Error of the highest coefficient of $a + bx$ or of $a + bx + cx^2/2$, for errors of 1."""
    columns = jnp.stack([jnp.ones_like(x), x, 0.5 * x**2][: degree + 1])
    return jnp.sqrt(inverse(columns @ columns.T)[-1, -1])


def equidistant(degree: int, n: int) -> float:
    """Gluckstern's closed forms."""
    m = n - 1
    if degree == 1:
        return float(np.sqrt(12.0 * m / (n * (n + 1))))
    return float(np.sqrt(720.0 * m**3 / ((m - 1) * (m + 1) * (m + 2) * (m + 3))))


def optimum(degree: int, n: int) -> float:
    """Half the hits at each end; or a quarter at each end and half in the middle."""
    return float(np.sqrt(4.0 / n if degree == 1 else 256.0 / n))


class Search(NamedTuple):
    """Ends of several searches.

    Attributes:
        position: Where each ended, sorted.
        value: What it found there.
    """

    position: Float[np.ndarray, "start hit"]
    value: Float[np.ndarray, " start"]


def minimise(
    figure: Callable[..., Scalar],
    starts: Float[Array, "start hit"],
    n_steps: int,
    *given: float,
) -> Search:
    """Adam's steps, projected on [0, 1], their size falling to a hundred-thousandth.

    Args:
        figure: Of positions, and of what is given.
        starts: Positions to start from.
        n_steps: Of each search.
        given: Passed on; other values do not compile anew.

    Returns:
        Where the searches ended.
    """
    found = _searches(figure, n_steps, starts, tuple(jnp.asarray(value) for value in given))
    return Search(*map(np.asarray, found))


@partial(jax.jit, static_argnums=(0, 1))
def _searches(figure: Callable[..., Scalar], n_steps: int, starts: Array, given: tuple):
    size = optax.cosine_decay_schedule(0.03, n_steps, alpha=1e-5)
    adam = optax.adam(size, b2=0.99)

    def search(x):
        def step(carry, _):
            x, state = carry
            change, state = adam.update(jax.grad(figure)(x, *given), state)
            return (optax.projections.projection_box(x + change, 0.0, 1.0), state), None

        (x, _), _ = jax.lax.scan(step, (x, adam.init(x)), None, length=n_steps)
        return jnp.sort(x), figure(x, *given)

    return jax.vmap(search)(starts)


def layers_of(x: Float[Array, " layer"], thickness_x0: float | Scalar) -> Layers:
    """Layers at shares of the space between the innermost and the outermost radius."""
    n = x.shape[0]
    radius = INNER_mm + (OUTER_mm - INNER_mm) * jnp.sort(x)
    return Layers(radius, jnp.tile(jnp.array(RESOLUTION_mm), (n, 1)), jnp.full(n, thickness_x0))


def muon(momentum_GeV: float | Scalar) -> Float[Array, "5"]:
    """From the centre across the field."""
    return jnp.array([0.0, 0.0, 0.1, 0.5 * jnp.pi, 0.0]).at[4].set(1.0 / momentum_GeV)


def momentum_error(
    x: Float[Array, " layer"], momentum_GeV: float | Scalar, thickness_x0: float | Scalar
) -> Scalar:
    r"""$\sigma(1/p)$ that the helix fit says, in 1/TeV."""
    layers = layers_of(x, thickness_x0)
    covariance = helix_covariance(muon(momentum_GeV), layers, field_T=FIELD_T)
    return 1e3 * jnp.sqrt(covariance[4, 4])


def simulated_helices(
    x: Float[Array, " layer"], momentum_GeV: float, n: int, *, key: Key
) -> tuple[Float[Array, "track 5"], Float[Array, "track 5"], Float[Array, " track"]]:
    """Fitted less true parameters of tracks that scatter, their errors, and chi-squared."""
    layers = layers_of(x, THICKNESS_X0)
    truth, field = muon(momentum_GeV), jnp.asarray(FIELD_T)

    @jax.jit
    @jax.vmap
    def one(kink, smear):
        # Scattering by the momentum and the angles of the track as it goes.
        none = jnp.zeros_like(kink)
        point, momentum = through_layers(truth, layers.radius_mm, field, none)
        azimuth = jnp.arctan2(point[:, 1], point[:, 0])
        angle = scattering_angles(azimuth, momentum, layers.thickness_x0, MUON_GeV)
        point, _ = through_layers(truth, layers.radius_mm, field, kink * angle[:, None])
        azimuth = jnp.arctan2(point[:, 1], point[:, 0])
        error = smear * layers.resolution_mm
        azimuth = azimuth + error[:, 0] / layers.radius_mm
        seen = [jnp.cos(azimuth), jnp.sin(azimuth), (point[:, 2] + error[:, 1]) / layers.radius_mm]
        fit = helix_fit(
            layers.radius_mm[:, None] * jnp.stack(seen, axis=1), layers, field_T=FIELD_T
        )
        return fit.param - truth, jnp.sqrt(jnp.diagonal(fit.covariance)), fit.chi2

    noise = jax.random.normal(key, (2, n, x.shape[0], 2))
    return one(*noise)


def simulated_planes(
    n: int, *, key: Key
) -> tuple[Float[Array, "track 5"], Float[Array, "track 5"]]:
    """Pulls of smoothed states at the first of eight planes, and of filtered ones at the last."""
    planes, dz = 8, 150.0
    wide = jnp.array([5.0, 5.0, 0.1, 0.1, 0.3])
    prior = States(jnp.array([0.0, 0.0, 0.02, -0.03, 0.5]), jnp.diag(wide**2))
    one = jnp.ones(planes)
    model = plane_model(
        dz * jnp.arange(planes),
        resolution_mm=0.05 * one,
        scattering=2e-3 * one,
        field_T=FIELD_T,
        loss=0.02 * one,
        straggling=1e-2 * one,
    )
    root = jnp.array([0.0, 0.0, 2e-3, 2e-3, 1e-2])

    @jax.jit
    @jax.vmap
    def track(first, kick, smear):
        def step(state, noise):
            kick, smear = noise
            seen = state[:2] + 0.05 * smear
            after = (state + root * kick).at[4].add(0.02 * state[4])
            bend = -2.99792458e-4 * FIELD_T * dz * after[4]
            x = after[0] + dz * (after[2] + 0.5 * bend)
            moved = jnp.stack([x, after[1] + dz * after[3], after[2] + bend, *after[3:]])
            return moved, (state, seen)

        start = prior.mean + wide * first
        _, (truth, seen) = jax.lax.scan(step, start, (kick, smear))
        fit = kalman_filter(model, seen, prior)
        smooth = kalman_smoother(model, fit)

        def pull(states, plane):
            width = jnp.sqrt(jnp.diagonal(states.covariance[plane]))
            return (states.mean[plane] - truth[plane]) / width

        return pull(smooth, 0), pull(fit.filtered, -1)

    keys = jax.random.split(key, 3)
    shapes = (n, 5), (n, planes, 5), (n, planes, 2)
    return track(*(jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True)))


def furthest(pull: Float[Array, "track param"]) -> float:
    """Largest distance of a mean from 0 or a width from 1 in its own errors."""
    values = np.asarray(pull)
    n = values.shape[0]
    mean = np.abs(values.mean(axis=0)) * np.sqrt(n)
    width = np.abs(values.std(axis=0) - 1.0) * np.sqrt(2.0 * n)
    return float(max(mean.max(), width.max()))
