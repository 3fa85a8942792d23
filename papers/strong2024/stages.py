"""Boxes with a block of metal, panels around them, and how well they show the block."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from diffhep.core.typing import Key, Scalar
from diffhep.detector import Design, Parameter
from diffhep.detector.muon_tomography import (
    Muons,
    Panels,
    Voxels,
    draw_muons,
    scatter,
    tomography,
)

SHAPE, SIZE_mm = (10, 10, 6), 100.0
"""A metre by a metre by 60 cm."""

LEAD_mm, IRON_mm, AIR_mm = 5.612, 17.57, 303.9e3
"""Radiation lengths."""

SHORTEST, LONGEST = (2, 2, 1), (4, 4, 2)
"""Voxels of a block along the axes."""

MOMENTUM_GeV = 5.0
RESOLUTION_mm, EFFICIENCY = 0.5, 0.95
AREA_mm2 = 6e6
"""Of all panels together: what there is money for."""

FIRST_SOFTNESS, LAST_SOFTNESS = 0.3, 0.015
"""Of the panels' edges along the search, in half spans: what is nearly hard is found in the end."""

HIGHLAND = 4.5364e-3
"""Width for a muon of 3 GeV behind one radiation length, by hand from the published formula."""

HIGHLAND_GeV = 3.0

_START_mm = 1300.0
_FLOOR = 0.1
"""Density, in units of lead's, below which nobody asks how little it is."""


class Look(NamedTuple):
    """What panels show of several volumes.

    Attributes:
        loss: How far off the density is.
        slope: Of the loss by the free parameters of the design.
        density: Of scattering in units of lead's, as found.
        truth: As it is.
        seen: Mean number of muons that all panels saw.
    """

    loss: Float[Array, " volume"]
    slope: Float[Array, "volume param"]
    density: Float[Array, "volume x y z"]
    truth: Float[Array, "volume x y z"]
    seen: Float[Array, " volume"]


def design_of(z_above: Array, z_below: Array, x_mm: float, y_mm: float) -> Design:
    """Six panels of one size, one above the other."""
    return Design(
        z_above=Parameter(z_above, "mm", 650.0, 1250.0),
        z_below=Parameter(z_below, "mm", -650.0, -50.0),
        x=Parameter([x_mm] * 6, "mm", 0.0, 1000.0),
        y=Parameter([y_mm] * 6, "mm", 0.0, 1000.0),
        span=Parameter([900.0] * 6, "mm", 200.0, 3000.0),
    )


def first_design() -> Design:
    """Panels close together, out of place, on both sides."""
    above = jnp.array([750.0, 800.0, 850.0])
    return design_of(above, 600.0 - above, 650.0, 350.0)


def plain_design() -> Design:
    """What one would build: in the middle, at equal distances over all of the space."""
    above = jnp.array([660.0, 950.0, 1240.0])
    return design_of(above, 600.0 - above, 500.0, 500.0)


def panels_of(design: Design) -> tuple[Panels, Panels]:
    """Panels whose spans are scaled so that their areas are what there is money for."""
    z = jnp.concatenate([design["z_above"], design["z_below"]])
    centre = jnp.stack([design["x"], design["y"], z], axis=1)
    span = design["span"] * jnp.sqrt(AREA_mm2 / jnp.sum(design["span"] ** 2))
    made = Panels(
        centre,
        jnp.stack([span, span], axis=1),
        jnp.full(6, RESOLUTION_mm),
        jnp.full(6, EFFICIENCY),
    )
    return Panels(*(part[:3] for part in made)), Panels(*(part[3:] for part in made))


def draw_voxels(*, key: Key) -> Voxels:
    """Air, and a block of lead or iron anywhere."""
    size, place, kind = jax.random.split(key, 3)
    shape = jnp.array(SHAPE)
    edge = jax.random.randint(size, (3,), jnp.array(SHORTEST), jnp.array(LONGEST) + 1)
    low = jnp.floor(jax.random.uniform(place, (3,)) * (shape - edge + 1))
    inside = jnp.ones(SHAPE, bool)
    for axis, n in enumerate(SHAPE):
        here = (jnp.arange(n) >= low[axis]) & (jnp.arange(n) < low[axis] + edge[axis])
        inside &= here.reshape([-1 if other == axis else 1 for other in range(3)])
    metal = jnp.where(jax.random.bernoulli(kind), LEAD_mm, IRON_mm)
    return Voxels(jnp.where(inside, metal, AIR_mm), SIZE_mm)


