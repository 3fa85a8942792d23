r"""Materials: radiation length, critical energy, Moliere radius, energy loss, computed.

Densities, compositions, mean excitation energies and, where they were fitted, the parameters of
the density effect are looked up; what follows is computed, for a mixture of the user's own too.

References:
    Y.-S. Tsai, Rev. Mod. Phys. 46, 815 (1974), equations 3.65 to 3.68; R. M. Sternheimer and
    R. F. Peierls, Phys. Rev. B 3, 3681 (1971); R. M. Sternheimer, M. J. Berger and S. M. Seltzer,
    At. Data Nucl. Data Tables 30, 261 (1984); Particle Data Group, Phys. Rev. D 110, 030001
    (2024), section 34; mean excitation energies of ICRU report 37.
"""

import difflib
import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.errors import ConfigError
from diffhep.detector.particles import ELECTRON_MASS_MEV, Particle

__citations__ = ("doi:10.1103/RevModPhys.46.815", "doi:10.1103/PhysRevB.3.3681")

FINE_STRUCTURE = 7.2973525693e-3
BETHE_CONSTANT = 0.307075
"""4 pi N_A r_e^2 m_e c^2, in MeV cm^2 / mol."""

LEAST_BETA_GAMMA = 0.1
"""Below it Bethe's formula without shell corrections is not to be trusted."""

LEAST_ELECTRON_MEV = 0.01
"""Likewise for electrons; tables begin there, too."""

_TSAI = 716.408
"""1 / (4 alpha r_e^2 N_A), in g / cm^2 times mol / g."""

_LIGHT = {1: (5.31, 6.144), 2: (4.79, 5.621), 3: (4.74, 5.805), 4: (4.71, 5.924)}
"""Tsai's logarithms of hydrogen to beryllium, where the Thomas-Fermi model fails."""

_SCALE_ENERGY_MEV = 21.2052
"""Of multiple scattering, m_e c^2 sqrt(4 pi / alpha): numerator of the Moliere radius."""


@dataclass(frozen=True)
class Element:
    """An element of a material.

    Attributes:
        z: Atomic number.
        a: Atomic mass in g / mol.
        fraction: Of the material's mass.
    """

    z: int
    a: float
    fraction: float

    @property
    def inverse_radiation_length(self) -> float:
        """1 / X0 of the pure element, in cm^2 / g; Tsai, equation 3.66 to 3.68."""
        a2 = (FINE_STRUCTURE * self.z) ** 2
        coulomb = a2 * (1 / (1 + a2) + 0.20206 - 0.0369 * a2 + 0.0083 * a2**2 - 0.002 * a2**3)
        elastic = math.log(184.15 * self.z ** (-1 / 3))
        inelastic = math.log(1194.0 * self.z ** (-2 / 3))
        elastic, inelastic = _LIGHT.get(self.z, (elastic, inelastic))
        return (self.z**2 * (elastic - coulomb) + self.z * inelastic) / (_TSAI * self.a)


