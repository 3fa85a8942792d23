r"""The law of an electromagnetic shower: gamma profiles along the beam, two cores across it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.typing import Key, Scalar
from diffhep.detector.showers.medium import Medium, SCATTERING_MeV
from diffhep.detector.showers.parameters import GflashParameters

__citations__ = ("arXiv:hep-ex/0001020", "doi:10.1088/0031-8949/23/4A/012")

RANGE_Y = (40.0, 1e5)
"""Energies over the critical energy where the law holds: below, a shower has no profile left."""

SMALLEST_ALPHA = 1.1
"""A shower with its maximum at the front; draws below are put there."""

MOST_SLANTED = 1.2
"""Angle in rad at which the mean slant of electrons ends, for absorbers of little Ec."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
"""For means over the two normal numbers of a shower: exact to the ninth power of each."""


class ShowerLaw(NamedTuple):
    r"""How T, the depth of the maximum in $X_0$, and alpha fluctuate together, as logarithms.

    Attributes:
        position: Mean of $\ln T$.
        shape: Mean of $\ln\alpha$.
        position_width: Standard deviation of $\ln T$.
        shape_width: Standard deviation of $\ln\alpha$.
        correlation: Of the two.
        warp: Of every profile.
    """

    position: Scalar
    shape: Scalar
    position_width: Scalar
    shape_width: Scalar
    correlation: Scalar
    warp: Float[Array, " number"]


class ShowerShape(NamedTuple):
    r"""One shower's profile, $\beta(\beta t)^{\alpha-1}e^{-\beta t}/\Gamma(\alpha)$ but for a warp.

    Attributes:
        alpha: Its power, plus one.
        beta: Its fall, per $X_0$.
        warp: Coefficients as in `GflashParameters`, the same for all.
    """

    alpha: Float[Array, "*shower"]
    beta: Float[Array, "*shower"]
    warp: Float[Array, " number"]

    def against(self, n_axes: int) -> "ShowerShape":
        """The profiles with axes behind, to be broadcast with depths.

        Args:
            n_axes: How many.

        Returns:
            The same profiles.
        """
        behind = (..., *(None,) * n_axes)
        return ShowerShape(self.alpha[behind], self.beta[behind], self.warp)


class RadialLaw(NamedTuple):
    """Energy across a shower at a depth: a core and a tail.

    Attributes:
        core: Radius of the core in Moliere radii.
        tail: Radius of the tail in Moliere radii.
        weight: Of the core.
    """

    core: Float[Array, "*depth"]
    tail: Float[Array, "*depth"]
    weight: Float[Array, "*depth"]


def require_energy(medium: Medium, energy_MeV: Float[Array, ""] | float) -> None:
    """Raise unless a known energy lies where the law of the shower holds.

    Args:
        medium: What the shower is in.
        energy_MeV: Of the electron.

    Raises:
        ConfigError: It does not; the message names the range in MeV.
    """
    critical, energy = concrete(medium.critical_MeV), concrete(energy_MeV)
    if critical is None or energy is None:
        return
    low, high = (float(critical) * y for y in RANGE_Y)
    rule = f"lie in the range of the shower's law here, {low:.0f} to {high:.3g} MeV"
    require(low <= float(energy) <= high, "energy_MeV", rule, float(energy))


