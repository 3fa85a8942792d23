"""Particles of a beam: masses and charges.

Reference:
    Particle Data Group, Phys. Rev. D 110, 030001 (2024).
"""

import difflib
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.errors import ConfigError

ELECTRON_MASS_MEV = 0.51099895


@dataclass(frozen=True)
class Particle:
    """A particle.

    Attributes:
        name: Its sign is part of it: "mu-".
        mass_MeV: Rest energy.
        charge: In units of the proton's.
        pdg: Number in the Monte Carlo scheme of the Particle Data Group.
    """

    name: str
    mass_MeV: float
    charge: int
    pdg: int

    def momentum_MeV(self, energy_MeV: Float[Array, "*energy"]) -> Float[Array, "*energy"]:
        """Momentum at a kinetic energy.

        Args:
            energy_MeV: Kinetic energy.

        Returns:
            In MeV / c.
        """
        return jnp.sqrt(energy_MeV * (energy_MeV + 2.0 * self.mass_MeV))

    def beta(self, momentum_MeV: Float[Array, "*momentum"]) -> Float[Array, "*momentum"]:
        """Velocity over that of light at a momentum.

        Args:
            momentum_MeV: In MeV / c.

        Returns:
            p / E.
        """
        return momentum_MeV / jnp.sqrt(momentum_MeV**2 + self.mass_MeV**2)


_TABLE = {
    particle.name: particle
    for particle in (
        Particle("gamma", 0.0, 0, 22),
        Particle("e-", ELECTRON_MASS_MEV, -1, 11),
        Particle("e+", ELECTRON_MASS_MEV, 1, -11),
        Particle("mu-", 105.6583755, -1, 13),
        Particle("mu+", 105.6583755, 1, -13),
        Particle("pi-", 139.57039, -1, -211),
        Particle("pi+", 139.57039, 1, 211),
        Particle("K-", 493.677, -1, -321),
        Particle("K+", 493.677, 1, 321),
        Particle("proton", 938.27208816, 1, 2212),
    )
}


def get(name: str) -> Particle:
    """A particle of the table.

    Args:
        name: As "e-", "mu+", "proton".

    Returns:
        The particle.

    Raises:
        ConfigError: There is none of that name; the nearest ones are listed.
    """
    if name not in _TABLE:
        near = difflib.get_close_matches(name, _TABLE, n=3, cutoff=0.3) or list(_TABLE)
        raise ConfigError(
            f"Argument `name` must be a particle of the table, but it is {name!r}; "
            f"near it: {', '.join(near)}."
        )
    return _TABLE[name]