@dataclass(frozen=True)
class Material:
    """A homogeneous material.

    Attributes:
        name: It.
        density: In g / cm^3.
        elements: What it is made of; the mass fractions add up to one.
        excitation_eV: Mean excitation energy.
        is_gas: Of which state it is; decides on the density effect where there is no fit to it.
        density_fit: Sternheimer's parameters of the density effect (C, x0, x1, a, m, delta0), where
            they were fitted for the material; otherwise they are estimated.

    Raises:
        ConfigError: The density or the excitation energy is not positive, or the fractions do not
            add up to one within 1e-3.
    """

    name: str
    density: float
    elements: tuple[Element, ...]
    excitation_eV: float
    is_gas: bool = False
    density_fit: tuple[float, float, float, float, float, float] | None = None

    def __post_init__(self) -> None:
        require(self.density > 0.0, "density", "be positive, in g/cm^3", self.density)
        require(self.excitation_eV > 0.0, "excitation_eV", "be positive", self.excitation_eV)
        total = sum(element.fraction for element in self.elements)
        rule = "have mass fractions that add up to 1"
        require(abs(total - 1.0) < 1e-3, "elements", rule, total)

    def _average(self, name: str) -> float:
        return sum(element.fraction * getattr(element, name) for element in self.elements)

    @property
    def z(self) -> float:
        """Atomic number, the mean by mass as Grindhammer and Peters take it."""
        return self._average("z")

    @property
    def a(self) -> float:
        """Atomic mass in g / mol, the mean by mass."""
        return self._average("a")

    @property
    def z_over_a(self) -> float:
        """Electrons per mass, in mol / g."""
        return sum(element.fraction * element.z / element.a for element in self.elements)

    @cached_property
    def radiation_length_g_cm2(self) -> float:
        """X0, by Bragg's rule over the elements."""
        return 1.0 / self._average("inverse_radiation_length")

    @property
    def radiation_length_cm(self) -> float:
        """X0 as a length."""
        return self.radiation_length_g_cm2 / self.density

    @cached_property
    def critical_energy_MeV(self) -> float:
        """Total energy at which an electron loses its energy in one X0 by ionisation (Rossi)."""
        low, high = 1.0, 1000.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            # A material's constant is one inside a traced function, too.
            with jax.ensure_compile_time_eval():
                loss = float(self.electron_stopping_power(middle - ELECTRON_MASS_MEV))
            if loss * self.radiation_length_g_cm2 > middle:
                low = middle
            else:
                high = middle
        return low

    @property
    def moliere_radius_cm(self) -> float:
        """21.2 MeV X0 / Ec."""
        return _SCALE_ENERGY_MEV * self.radiation_length_cm / self.critical_energy_MeV

    @property
    def plasma_energy_eV(self) -> float:
        """Of the electrons as if free: 28.816 sqrt(density Z / A)."""
        return 28.816 * math.sqrt(self.density * self.z_over_a)

    def density_effect(
        self, beta_gamma: Float[Array, "*energy"] | float
    ) -> Float[Array, "*energy"]:
        r"""$\delta$ of Bethe's formula, in Sternheimer's form.

        $2x\ln10-C$ for $x=\log_{10}\beta\gamma\ge x_1$, with $a(x_1-x)^m$ added down to $x_0$, and
        $\delta_0 10^{2(x-x_0)}$ below.

        Args:
            beta_gamma: Momentum over mass.

        Returns:
            The correction.
        """
        c, x0, x1, a, m, delta0 = self.density_fit or self._estimated_density_fit()
        x = jnp.log10(jnp.asarray(beta_gamma, dtype=float))
        middle = 2.0 * math.log(10.0) * x - c + a * jnp.clip(x1 - x, 0.0) ** m
        return jnp.where(x < x0, delta0 * 10.0 ** (2.0 * (x - x0)), middle)

    def _estimated_density_fit(self) -> tuple[float, float, float, float, float, float]:
        """The general expression of Sternheimer and Peierls: good to some per cent of the loss."""
        c = 2.0 * math.log(self.excitation_eV / self.plasma_energy_eV) + 1.0
        x0, x1 = _gas_range(c) if self.is_gas else _condensed_range(c, self.excitation_eV)
        a = (c - 2.0 * math.log(10.0) * x0) / (x1 - x0) ** 3
        return c, x0, x1, a, 3.0, 0.0

    def stopping_power(
        self, particle: Particle, energy_MeV: Float[Array, "*energy"] | float
    ) -> Float[Array, "*energy"]:
        r"""Mean loss of a heavy charged particle by ionisation, $-\mathrm dE/\mathrm dx$.

        Bethe's formula with the density effect and without shell corrections, good to a few per
        cent for $0.1\lesssim\beta\gamma\lesssim1000$.

        Args:
            particle: Heavier than an electron and charged.
            energy_MeV: Kinetic energy.

        Returns:
            In MeV cm^2 / g.

        Raises:
            ConfigError: The particle is an electron, a positron or neutral, or slower than
                `LEAST_BETA_GAMMA`; traced energies are not looked at.
        """
        rule = "be charged and heavier than an electron (see electron_stopping_power)"
        good = particle.charge != 0 and particle.mass_MeV > 1.0
        require(good, "particle", rule, particle.name)
        require_ionisation(particle, energy_MeV, "energy_MeV")
        gamma = 1.0 + jnp.asarray(energy_MeV, dtype=float) / particle.mass_MeV
        bg2 = gamma**2 - 1.0
        beta2 = bg2 / gamma**2
        ratio = ELECTRON_MASS_MEV / particle.mass_MeV
        largest = 2.0 * ELECTRON_MASS_MEV * bg2 / (1.0 + 2.0 * gamma * ratio + ratio**2)
        excitation = self.excitation_eV * 1e-6
        argument = 2.0 * ELECTRON_MASS_MEV * bg2 * largest / excitation**2
        bracket = 0.5 * jnp.log(argument) - beta2 - 0.5 * self.density_effect(jnp.sqrt(bg2))
        return BETHE_CONSTANT * particle.charge**2 * self.z_over_a / beta2 * bracket

    def electron_stopping_power(
        self, energy_MeV: Float[Array, "*energy"] | float
    ) -> Float[Array, "*energy"]:
        """Mean loss of an electron by collisions, after Moller's cross-section.

        Args:
            energy_MeV: Kinetic energy.

        Returns:
            In MeV cm^2 / g.

        Raises:
            ConfigError: An energy is below `LEAST_ELECTRON_MEV`; traced ones are not looked at.
        """
        known = concrete(energy_MeV)
        if known is not None:
            rule = f"be {LEAST_ELECTRON_MEV} MeV or more for the losses of an electron"
            require(bool(np.all(known >= LEAST_ELECTRON_MEV)), "energy_MeV", rule, known.tolist())
        tau = jnp.asarray(energy_MeV, dtype=float) / ELECTRON_MASS_MEV
        bg2 = tau * (tau + 2.0)
        beta2 = bg2 / (tau + 1.0) ** 2
        excitation = self.excitation_eV * 1e-6 / ELECTRON_MASS_MEV
        moller = (1.0 + tau**2 / 8.0 - (2.0 * tau + 1.0) * math.log(2.0)) / (tau + 1.0) ** 2
        argument = tau**2 * (tau + 2.0) / (2.0 * excitation**2)
        bracket = jnp.log(argument) + 1.0 - beta2 + moller - self.density_effect(jnp.sqrt(bg2))
        return 0.5 * BETHE_CONSTANT * self.z_over_a / beta2 * bracket

    def minimum_stopping_power(self, particle: Particle) -> float:
        """The least mean loss of a heavy particle, at a beta gamma near 3.5.

        Args:
            particle: As in `stopping_power`.

        Returns:
            In MeV cm^2 / g.
        """
        with jax.ensure_compile_time_eval():
            beta_gamma = jnp.geomspace(1.0, 20.0, 2001)
            energy = particle.mass_MeV * (jnp.sqrt(1.0 + beta_gamma**2) - 1.0)
            return float(jnp.min(self.stopping_power(particle, energy)))


