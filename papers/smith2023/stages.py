"""Jets with a displaced vertex, and a network that prepares their tracks for the vertex fit."""

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector.reconstruction import BeamSpot, perigee, vertex_fit

FIELD_T = 2.0
N_DISPLACED, N_PROMPT = 5, 3
SPREAD = jnp.array([0.02, 0.05, 1e-3, 1e-3, 1e-2])
"""Errors that a track claims, in mm, rad and 1/GeV."""

POOR_SHARE, POOR_FACTOR, FLAG_ERROR = 0.3, 4.0, 0.1
"""Tracks with larger errors than they claim, how much larger, and how often their flag is wrong."""

SHIFT_mm = 0.05
"""Of the impact parameter by a detector out of place."""

SCALE_mm = 0.2
"""Beyond this distance from the truth the loss grows in proportion to it."""


class Jets(NamedTuple):
    """Tracks and what is true of them.

    Attributes:
        track: Measured perigee parameters.
        flag: Whether a track looks poor.
        vertex_mm: The displaced vertex.
        displaced: Which tracks come from it.
        poor: Which tracks are poor.
    """

    track: Float[Array, "jet track 5"]
    flag: Float[Array, "jet track"]
    vertex_mm: Float[Array, "jet 3"]
    displaced: Float[Array, "jet track"]
    poor: Float[Array, "jet track"]


class Modes(NamedTuple):
    """Which outputs of the network are used, each 0 or 1."""

    weight: float | Scalar
    covariance: float | Scalar
    shift: float | Scalar


MODES = {
    "nothing": Modes(0.0, 0.0, 0.0),
    "weights": Modes(1.0, 0.0, 0.0),
    "weights and covariances": Modes(1.0, 1.0, 0.0),
    "everything": Modes(1.0, 1.0, 1.0),
}


def shift(phi: Float[Array, "*track"]) -> Float[Array, "*track"]:
    """What the detector adds to the impact parameter of a track, in mm."""
    return SHIFT_mm * (jnp.cos(2.0 * phi) + 0.6 * jnp.sin(phi))


@partial(jax.jit, static_argnums=0)
def draw(n: int, *, key: Key) -> Jets:
    """Jets whose displaced vertex is a few millimetres off the beam.

    Args:
        n: Jets.
        key: Random key.

    Returns:
        The jets.
    """
    keys = jax.random.split(key, 8)
    n_tracks = N_DISPLACED + N_PROMPT
    jet_phi = jax.random.uniform(keys[0], (n, 1), minval=-jnp.pi, maxval=jnp.pi)
    jet_theta = jax.random.uniform(keys[1], (n, 1), minval=0.8, maxval=2.3)
    flight = 1.0 + jnp.clip(3.0 * jax.random.exponential(keys[2], (n, 1)), None, 10.0)
    axis = [jnp.cos(jet_phi), jnp.sin(jet_phi), 1.0 / jnp.tan(jet_theta)]
    vertex = flight * jnp.concatenate(axis, axis=1)
    angles = 0.3 * jax.random.normal(keys[3], (2, n, n_tracks))
    pt = 0.7 + 3.0 * jax.random.exponential(keys[4], (n, n_tracks))
    theta = jnp.clip(jet_theta + angles[1], 0.3, 2.8)
    sign = jax.random.rademacher(keys[5], (n, n_tracks), dtype=float)
    momentum = jnp.stack([jet_phi + angles[0], theta, sign * jnp.sin(theta) / pt], axis=-1)
    displaced = jnp.arange(n_tracks) < N_DISPLACED
    point = jnp.where(displaced[:, None], vertex[:, None, :], 0.0)
    of = jax.vmap(jax.vmap(perigee, (0, 0, None)), (0, 0, None))
    truth = of(point, momentum, jnp.asarray(FIELD_T))
    poor, wrong = jax.random.uniform(keys[6], (2, n, n_tracks)) < jnp.array(
        [POOR_SHARE, FLAG_ERROR]
    ).reshape(2, 1, 1)
    size = jnp.where(poor, POOR_FACTOR, 1.0)[..., None] * SPREAD
    track = truth + size * jax.random.normal(keys[7], truth.shape)
    track = track.at[..., 0].add(shift(truth[..., 2]))
    shape = (n, n_tracks)
    return Jets(
        track,
        (poor ^ wrong).astype(float),
        vertex,
        jnp.broadcast_to(displaced, shape).astype(float),
        poor.astype(float),
    )


class Preparation(eqx.Module):
    """A network of one track beside the mean of its jet: weight, covariance and shift."""

    embed: eqx.nn.MLP
    decide: eqx.nn.MLP

    def __init__(self, *, key: Key) -> None:
        first, second = jax.random.split(key)
        self.embed = eqx.nn.MLP(8, 32, 32, 1, jax.nn.silu, jax.nn.silu, key=first)
        self.decide = eqx.nn.MLP(40, 3, 32, 1, jax.nn.silu, key=second)

    def __call__(
        self, track: Float[Array, "track 5"], flag: Float[Array, " track"]
    ) -> tuple[Float[Array, " track"], Float[Array, " track"], Float[Array, " track"]]:
        """Logarithm of the odds of the weight, logarithm of the errors' factor, shift in mm."""
        d0, z0, phi, theta, charge_over_p = track.T
        features = jnp.stack(
            [
                jnp.arcsinh(d0 / 0.1),
                jnp.arcsinh(z0 / 0.3),
                jnp.cos(phi),
                jnp.sin(phi),
                jnp.cos(2.0 * phi),
                theta - 1.5,
                charge_over_p,
                flag,
            ],
            axis=1,
        )
        jet = jnp.mean(jax.vmap(self.embed)(features), axis=0)
        together = jnp.concatenate([features, jnp.broadcast_to(jet, (len(features), 32))], axis=1)
        odds, factor, shifted = jax.vmap(self.decide)(together).T
        return odds, factor, 0.1 * shifted