def shower_law(
    parameters: GflashParameters, medium: Medium, energy_MeV: Float[Array, ""] | float
) -> ShowerLaw:
    r"""The joint law of $\ln T$ and $\ln\alpha$ of showers of an energy.

    Args:
        parameters: Of the law.
        medium: What the shower is in.
        energy_MeV: Of the electron.

    Returns:
        Means, widths and correlation.

    Raises:
        ConfigError: The energy is known and out of the range of the law.
    """
    require_energy(medium, energy_MeV)
    log_y = jnp.log(energy_MeV / medium.critical_MeV)
    a_1, a_2, a_3 = parameters.shape
    position = parameters.slope[0] * log_y + parameters.position[0]
    shape = a_1 + (a_2 + a_3 / medium.z) * log_y
    widths = (parameters.position_width, parameters.shape_width, parameters.correlation)
    if medium.is_sampling:
        per_layer, per_response = parameters.sampling_position
        position += per_layer * medium.layer_x0 + per_response * (1.0 - medium.e_mip)
        shape += parameters.sampling_shape[0] * medium.layer_x0
        widths = (
            parameters.sampling_position_width,
            parameters.sampling_shape_width,
            parameters.sampling_correlation,
        )
    (u_t, v_t), (u_a, v_a), (r_1, r_2) = widths
    return ShowerLaw(
        jnp.log(position),
        jnp.log(shape),
        1.0 / (u_t + v_t * log_y),
        1.0 / (u_a + v_a * log_y),
        r_1 + r_2 * log_y,
        parameters.warp,
    )


def draw_shape(law: ShowerLaw, normal: Float[Array, "2 *shower"]) -> ShowerShape:
    """Profiles from standard normal numbers, smoothly in the law.

    Args:
        law: Of T and alpha.
        normal: Two independent standard normal numbers a shower.

    Returns:
        The profiles.
    """
    together = jnp.sqrt(0.5 * (1.0 + law.correlation)) * normal[0]
    apart = jnp.sqrt(0.5 * (1.0 - law.correlation)) * normal[1]
    depth = jnp.exp(law.position + law.position_width * (together + apart))
    alpha = jnp.exp(law.shape + law.shape_width * (together - apart))
    alpha = jnp.maximum(alpha, SMALLEST_ALPHA)
    return ShowerShape(alpha, (alpha - 1.0) / depth, law.warp)


def longitudinal_cdf(
    shape: ShowerShape, depth_x0: Float[Array, "*shower_or_depth"]
) -> Float[Array, "*shower_and_depth"]:
    r"""Fraction of a shower's energy before a depth, $P(\alpha, \beta t)$ but for the warp.

    Args:
        shape: Profile; broadcast with the depth.
        depth_x0: Depth in radiation lengths.

    Returns:
        The fraction.
    """
    u = gammainc(shape.alpha, shape.beta * depth_x0)
    return u + u * (1.0 - u) * _warp(shape.warp, 2.0 * u - 1.0)