def _condensed_range(c: float, excitation_eV: float) -> tuple[float, float]:
    """Where the density effect of a solid or liquid begins, and where its plateau does."""
    if excitation_eV < 100.0:
        return (0.2 if c < 3.681 else 0.326 * c - 1.0), 2.0
    return (0.2 if c < 5.215 else 0.326 * c - 1.5), 3.0


def _gas_range(c: float) -> tuple[float, float]:
    """The same of a gas."""
    for limit, x0 in ((10.0, 1.6), (10.5, 1.7), (11.0, 1.8), (11.5, 1.9), (12.25, 2.0)):
        if c < limit:
            return x0, 4.0
    return (2.0, 5.0) if c < 13.804 else (0.326 * c - 2.5, 5.0)


def mixture(
    name: str, density: float, parts: dict[str, float], *, is_gas: bool = False
) -> Material:
    """A material of others, its excitation energy by Bragg's rule.

    Args:
        name: Of the new material.
        density: In g / cm^3.
        parts: Mass fractions of materials of the table.
        is_gas: Of which state it is.

    Returns:
        The material.

    Raises:
        ConfigError: A part is not in the table, or the fractions do not add up to one.
    """
    found = {part: get(part) for part in parts}
    elements = tuple(
        Element(element.z, element.a, fraction * element.fraction)
        for part, fraction in parts.items()
        for element in found[part].elements
    )
    weights = {part: fraction * found[part].z_over_a for part, fraction in parts.items()}
    total = sum(weights.values())
    logarithm = sum(w * math.log(found[part].excitation_eV) for part, w in weights.items())
    require(total > 0.0, "parts", "name at least one material", parts)
    return Material(name, density, elements, math.exp(logarithm / total), is_gas)


def get(name: str) -> Material:
    """A material of the table.

    Args:
        name: As in `names`.

    Returns:
        The material.

    Raises:
        ConfigError: There is none of that name; the nearest ones are listed.
    """
    if name not in _TABLE:
        near = difflib.get_close_matches(name, _TABLE, n=3, cutoff=0.4) or sorted(_TABLE)[:5]
        raise ConfigError(
            f"Argument `name` must be a material of the table, but it is {name!r}; "
            f"near it: {', '.join(near)}."
        )
    return _TABLE[name]


def names() -> tuple[str, ...]:
    """Names of the table."""
    return tuple(_TABLE)


_MASS = {
    "H": (1, 1.008), "Be": (4, 9.0122), "C": (6, 12.011), "N": (7, 14.007), "O": (8, 15.999),
    "Na": (11, 22.990), "Al": (13, 26.982), "Si": (14, 28.085), "Ar": (18, 39.95),
    "Fe": (26, 55.845), "Cu": (29, 63.546), "Ge": (32, 72.630), "I": (53, 126.90),
    "Xe": (54, 131.29), "Cs": (55, 132.91), "W": (74, 183.84), "Pb": (82, 207.2),
    "Bi": (83, 208.98), "U": (92, 238.03),
}  # fmt: skip