BEAM = BeamSpot(jnp.zeros(3), jnp.diag(jnp.array([400.0, 400.0, 2500.0])))
"""So wide that it decides nothing, yet every fit has a minimum."""


def fit(
    track: Array, weight: Array, factor: Array, field_T: Scalar | float = FIELD_T
) -> Float[Array, "3"]:
    """The vertex of one jet's tracks with errors times a factor."""
    covariance = jnp.exp(2.0 * factor)[:, None, None] * jnp.diag(SPREAD**2)
    return vertex_fit(
        track, covariance, weight=weight, field_T=field_T, beam_spot=BEAM, max_steps=8
    ).position_mm


def vertex_of(network: Preparation, mode: Modes, jet: Jets) -> Float[Array, "3"]:
    """The vertex of one jet as the network prepares it."""
    odds, factor, shifted = network(jet.track, jet.flag)
    used = [switch * out for switch, out in zip(mode, (odds, factor, shifted), strict=True)]
    weight = jnp.clip(jax.nn.sigmoid(used[0]), 1e-4)
    return fit(jet.track.at[:, 0].add(-used[2]), weight, jnp.clip(used[1], -3.0, 3.0))


def loss(network: Preparation, mode: Modes, jets: Jets) -> Scalar:
    """Distance from the truth, squared where it is small."""
    found = jax.vmap(vertex_of, in_axes=(None, None, 0))(network, mode, jets)
    away = jnp.sum((found - jets.vertex_mm) ** 2, axis=1) / SCALE_mm**2
    return jnp.mean(jnp.sqrt(1.0 + away) - 1.0)


@eqx.filter_jit
def train(
    network: Preparation, mode: Modes, n_steps: int, batch: int, rate: float, *, key: Key
) -> tuple[Preparation, Float[Array, " step"]]:
    """Adam on fresh jets.

    Args:
        network: Where to start.
        mode: Which outputs are used.
        n_steps: Steps.
        batch: Jets of a step.
        rate: Largest step; it falls to a hundredth along a cosine.
        key: Random key.

    Returns:
        The network, and the loss of each step.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(rate, n_steps, alpha=0.01)),
    )
    params, static = eqx.partition(network, eqx.is_inexact_array)

    def step(carry, index):
        params, state = carry
        jets = draw(batch, key=jax.random.fold_in(key, index))

        def of(params):
            return loss(eqx.combine(params, static), mode, jets)

        value, slope = jax.value_and_grad(of)(params)
        change, state = adam.update(slope, state)
        return (optax.apply_updates(params, change), state), value

    (params, _), losses = jax.lax.scan(step, (params, adam.init(params)), jnp.arange(n_steps))
    return eqx.combine(params, static), losses


@eqx.filter_jit
def errors(network: Preparation, mode: Modes, jets: Jets) -> Float[Array, " jet"]:
    """Distances of the vertices from the truth across the beam, in mm."""
    found = jax.vmap(vertex_of, in_axes=(None, None, 0))(network, mode, jets)
    return jnp.linalg.norm((found - jets.vertex_mm)[:, :2], axis=1)


@jax.jit
def oracle_errors(jets: Jets) -> Float[Array, " jet"]:
    """With what nobody knows: which tracks belong, which are poor, and the shift."""
    track = jets.track.at[..., 0].add(-shift(jets.track[..., 2]))
    factor = jnp.log(POOR_FACTOR) * jets.poor
    weight = jnp.clip(jets.displaced, 1e-4)
    found = jax.vmap(fit)(track, weight, factor)
    return jnp.linalg.norm((found - jets.vertex_mm)[:, :2], axis=1)


def slope_errors(*, key: Key) -> dict[str, float]:
    """Relative errors of the slopes by tracks, covariances, weights and field, one jet."""
    jet = jax.tree.map(lambda x: x[0], draw(1, key=key))
    n_tracks = jet.flag.shape[0]
    given = (jet.track, 0.5 + 0.5 * jet.displaced, 0.1 * jet.flag, jnp.asarray(FIELD_T))

    @jax.jit
    @jax.value_and_grad
    def figure(given):
        track, weight, factor, field_T = given
        return fit(track, weight, factor, field_T) @ jnp.array([0.3, -0.7, 0.2])

    normal = jax.random.normal(key_for(key, "direction"), (3, n_tracks, 5))
    directions = {
        "tracks": (normal[0] * SPREAD, 0.0, 0.0, 0.0),
        "weights": (0.0, 0.3 * normal[1, :, 0], 0.0, 0.0),
        "covariances": (0.0, 0.0, 0.3 * normal[2, :, 0], 0.0),
        "field": (0.0, 0.0, 0.0, 1.0),
    }
    _, gradient = figure(given)
    found = {}
    for name, direction in directions.items():

        def at(step: float, direction: tuple = direction) -> float:
            moved = tuple(x + step * dx for x, dx in zip(given, direction, strict=True))
            return float(figure(moved)[0])

        slopes = [(at(s) - at(-s)) / (2.0 * s) for s in (4e-3, 8e-3, 12e-3)]
        # The error is of sixth order in the step.
        numeric = 1.5 * slopes[0] - 0.6 * slopes[1] + 0.1 * slopes[2]
        parts = zip(gradient, direction, strict=True)
        exact = sum(float(jnp.sum(slope * dx)) for slope, dx in parts)
        found[name] = abs(numeric / exact - 1.0)
    return found
