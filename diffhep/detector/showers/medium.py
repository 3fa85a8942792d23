"""What a shower sees of a calorimeter: one material, or the effective medium of a stack."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.typing import Scalar
from diffhep.detector import particles
from diffhep.detector.materials import Material

__citations__ = ("arXiv:hep-ex/0001020",)

SCATTERING_MeV = 21.0
"""Scale energy in the Moliere radius, as the parametrisation was made with."""

_EHAT_PER_Z = 0.007


class Medium(eqx.Module):
    """The quantities that the shower's law depends on, differentiable in the thicknesses.

    Attributes:
        z: Atomic number, the mean by mass.
        x0_mm: Radiation length.
        critical_MeV: Critical energy, by the formula of the parametrisation.
        moliere_mm: Moliere radius.
        layer_x0: Thickness of a layer in radiation lengths, the inverse of the sampling frequency;
            zero in a homogeneous medium.
        e_mip: Response to the shower over that to a minimum ionising particle.
        visible: Fraction of the deposit that the gaps see.
        is_sampling: Whether there are gaps.
    """

    z: Scalar
    x0_mm: Scalar
    critical_MeV: Scalar
    moliere_mm: Scalar
    layer_x0: Scalar
    e_mip: Scalar
    visible: Scalar
    is_sampling: bool = eqx.field(static=True)


def _critical_MeV(material: Material) -> float:
    """2.66 (X0 Z / A)^1.1, with X0 in g/cm^2."""
    return 2.66 * (material.radiation_length_g_cm2 * material.z / material.a) ** 1.1


def _mip_MeV_mm(material: Material) -> float:
    """Least loss of a muon per length."""
    return 0.1 * material.density * material.minimum_stopping_power(particles.get("mu-"))


def homogeneous_medium(material: Material) -> Medium:
    """One material that sees all of the shower.

    Args:
        material: It.

    Returns:
        The medium.
    """
    x0_mm, critical = 10.0 * material.radiation_length_cm, _critical_MeV(material)
    values = (material.z, x0_mm, critical, x0_mm * SCATTERING_MeV / critical, 0.0, 1.0, 1.0)
    return Medium(*(jnp.asarray(value, dtype=float) for value in values), is_sampling=False)


def sampling_medium(
    absorber: Material,
    gap: Material,
    absorber_mm: Float[Array, ""] | float,
    gap_mm: Float[Array, ""] | float,
) -> Medium:
    r"""The effective medium of equal layers.

    With fractions $w_i$ of the mass and $X_0$ in g/cm²: $1/X_0 = \sum w_i/X_{0i}$,
    $E_c = X_0\sum w_iE_{ci}/X_{0i}$, $R_M = 21\,\mathrm{MeV}\,X_0/E_c$, $Z = \sum w_iZ_i$,
    $e/mip = 1/(1 + 0.007(Z_a - Z_g))$. The gaps see $e/mip$ of the share that they have in the loss
    of a minimum ionising particle.

    Args:
        absorber: Material of the absorbers.
        gap: Material of the gaps, which are read out.
        absorber_mm: Thickness of an absorber.
        gap_mm: Thickness of a gap.

    Returns:
        The medium.

    Raises:
        ConfigError: A thickness is known and not positive.

    Reference:
        arXiv:hep-ex/0001020.
    """
    a_mm, g_mm = (jnp.asarray(value, dtype=float) for value in (absorber_mm, gap_mm))
    for name, value in (("absorber_mm", a_mm), ("gap_mm", g_mm)):
        known = concrete(value)
        if known is not None:
            require(bool(known > 0.0), name, "be positive", float(known))
    mass_a, mass_g = a_mm * absorber.density, g_mm * gap.density
    w_a, w_g = mass_a / (mass_a + mass_g), mass_g / (mass_a + mass_g)
    in_a = w_a / absorber.radiation_length_g_cm2
    in_g = w_g / gap.radiation_length_g_cm2
    x0_mm = (a_mm + g_mm) / (0.1 * (mass_a + mass_g)) / (in_a + in_g)
    critical = (in_a * _critical_MeV(absorber) + in_g * _critical_MeV(gap)) / (in_a + in_g)
    e_mip = jnp.asarray(1.0 / (1.0 + _EHAT_PER_Z * (absorber.z - gap.z)), dtype=float)
    mip_a, mip_g = a_mm * _mip_MeV_mm(absorber), g_mm * _mip_MeV_mm(gap)
    return Medium(
        w_a * absorber.z + w_g * gap.z,
        x0_mm,
        critical,
        x0_mm * SCATTERING_MeV / critical,
        (a_mm + g_mm) / x0_mm,
        e_mip,
        e_mip * mip_g / (mip_a + mip_g),
        is_sampling=True,
    )