def _of(
    name: str,
    density: float,
    excitation_eV: float,
    density_fit: tuple[float, float, float, float, float, float] | None = None,
    *,
    is_gas: bool = False,
    **atoms: float,
) -> Material:
    """A compound by its numbers of atoms."""
    total = sum(_MASS[symbol][1] * count for symbol, count in atoms.items())
    elements = tuple(
        Element(_MASS[symbol][0], _MASS[symbol][1], _MASS[symbol][1] * count / total)
        for symbol, count in atoms.items()
    )
    return Material(name, density, elements, excitation_eV, is_gas, density_fit)


_TABLE = {
    material.name: material
    for material in (
        _of("Be", 1.848, 63.7, (2.7847, 0.0592, 1.6922, 0.80392, 2.4339, 0.14), Be=1),
        _of("graphite", 2.210, 78.0, (2.8926, -0.0178, 2.3415, 0.26142, 2.8697, 0.12), C=1),
        _of("Al", 2.699, 166.0, (4.2395, 0.1708, 3.0127, 0.08024, 3.6345, 0.12), Al=1),
        _of("Si", 2.329, 173.0, (4.4355, 0.2015, 2.8716, 0.14921, 3.2546, 0.14), Si=1),
        _of("Fe", 7.874, 286.0, (4.2911, -0.0012, 3.1531, 0.1468, 2.9632, 0.12), Fe=1),
        _of("Cu", 8.960, 322.0, (4.419, -0.0254, 3.2792, 0.14339, 2.9044, 0.08), Cu=1),
        _of("Ge", 5.323, 350.0, (5.1411, 0.3376, 3.6096, 0.07188, 3.3306, 0.14), Ge=1),
        _of("W", 19.30, 727.0, (5.4059, 0.2167, 3.496, 0.15509, 2.8447, 0.14), W=1),
        _of("Pb", 11.35, 823.0, (6.2018, 0.3776, 3.8073, 0.09359, 3.1608, 0.14), Pb=1),
        _of("U", 18.95, 890.0, (5.8694, 0.226, 3.3721, 0.19677, 2.8171, 0.14), U=1),
        _of("LAr", 1.396, 188.0, (5.2146, 0.2, 3.0, 0.19559, 3.0, 0.0), Ar=1),
        _of("LXe", 2.953, 482.0, Xe=1),
        _of(
            "argon",
            1.662e-3,
            188.0,
            (11.948, 1.7635, 4.4855, 0.19714, 2.9618, 0.0),
            is_gas=True,
            Ar=1,
        ),
        _of(
            "air",
            1.205e-3,
            85.7,
            (10.5961, 1.7418, 4.2759, 0.10914, 3.3994, 0.0),
            is_gas=True,
            N=1.562,
            O=0.42,
            Ar=0.0094,
        ),
        _of("water", 1.000, 75.0, (3.5017, 0.24, 2.8004, 0.09116, 3.4773, 0.0), H=2, O=1),
        _of("polystyrene", 1.060, 68.7, (3.2999, 0.1647, 2.5031, 0.16454, 3.2224, 0.0), C=8, H=8),
        _of("polyethylene", 0.94, 57.4, (3.0016, 0.137, 2.5177, 0.12108, 3.4292, 0.0), C=1, H=2),
        _of("PbWO4", 8.300, 600.7, (5.8528, 0.4068, 3.0023, 0.22758, 3.0, 0.0), Pb=1, W=1, O=4),
        _of("CsI", 4.510, 553.1, (6.2807, 0.0395, 3.3353, 0.25381, 2.6657, 0.0), Cs=1, I=1),
        _of("NaI", 3.667, 452.0, (6.0572, 0.1203, 3.592, 0.12516, 3.0398, 0.0), Na=1, I=1),
        _of("BGO", 7.130, 534.1, (5.7409, 0.0456, 3.7816, 0.09569, 3.0781, 0.0), Bi=4, Ge=3, O=12),
        _of("SiO2", 2.200, 139.2, Si=1, O=2),
    )
}


def require_ionisation(
    particle: Particle, energy_MeV: Float[Array, "*energy"] | float, name: str
) -> None:
    """Refuse energies below the range of Bethe's formula, as far as they are known.

    Args:
        particle: Heavier than an electron and charged.
        energy_MeV: Kinetic energy.
        name: The argument's name.

    Raises:
        ConfigError: One is below it.
    """
    energy = concrete(energy_MeV)
    if energy is not None:
        least = particle.mass_MeV * (math.sqrt(1.0 + LEAST_BETA_GAMMA**2) - 1.0)
        rule = f"be {least:.3g} MeV or more for the losses of a {particle.name}"
        require(bool(np.all(energy >= least)), name, rule, energy.tolist())