def _warp(warp: Float[Array, " number"], x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    r"""$\sum_k w_k\int_0^uP_k(2v-1)\,dv$ over $u(1-u)$, at $x = 2u-1$."""
    w_1, w_2, w_3, w_4 = warp
    # The integral of P_k is (P_{k+1} - P_{k-1})/(2(2k+1)); x^2 - 1 = -4u(1-u) divides all of them.
    cubic = 0.25 * (5.0 * x**2 - 1.0)
    quartic = 0.25 * (7.0 * x**3 - 3.0 * x)
    return -(w_1 + w_2 * x + w_3 * cubic + w_4 * quartic)


def warp_density(warp: Float[Array, " number"], u: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """By what a warp multiplies the profile where a fraction u lies before; must be positive.

    Args:
        warp: Coefficients.
        u: Fractions.

    Returns:
        The factor.
    """
    x = 2.0 * u - 1.0
    w_1, w_2, w_3, w_4 = warp
    cubic, quartic = 0.5 * (5.0 * x**3 - 3.0 * x), (35.0 * x**4 - 30.0 * x**2 + 3.0) / 8.0
    return 1.0 + w_1 * x + w_2 * 0.5 * (3.0 * x**2 - 1.0) + w_3 * cubic + w_4 * quartic


def quadrature_shapes(law: ShowerLaw) -> tuple[ShowerShape, Float[Array, " node"]]:
    """Profiles and weights with which means over showers are sums.

    Args:
        law: Of T and alpha.

    Returns:
        Profiles and weights that add up to one.
    """
    first, second = jnp.meshgrid(jnp.asarray(_NODES), jnp.asarray(_NODES), indexing="ij")
    weight = jnp.outer(jnp.asarray(_WEIGHTS), jnp.asarray(_WEIGHTS)).ravel()
    shape = draw_shape(law, jnp.stack([first.ravel(), second.ravel()]))
    return shape, weight / jnp.sum(weight)


def mean_longitudinal_cdf(
    law: ShowerLaw, depth_x0: Float[Array, " depth"]
) -> Float[Array, " depth"]:
    """Mean fraction of the energy before a depth: over showers, not of the mean shower.

    Args:
        law: Of T and alpha.
        depth_x0: Depths in radiation lengths.

    Returns:
        The mean fractions, by quadrature.
    """
    shape, weight = quadrature_shapes(law)
    column = shape.against(1)
    return weight @ longitudinal_cdf(column, depth_x0)


def shower_depth(
    law: ShowerLaw, shape: ShowerShape, depth_x0: Float[Array, "*depth"]
) -> Float[Array, "*shower_and_depth"]:
    r"""The radial law's own depth, in centres of gravity of the shower.

    $\tau = \frac{t}{\langle t\rangle}\,\frac{e^{\langle\ln\alpha\rangle}}{e^{\langle\ln\alpha
    \rangle}-1}$ with $\langle t\rangle = \alpha/\beta$.

    Args:
        law: Of T and alpha.
        shape: Profile; broadcast with the depth.
        depth_x0: Depth in radiation lengths.

    Returns:
        tau; one at the maximum of a typical shower.
    """
    typical = jnp.exp(law.shape)
    return depth_x0 * shape.beta / shape.alpha * typical / (typical - 1.0)


def radial_law(
    parameters: GflashParameters,
    medium: Medium,
    energy_MeV: Float[Array, ""] | float,
    tau: Float[Array, "*depth"],
) -> RadialLaw:
    """Radii and weight of core and tail at a depth.

    Args:
        parameters: Of the law.
        medium: What the shower is in.
        energy_MeV: Of the electron.
        tau: Depth as `shower_depth` counts it.

    Returns:
        The radial law.
    """
    log_e = jnp.log(energy_MeV / 1e3)
    z_1, z_2, z_3, z_4 = parameters.core
    k_1, k_2, k_3, k_4, k_5, k_6 = parameters.tail
    p_1, p_2, p_3, p_4, p_5, p_6 = parameters.weight
    core = z_1 + z_2 * log_e + (z_3 + z_4 * medium.z) * tau
    late = jnp.exp((k_5 + k_6 * log_e) * (tau - k_3))
    tail = (k_1 + k_2 * medium.z) * (jnp.exp(k_4 * (tau - k_3)) + late)
    x = (p_3 + p_4 * medium.z - tau) / (p_5 + p_6 * log_e)
    weight = (p_1 + p_2 * medium.z) * jnp.exp(x - jnp.exp(x))
    if medium.is_sampling:
        lost, fading = 1.0 - medium.e_mip, medium.layer_x0 * jnp.exp(-tau)
        peak = medium.layer_x0 * jnp.exp(-((tau - 1.0) ** 2))
        core += parameters.sampling_core[0] * lost + parameters.sampling_core[1] * fading
        tail += parameters.sampling_tail[0] * lost + parameters.sampling_tail[1] * fading
        weight += lost * (parameters.sampling_weight[0] + parameters.sampling_weight[1] * peak)
    # The published corrections may cross zero early in a coarse stack.
    return RadialLaw(jnp.maximum(core, 1e-3), jnp.maximum(tail, 1e-2), jnp.clip(weight, 0.0, 1.0))


def radial_cdf(
    law: RadialLaw, radius: Float[Array, "*depth_or_radius"]
) -> Float[Array, "*depth_and_radius"]:
    r"""Fraction of the energy inside a radius, $p\,r^2/(r^2+R_C^2) + (1-p)\,r^2/(r^2+R_T^2)$.

    Args:
        law: Of core and tail; broadcast with the radius.
        radius: In Moliere radii.

    Returns:
        The fraction.
    """
    square = radius**2
    core = square / (square + law.core**2)
    return law.weight * core + (1.0 - law.weight) * square / (square + law.tail**2)


def sample_radius(law: RadialLaw, *, key: Key) -> Float[Array, "*depth"]:
    r"""Radii by the inverse of the two closed distributions, $R\sqrt{u/(1-u)}$.

    Pathwise in both radii; which of the two a spot belongs to is one choice by the weight, and
    carries no derivative.

    Args:
        law: Of core and tail; one radius an entry.
        key: Random key.

    Returns:
        Radii in Moliere radii.
    """
    choose, place = jax.random.split(key)
    is_core = jax.random.uniform(choose, law.weight.shape) < law.weight
    u = jax.random.uniform(place, law.weight.shape, maxval=1.0 - 1e-6)
    return jnp.where(is_core, law.core, law.tail) * jnp.sqrt(u / (1.0 - u))


def sampling_term(
    parameters: GflashParameters, medium: Medium, absorber_critical_MeV: float | Float[Array, ""]
) -> Scalar:
    r"""The stochastic term $c$ of the resolution, $\sigma/E = c\,/\sqrt{E/\mathrm{GeV}}$.

    $c = 0.032\sqrt{\epsilon\,t/\cos}$ with the absorber's critical energy $\epsilon$ in MeV, the
    layer's thickness $t$ in $X_0$ and the mean slant $\cos(21\,\mathrm{MeV}/\pi\epsilon)$ of the
    shower's electrons: the number of crossings of a gap counts.

    Args:
        parameters: Of the law; `resolution` is a factor.
        medium: What the shower is in; a homogeneous one has no sampling term.
        absorber_critical_MeV: Critical energy of the absorber.

    Returns:
        c.

    Reference:
        doi:10.1088/0031-8949/23/4A/012.
    """
    slant = jnp.cos(jnp.minimum(SCATTERING_MeV / (jnp.pi * absorber_critical_MeV), MOST_SLANTED))
    crossings = absorber_critical_MeV * medium.layer_x0 / slant
    return parameters.resolution[0] * 0.032 * jnp.sqrt(crossings)


def visible_fraction(parameters: GflashParameters, medium: Medium) -> Scalar:
    r"""Fraction of the deposit that the gaps see, $(r_1 + r_2t)$ of the medium's.

    e/mip of the medium does not know how thick the layers are; with thinner layers it is nearer to
    one, which $r_2 < 0$ says.

    Args:
        parameters: Of the law.
        medium: What the shower is in; one without gaps is seen whole.

    Returns:
        The fraction.
    """
    if not medium.is_sampling:
        return medium.visible
    r_1, r_2 = parameters.response
    return (r_1 + r_2 * medium.layer_x0) * medium.visible


def mean_radial_cdf(
    parameters: GflashParameters,
    medium: Medium,
    energy_MeV: Float[Array, ""] | float,
    depth_x0: Float[Array, " edge"],
    radius: Float[Array, " radius"],
) -> Float[Array, " radius"]:
    """Mean fraction of the energy inside radii, of what lies between the first and last depth.

    Args:
        parameters: Of the law.
        medium: What the shower is in.
        energy_MeV: Of the electron.
        depth_x0: Edges of the steps in which the radial law is taken to be constant.
        radius: In Moliere radii.

    Returns:
        The fractions.
    """
    law = shower_law(parameters, medium, energy_MeV)
    shape, weight = quadrature_shapes(law)
    column = shape.against(1)
    step = jnp.diff(longitudinal_cdf(column, depth_x0), axis=1)
    tau = shower_depth(law, column, 0.5 * (depth_x0[1:] + depth_x0[:-1]))
    across = radial_law(parameters, medium, energy_MeV, tau)
    inside = radial_cdf(RadialLaw(*(part[..., None] for part in across)), radius)
    share = weight[:, None] * step
    return jnp.einsum("ij,ijr->r", share, inside) / jnp.sum(share)
