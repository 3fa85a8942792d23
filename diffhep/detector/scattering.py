r"""Multiple scattering in thin layers.

Reference:
    V. L. Highland, Nucl. Instrum. Meth. 129, 497 (1975), with the constants of G. R. Lynch and
    O. I. Dahl, Nucl. Instrum. Meth. B 58, 6 (1991), as the Particle Data Group has them.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

__citations__ = ("doi:10.1016/0029-554X(75)90743-0",)

SCALE_GeV = 13.6e-3
"""Momentum that a path of one radiation length gives, about."""

LOGARITHM = 0.038
"""Weight of the logarithm of the thickness."""


def highland_angle(
    momentum_GeV: Float[Array, "*batch"] | float,
    beta: Float[Array, "*batch"] | float,
    thickness_x0: Float[Array, "*batch"] | float,
    charge: float = 1.0,
) -> Float[Array, "*batch"]:
    r"""Width of the angle in one plane behind a scatterer.

    $\theta_0 = \frac{13.6\,\mathrm{MeV}}{\beta cp}|z|\sqrt{x/X_0}\,
    [1 + 0.038\ln(xz^2/X_0\beta^2)]$.

    Args:
        momentum_GeV: $p$ in GeV/c.
        beta: Velocity over that of light.
        thickness_x0: $x/X_0$ along the path; zero scatters nothing, with derivative zero.
        charge: $z$ of the particle.

    Returns:
        In rad.
    """
    thickness = jnp.asarray(thickness_x0, dtype=float)
    some = thickness > 0.0
    safe = jnp.where(some, thickness, 1.0)
    bracket = 1.0 + LOGARITHM * jnp.log(safe * charge**2 / jnp.asarray(beta) ** 2)
    angle = SCALE_GeV / (beta * momentum_GeV) * abs(charge) * jnp.sqrt(safe)
    # The bracket is negative for a thickness below 4e-12: no such layer scatters.
    return jnp.where(some, angle * jnp.clip(bracket, 0.0), 0.0)
