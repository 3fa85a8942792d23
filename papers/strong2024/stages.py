"""A box with a plate of lead, panels around it, and how well they show the plate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffhep.core.typing import Key, Scalar
from diffhep.detector import Design, Parameter
from diffhep.detector.muon_tomography import Panels, Voxels, draw_muons, tomography

SIZE_mm = 100.0
LEAD_mm, AIR_mm = 5.612, 303.9e3
"""Radiation lengths."""

VOXELS = Voxels(jnp.full((10, 10, 6), AIR_mm).at[2:5, 4:8, 2].set(LEAD_mm), SIZE_mm)
"""A metre by a metre by 60 cm, the plate away from the middle."""

RESOLUTION_mm, EFFICIENCY = 0.5, 0.95
AREA_mm2 = 6e6
"""Of all panels together: what there is money for."""

SOFTNESS = 0.15


class Scan(NamedTuple):
    """Density of scattering of every voxel, in units of lead's.

    Attributes:
        density: Found.
        seen: Mean number of muons that all panels saw.
    """

    density: Float[Array, "x y z"]
    seen: Scalar


def first_design() -> Design:
    """Panels close together, out of place, on both sides."""
    return Design(
        z_above=Parameter([750.0, 800.0, 850.0], "mm", 650.0, 1250.0),
        z_below=Parameter([-150.0, -200.0, -250.0], "mm", -650.0, -50.0),
        x=Parameter([650.0] * 6, "mm", 0.0, 1000.0),
        y=Parameter([350.0] * 6, "mm", 0.0, 1000.0),
        span=Parameter([900.0] * 6, "mm", 200.0, 3000.0),
    )


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


def scan(design: Design, n_muons: int, softness: float | Scalar, *, key: Key) -> Scan:
    """Muons of 5 GeV over twice the box's width, through everything."""
    first, second = jax.random.split(key)
    muons = draw_muons(
        n_muons, low_mm=(-500.0, -500.0), high_mm=(1500.0, 1500.0), z_mm=1300.0, key=first
    )
    above, below = panels_of(design)
    found, scatters = tomography(above, below, VOXELS, muons, softness=softness, key=second)
    return Scan(LEAD_mm / found.x0_mm, jnp.sum(scatters.weight))


TRUTH = LEAD_mm / VOXELS.x0_mm


def loss(design: Design, n_muons: int, softness: float | Scalar, *, key: Key) -> Scalar:
    """Mean square of the logarithm of the density over the truth, a tenth of lead's added to both.

    A voxel that nothing is known of has the density of air.
    """
    density = scan(design, n_muons, softness, key=key).density
    away = jnp.log(density + 0.1) - jnp.log(TRUTH + 0.1)
    # The plate is a fiftieth of the box: it counts as much as the rest.
    inside = TRUTH > 0.5
    return 0.5 * (jnp.mean(away**2, where=inside) + jnp.mean(away**2, where=~inside))


def search(
    design: Design, n_steps: int, n_muons: int, rate: float, *, key: Key
) -> tuple[Design, Float[Array, " step"]]:
    """Adam on the free parameters of the design, with fresh muons in each step.

    Args:
        design: Where to start.
        n_steps: Steps.
        n_muons: Muons of a step.
        rate: Largest step; it falls to a tenth along a cosine.
        key: Random key.

    Returns:
        The design at the end, and the loss of each step.
    """
    adam = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(rate, n_steps, alpha=0.1)),
    )

    def step(carry, index):
        free, state = carry

        def of(free):
            here = jax.random.fold_in(key, index)
            return loss(design.from_free(free), n_muons, SOFTNESS, key=here)

        value, slope = jax.value_and_grad(of)(free)
        change, state = adam.update(slope, state)
        return (free + change, state), value

    @jax.jit
    def run(free):
        start = free, adam.init(free)
        (free, _), losses = jax.lax.scan(step, start, jnp.arange(n_steps))
        return free, losses

    free, losses = run(design.to_free())
    return design.from_free(free), losses
