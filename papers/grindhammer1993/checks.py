"""What holds in closed form, without Geant4: sampled showers against the laws they come from."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad
from scipy.stats import kstwobign

from diffhep.core.rng import key_for
from diffhep.core.run import Claim
from diffhep.core.typing import Key
from diffhep.detector import Beam, particles
from diffhep.detector.calorimeter import energy_in_layers
from diffhep.detector.showers import (
    RadialLaw,
    profiles,
    radial_cdf,
    sample_radius,
)
from papers.grindhammer1993.config import Config
from papers.grindhammer1993.showers import SETUPS, Setup

BEAM_MEV = 2000.0
FALSE_ALARM = 1e-5
"""Of a check that is random, were the seed not fixed."""

N_SPOT_EVENTS = 20


def closed_form(config: Config, *, key: Key) -> list[Claim]:
    """Checks of both calorimeters.

    Args:
        config: The settings.
        key: Random key.

    Returns:
        The claims.
    """
    made = [_radial(config, key=key_for(key, "radius"))]
    for setup in SETUPS:
        made += _longitudinal(setup, config, key=key_for(key, setup.name))
        made.append(_gradient(setup))
        made.append(_spots(setup, key=key_for(key, f"{setup.name} spots")))
    return made


def _radial(config: Config, *, key: Key) -> Claim:
    """Kolmogorov-Smirnov distance of sampled radii from the integral of the density."""
    core, tail, weight = 0.2, 0.9, 0.6
    law = RadialLaw(*(jnp.full(config.n_showers, one) for one in (core, tail, weight)))
    drawn = np.sort(np.asarray(sample_radius(law, key=key)))

    def density(r: float) -> float:
        parts = [2 * r * width**2 / (r * r + width**2) ** 2 for width in (core, tail)]
        return weight * parts[0] + (1 - weight) * parts[1]

    grid = np.geomspace(1e-2, 20.0, 30)
    integral = np.array([quad(density, 0.0, r)[0] for r in grid])
    one = RadialLaw(*(jnp.asarray(value) for value in (core, tail, weight)))
    if np.abs(radial_cdf(one, jnp.asarray(grid)) - integral).max() > 1e-8:
        return Claim("radii: distance from their law", np.nan, None, 1.0, "exact", "<=")
    exact = np.asarray(radial_cdf(one, jnp.asarray(drawn)))
    rank = np.arange(drawn.size + 1) / drawn.size
    distance = max(np.abs(rank[1:] - exact).max(), np.abs(rank[:-1] - exact).max())
    limit = float(kstwobign.isf(FALSE_ALARM))
    value = float(distance * np.sqrt(drawn.size))
    return Claim("radii: distance from their law", value, None, limit, "exact", "<=")


def _longitudinal(setup: Setup, config: Config, *, key: Key) -> list[Claim]:
    """Sampled energies against quadrature: the mean of each layer, and the spread of the sum."""
    calorimeter, design = setup.calorimeter, setup.design
    beam = Beam(particles.get("e-"), BEAM_MEV, config.n_showers)
    energy = np.asarray(calorimeter.sample_energy(design, beam, key=key).visible_MeV)
    mean = np.asarray(calorimeter.mean_energy(design, BEAM_MEV).visible_MeV)
    pull = (energy.mean(axis=0) - mean) / (energy.std(axis=0) / np.sqrt(len(energy)))
    made = [
        # Quadrature over two normal numbers cuts the law of alpha less sharply than drawing does.
        Claim(f"{setup.name}: mean layers, largest pull", float(np.abs(pull).max()), None, 5.0,
              "exact", "<="),
    ]  # fmt: skip
    if setup.is_sampling:
        total = energy.sum(axis=1)
        width = total.std(ddof=1) / total.mean()
        made.append(
            Claim(
                f"{setup.name}: sigma/E",
                float(width),
                float(width / np.sqrt(2 * total.size)),
                _resolution(setup),
                "exact",
                "pull<5",
            )
        )
    else:
        deep = jnp.linspace(0.0, 400.0, 2)
        law = profiles.shower_law(
            calorimeter.parameters, calorimeter.medium(design), jnp.asarray(BEAM_MEV)
        )
        whole = float(profiles.mean_longitudinal_cdf(law, deep)[-1])
        made.append(Claim(f"{setup.name}: 1 - norm", abs(1.0 - whole), None, 1e-9, "exact", "<="))
    return made


def _resolution(setup: Setup) -> float:
    """sigma/E of a stack by quadrature: sampling and leakage."""
    calorimeter, design = setup.calorimeter, setup.design
    medium = calorimeter.medium(design)
    law = profiles.shower_law(calorimeter.parameters, medium, jnp.asarray(BEAM_MEV))
    depth = calorimeter.edges_mm(design)[-1:] / medium.x0_mm
    shape, weight = profiles.quadrature_shapes(law)
    inside = profiles.longitudinal_cdf(shape, depth[0])
    mean = weight @ inside
    c = profiles.sampling_term(
        calorimeter.parameters, medium, calorimeter.absorber.critical_energy_MeV
    )
    variance = weight @ inside**2 - mean**2 + c**2 / (BEAM_MEV / 1e3) * mean
    return float(jnp.sqrt(variance) / mean)


def _gradient(setup: Setup) -> Claim:
    """Derivative of the energy in the first third of the layers against central differences."""
    calorimeter, design = setup.calorimeter, setup.design
    n = setup.target.n_layers // 3

    @jax.jit
    def front(thickness_mm: jax.Array) -> jax.Array:
        moved = design._with({**design.values, "absorber_mm": thickness_mm})
        return jnp.sum(calorimeter.mean_energy(moved, BEAM_MEV).visible_MeV[:n])

    at, step = design["absorber_mm"], 1e-3
    difference = (front(at + step) - front(at - step)) / (2 * step)
    exact = jax.grad(front)(at)
    miss = float(jnp.abs(exact / difference - 1.0))
    return Claim(f"{setup.name}: derivative by thickness, error", miss, None, 1e-5, "exact", "<=")


def _spots(setup: Setup, *, key: Key) -> Claim:
    """Spots add up to the layers' energies, hard or nearly hard boundaries alike."""
    calorimeter, design = setup.calorimeter, setup.design
    beam = Beam(particles.get("e-"), BEAM_MEV, N_SPOT_EVENTS)
    hits = calorimeter.simulate(design, beam, key=key)
    by_number = hits.layer_energy(calorimeter.n_layers)
    edges = calorimeter.edges_mm(design)
    by_depth = energy_in_layers(hits, edges)
    soft = energy_in_layers(hits, edges, softness_mm=1e-6)
    scale = jnp.abs(by_number).max()
    miss = max(float(jnp.abs(one - by_number).max() / scale) for one in (by_depth, soft))
    return Claim(f"{setup.name}: spots against layers", miss, None, 1e-3, "exact", "<=")