def _look(
    free: Array, design: Design, softness: Scalar, n_muons: int, volume: Key, muons: Key
) -> tuple[Scalar, tuple[Array, Array, Scalar]]:
    r"""One volume: the loss, and what it is made of.

    The mean square of the logarithm of the density over the truth, a tenth of lead's added to both,
    in the block and around it in equal parts. A voxel that no muon points to has the density of
    air.
    """
    voxels = draw_voxels(key=volume)
    first, second = jax.random.split(muons)
    drawn = draw_muons(
        n_muons,
        low_mm=(-500.0, -500.0),
        high_mm=(1500.0, 1500.0),
        z_mm=_START_mm,
        momentum_GeV=MOMENTUM_GeV,
        key=first,
    )
    above, below = panels_of(design.from_free(free))
    found, scatters = tomography(above, below, voxels, drawn, softness=softness, key=second)
    density, truth = LEAD_mm / found.x0_mm, LEAD_mm / voxels.x0_mm
    away = jnp.log(density + _FLOOR) - jnp.log(truth + _FLOOR)
    inside = truth > 0.5 * LEAD_mm / IRON_mm
    loss = jnp.mean(away**2, where=inside) + jnp.mean(away**2, where=~inside)
    return 0.5 * loss, (density, truth, jnp.sum(scatters.weight))


@partial(jax.jit, static_argnames="n_muons")
def look(
    design: Design,
    free: Float[Array, " param"],
    softness: float | Scalar,
    volumes: Shaped[Array, " volume"],
    muons: Shaped[Array, " volume"],
    *,
    n_muons: int,
) -> Look:
    """Volumes of some keys, seen with muons of other keys; the one program of search and test.

    Args:
        design: Whose bounds the free parameters have.
        free: The free parameters.
        softness: Of the panels' edges; 0 for the hard twin.
        volumes: Keys of the volumes.
        muons: Keys of the muons and of all errors.
        n_muons: Through each volume.

    Returns:
        What is seen.
    """

    def one(volume: Key, muons: Key):
        value = jax.value_and_grad(_look, has_aux=True)
        return value(free, design, jnp.asarray(softness), n_muons, volume, muons)

    # One after another: the arrays of one volume stay in the cache.
    (loss, rest), slope = jax.lax.map(lambda keys: one(*keys), (volumes, muons))
    return Look(loss, slope, *rest)


class Search(NamedTuple):
    """Where a search ended and how it went.

    Attributes:
        design: The last one.
        loss: Of each step.
    """

    design: Design
    loss: Float[np.ndarray, " step"]


def search(
    design: Design, n_steps: int, n_volumes: int, n_muons: int, rate: float, *, key: Key
) -> Search:
    """Adam on the free parameters of the design, with fresh volumes and muons in each step.

    The panels' edges become harder with every step: nothing may rest on muons outside of them.

    Args:
        design: Where to start.
        n_steps: Steps.
        n_volumes: Volumes of a step.
        n_muons: Muons through each.
        rate: Largest step; it falls to a hundredth along a cosine.
        key: Random key.

    Returns:
        The design at the end, and the loss of each step.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(rate, n_steps, alpha=0.01)),
    )

    @jax.jit
    def move(free, state, slope):
        change, state = adam.update(jnp.mean(slope, axis=0), state)
        return free + change, state

    free = design.to_free()
    state, losses = adam.init(free), []
    keys = jax.random.split(key, (n_steps, 2, n_volumes))
    softness = np.geomspace(FIRST_SOFTNESS, LAST_SOFTNESS, n_steps).tolist()
    for soft, (volumes, muons) in zip(softness, keys, strict=True):
        seen = look(design, free, soft, volumes, muons, n_muons=n_muons)
        free, state = move(free, state, seen.slope)
        losses.append(jnp.mean(seen.loss))
    return Search(design.from_free(free), np.array(losses))


def scattering_width(n: int, steps: int, *, key: Key) -> float:
    """Root mean square of the angles of muons behind one radiation length."""
    plate = Voxels(jnp.full((1, 1, 1), SIZE_mm), SIZE_mm)
    middle = jnp.full((n, 2), 0.5 * SIZE_mm)
    straight = jnp.zeros((n, 2))
    muons = Muons(middle, straight, jnp.full(n, SIZE_mm), jnp.full(n, HIGHLAND_GeV))
    behind = jax.jit(partial(scatter, steps=steps))(muons, plate, key=key)
    return float(jnp.sqrt(jnp.mean(behind.slope**2)))
