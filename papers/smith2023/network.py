"""A network that prepares the tracks of a jet for the vertex fit, trained through it."""

from typing import NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from diffhep.core.typing import Key, Scalar
from diffhep.detector.reconstruction import BeamSpot, VertexFit, vertex_fit
from papers.smith2023.jets import FIELD_T, SPREAD, Jets

SCALE_mm = 0.2
"""Beyond this distance from the truth the loss grows in proportion to it."""

LEAST_WEIGHT = 1e-4
"""Of a track that is there: a fit of nothing has no derivative."""

BEAM = BeamSpot(jnp.zeros(3), jnp.diag(jnp.array([400.0, 400.0, 2500.0])))
"""So wide that it decides nothing, yet every fit has a minimum."""


LAST_STEP = 1e-3
"""Of a fit, in standard deviations."""


class Prepared(NamedTuple):
    """What a fit is given beside the measured tracks.

    Attributes:
        weight: Of the tracks.
        factor: Logarithm of the factor of their errors.
        shift: What is taken off their impact parameters, in mm.
    """

    weight: Float[Array, "*jet track"]
    factor: Float[Array, "*jet track"]
    shift: Float[Array, "*jet track"]


class Modes(NamedTuple):
    """Which outputs of the network are used, each 0 or 1."""

    weight: float | Scalar
    factor: float | Scalar
    shift: float | Scalar


MODES = {
    "weights": Modes(1.0, 0.0, 0.0),
    "whole gradient": Modes(1.0, 1.0, 1.0),
}


class Preparation(eqx.Module):
    """A network of one track beside the mean of its jet."""

    embed: eqx.nn.MLP
    decide: eqx.nn.MLP

    def __init__(self, *, key: Key) -> None:
        first, second = jax.random.split(key)
        self.embed = eqx.nn.MLP(10, 32, 32, 1, jax.nn.silu, jax.nn.silu, key=first)
        self.decide = eqx.nn.MLP(42, 3, 32, 1, jax.nn.silu, key=second)

    def __call__(self, mode: Modes, jet: Jets) -> Prepared:
        """What one jet's fit is given."""
        seen = features(jet)
        mean = jet.there @ jax.vmap(self.embed)(seen) / jnp.sum(jet.there)
        together = jnp.concatenate([seen, jnp.tile(mean, (len(seen), 1))], axis=1)
        odds, factor, shifted = jax.vmap(self.decide)(together).T
        weight = jnp.clip(jax.nn.sigmoid(mode.weight * odds), LEAST_WEIGHT)
        factor = jnp.clip(mode.factor * factor, -3.0, 3.0)
        return Prepared(jet.there * weight, factor, 0.1 * mode.shift * shifted)


def features(jet: Jets) -> Float[Array, "track feature"]:
    """Of the tracks of one jet, about one; azimuths also against that of the jet."""
    d0, z0, phi, theta, charge_over_p = jet.track.T
    axis = jnp.arctan2(jet.there @ jnp.sin(phi), jet.there @ jnp.cos(phi))
    # Of a displaced track it is the flight times the square of this sine.
    turned = d0 * jnp.sin(axis - phi)
    return jnp.stack(
        [
            jnp.arcsinh(d0 / 0.1),
            jnp.log1p(jnp.abs(d0) / 0.1),
            jnp.arcsinh(turned / 0.03),
            jnp.arcsinh(z0 / 0.3),
            jnp.cos(phi),
            jnp.sin(phi),
            jnp.cos(2.0 * phi),
            theta - 1.5,
            charge_over_p,
            jet.flag,
        ],
        axis=1,
    )


def fit(jet: Jets, given: Prepared) -> VertexFit:
    """The vertex of one jet's tracks as they are prepared."""
    covariance = jnp.exp(2.0 * given.factor)[:, None, None] * jnp.diag(jnp.asarray(SPREAD**2))
    track = jet.track.at[:, 0].add(-given.shift)
    return vertex_fit(
        track,
        covariance,
        weight=given.weight,
        field_T=FIELD_T,
        beam_spot=BEAM,
        max_steps=8,
        tolerance=LAST_STEP,
    )


fit_jets = jax.jit(jax.vmap(fit))


@eqx.filter_jit
def prepare(network: Preparation, mode: Modes, jets: Jets) -> Prepared:
    """What the fits of many jets are given."""
    return jax.vmap(network, in_axes=(None, 0))(mode, jets)


def loss(network: Preparation, mode: Modes, jets: Jets) -> Scalar:
    """Distance from the truth, squared where it is small."""

    def one(jet: Jets) -> Scalar:
        away = fit(jet, network(mode, jet)).position_mm - jet.vertex_mm
        return jnp.sqrt(1.0 + away @ away / SCALE_mm**2) - 1.0

    return jnp.mean(jax.vmap(one)(jets))


@eqx.filter_jit
def train(
    network: Preparation, mode: Modes, jets: Jets, index: Int[Array, "step batch"], rate: float
) -> tuple[Preparation, Float[Array, " step"]]:
    """Adam on batches of jets.

    Args:
        network: Where to start.
        mode: Which outputs are used.
        jets: To learn from.
        index: Of the jets of each step.
        rate: Largest step; it falls to a hundredth along a cosine.

    Returns:
        The network, and the loss of each step.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(rate, index.shape[0], alpha=0.01)),
    )
    params, static = eqx.partition(network, eqx.is_inexact_array)

    def step(carry, chosen):
        params, state = carry
        batch = jax.tree.map(lambda x: x[chosen], jets)

        def of(params):
            return loss(eqx.combine(params, static), mode, batch)

        value, slope = jax.value_and_grad(of)(params)
        change, state = adam.update(slope, state)
        return (optax.apply_updates(params, change), state), value

    (params, _), losses = jax.lax.scan(step, (params, adam.init(params)), index)
    return cast(Preparation, eqx.combine(params, static)), losses
