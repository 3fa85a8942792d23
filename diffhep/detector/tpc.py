r"""A time-projection chamber: ionisation that recombines, drifts, spreads and is read on pads.

References:
    S. Amoruso et al. (ICARUS), Nucl. Instrum. Meth. A 523, 275 (2004), for Birks' law in argon;
    R. Acciarri et al. (ArgoNeuT), JINST 8, P08005 (2013), for the modified box model.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Key, Scalar

__citations__ = ("doi:10.1016/j.nima.2003.11.423", "arXiv:1306.1712")

ENERGY_PER_PAIR_eV = 23.6
"""Of an electron and an ion in liquid argon."""

BIRKS_A, BIRKS_K = 0.8, 0.0486
"""ICARUS; k in (kV/cm) (g/cm2) / MeV."""

BOX_ALPHA, BOX_BETA = 0.93, 0.212
"""ArgoNeuT; beta in (kV/cm) (g/cm2) / MeV."""

Law = Literal["birks", "box"]


def recombination(
    loss_MeV_cm: Float[Array, "*segment"],
    field_kV_cm: float | Scalar,
    *,
    density_g_cm3: float | Scalar = 1.396,
    law: Law = "box",
) -> Float[Array, "*segment"]:
    r"""Share of the electrons that escape their ions.

    With $\xi = (\mathrm dE/\mathrm dx)/(\rho\mathcal E)$: $A/(1+k\xi)$ by Birks,
    $\ln(\alpha+\beta\xi)/(\beta\xi)$ by the modified box model, which is meant for
    $\mathrm dE/\mathrm dx$ above 1.5 MeV/cm.

    Args:
        loss_MeV_cm: $\mathrm dE/\mathrm dx$; positive.
        field_kV_cm: $\mathcal E$ of the drift.
        density_g_cm3: $\rho$; liquid argon's by default.
        law: "birks" or "box".

    Returns:
        The share.

    Raises:
        ConfigError: The law has another name.
    """
    require(law in ("birks", "box"), "law", 'be "birks" or "box"', law)
    xi = loss_MeV_cm / (density_g_cm3 * field_kV_cm)
    if law == "birks":
        return BIRKS_A / (1.0 + BIRKS_K * xi)
    return jnp.log(BOX_ALPHA + BOX_BETA * xi) / (BOX_BETA * xi)


class TimeProjectionChamber(eqx.Module):
    """A box of liquid argon that drifts along z to pads at z = 0.

    Attributes:
        x_edges_mm: Of the pads, ascending.
        y_edges_mm: Of the pads, ascending.
        time_edges_us: Of the samples, ascending.
        field_kV_cm: Of the drift, for the recombination.
        velocity_mm_us: Of the drift.
        lifetime_us: Of free electrons.
        diffusion_along_mm2_us: Coefficient along the drift.
        diffusion_across_mm2_us: Coefficient across it.
        noise: Of a sample, in electrons.
        law: Of the recombination.

    Raises:
        ConfigError: A number is not positive, or edges do not ascend.
        ShapeError: There are fewer than two edges.
    """

    x_edges_mm: Float[Array, " x_edge"] = eqx.field(converter=jnp.asarray)
    y_edges_mm: Float[Array, " y_edge"] = eqx.field(converter=jnp.asarray)
    time_edges_us: Float[Array, " time_edge"] = eqx.field(converter=jnp.asarray)
    field_kV_cm: Scalar = eqx.field(converter=jnp.asarray, default=0.5)
    velocity_mm_us: Scalar = eqx.field(converter=jnp.asarray, default=1.6)
    lifetime_us: Scalar = eqx.field(converter=jnp.asarray, default=3000.0)
    diffusion_along_mm2_us: Scalar = eqx.field(converter=jnp.asarray, default=7e-4)
    diffusion_across_mm2_us: Scalar = eqx.field(converter=jnp.asarray, default=1.2e-3)
    noise: Scalar = eqx.field(converter=jnp.asarray, default=300.0)
    law: Law = eqx.field(static=True, default="box")

    def __check_init__(self) -> None:
        for name in ("x_edges_mm", "y_edges_mm", "time_edges_us"):
            edges = concrete(getattr(self, name))
            if edges is not None:
                require_shape(edges.size >= 2, name, "have at least 2 edges", edges.shape)
                require(bool((edges[1:] > edges[:-1]).all()), name, "ascend", edges.tolist())
        for name in (
            "field_kV_cm",
            "velocity_mm_us",
            "lifetime_us",
            "diffusion_along_mm2_us",
            "diffusion_across_mm2_us",
        ):
            known = concrete(getattr(self, name))
            require(known is None or bool(known > 0.0), name, "be positive", known)

    def drifted(
        self,
        position_mm: Float[Array, "segment 3"],
        energy_MeV: Float[Array, " segment"],
        loss_MeV_cm: Float[Array, " segment"],
    ) -> Float[Array, "x y time"]:
        r"""Mean electrons of every pad and sample.

        A segment at height z has $E/W$ electrons times the share that escapes times
        $e^{-t/\tau}$ at $t = z/v$, spread by $\sqrt{2Dt}$ along each axis: along the drift over the
        time by $\sqrt{2D_Lt}/v$. Integrals over pads and samples are exact.

        Args:
            position_mm: Of the segments, z above the pads.
            energy_MeV: Deposited in each.
            loss_MeV_cm: Along each.

        Returns:
            Electrons; what drifts past the pads' or the samples' edges is lost.
        """
        t = position_mm[:, 2] / self.velocity_mm_us
        share = recombination(loss_MeV_cm, self.field_kV_cm, law=self.law)
        electrons = 1e6 * energy_MeV / ENERGY_PER_PAIR_eV * share * jnp.exp(-t / self.lifetime_us)
        # A segment at the pads does not spread: a width of a thousandth of a millimetre.
        across = jnp.sqrt(2.0 * self.diffusion_across_mm2_us * jnp.clip(t, 0.0) + 1e-6)
        along = jnp.sqrt(2.0 * self.diffusion_along_mm2_us * jnp.clip(t, 0.0) + 1e-6)
        in_x = _within(self.x_edges_mm, position_mm[:, 0], across)
        in_y = _within(self.y_edges_mm, position_mm[:, 1], across)
        in_time = _within(self.time_edges_us, t, along / self.velocity_mm_us)
        return jnp.einsum("s,sx,sy,st->xyt", electrons, in_x, in_y, in_time)

    def read(
        self,
        position_mm: Float[Array, "segment 3"],
        energy_MeV: Float[Array, " segment"],
        loss_MeV_cm: Float[Array, " segment"],
        *,
        key: Key,
    ) -> Float[Array, "x y time"]:
        r"""One reading: the mean, with the fluctuation of its electrons and the noise.

        Both are Gaussian, so that a reading with the same key is a smooth function of everything.

        Args:
            position_mm: Of the segments.
            energy_MeV: Deposited in each.
            loss_MeV_cm: Along each.
            key: Random key.

        Returns:
            Electrons.
        """
        mean = self.drifted(position_mm, energy_MeV, loss_MeV_cm)
        return mean + jnp.sqrt(mean + self.noise**2) * jax.random.normal(key, mean.shape)


def _within(edges: Array, centre: Array, width: Array) -> Float[Array, "segment cell"]:
    """Shares of Gaussians between edges."""
    away = (edges - centre[:, None]) / width[:, None]
    return jnp.diff(norm.cdf(away), axis=1)
