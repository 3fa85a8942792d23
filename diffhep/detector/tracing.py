r"""Charged particles in any field, from plane to plane.

$t_x' = \kappa(q/p)\sqrt{1+t_x^2+t_y^2}\,[t_xt_yB_x-(1+t_x^2)B_y+t_yB_z]$ and
$t_y' = \kappa(q/p)\sqrt{1+t_x^2+t_y^2}\,[(1+t_y^2)B_x-t_xt_yB_y-t_xB_z]$ along z.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.detector.reconstruction.perigee import CURVATURE_PER_T_mm

Field = Callable[[Float[Array, "3"]], Float[Array, "3"]]
"""The field in T at a point in mm."""


def trace_planes(
    state: Float[Array, "5"],
    z_mm: Float[Array, " plane"],
    field_T: Field,
    *,
    tolerance: float = 1e-10,
    max_steps: int = 4096,
) -> Float[Array, "plane 5"]:
    r"""A particle's way through a field that varies, by an adaptive Runge-Kutta method.

    Differentiable in reverse mode by the state, the planes and what the field depends on.

    Args:
        state: $(x, y, t_x, t_y, q/p)$ at the first plane in mm and 1/GeV, $t$ the slopes.
        z_mm: Of the planes, ascending.
        field_T: The field.
        tolerance: Relative and absolute, of a step.
        max_steps: Most steps; more raise diffrax's error.

    Returns:
        The states at the planes, the first one's included.
    """
    # Along a path from 0 to 1, so that derivatives by the planes' positions exist.
    share = jnp.linspace(0.0, 1.0, z_mm.shape[0])

    def slope(at: Any, state: Array, _: Any) -> Array:
        n = z_mm.shape[0] - 1
        index = jnp.clip(jnp.floor(at * n).astype(int), 0, n - 1)
        low, width = z_mm[index], z_mm[index + 1] - z_mm[index]
        z = low + width * (at * n - index)
        x, y, tx, ty, charge_over_p = state
        Bx, By, Bz = field_T(jnp.stack([x, y, z]))
        bend = CURVATURE_PER_T_mm * charge_over_p * jnp.sqrt(1.0 + tx**2 + ty**2)
        dtx = bend * (tx * ty * Bx - (1.0 + tx**2) * By + ty * Bz)
        dty = bend * ((1.0 + ty**2) * Bx - tx * ty * By - tx * Bz)
        return n * width * jnp.stack([tx, ty, dtx, dty, jnp.zeros_like(tx)])

    found = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        0.0,
        1.0,
        None,
        state,
        saveat=diffrax.SaveAt(ts=share),
        stepsize_controller=diffrax.ClipStepSizeController(
            diffrax.PIDController(rtol=tolerance, atol=tolerance), jump_ts=share[1:-1]
        ),
        max_steps=max_steps,
    )
    return jnp.asarray(found.ys)
