r"""The Jiles-Atherton model of ferromagnetic hysteresis.

Reference:
    D. C. Jiles, D. L. Atherton, J. Magn. Magn. Mater. 61 (1986) 48; the variant in which the
    irreversible part follows the effective field, with no negative susceptibility.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from diffhep.core.checks import as_integer, concrete, require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.path import along_path

__citations__ = ("doi:10.1016/0304-8853(86)90066-1",)

MU_0 = 1.25663706127e-6
"""Vacuum permeability in T m/A (CODATA 2022)."""

_SMALL = 1e-2
"""Below this the Langevin function is taken from its series, whose next term is 1e-16 of it."""


class JilesAthertonState(NamedTuple):
    """Field strength and magnetisation.

    Attributes:
        h_A_m: H in A/m.
        m_A_m: M in A/m.
    """

    h_A_m: Scalar
    m_A_m: Scalar


class JilesAtherton(AbstractOperator[JilesAthertonState]):
    r"""Flux density in T of a field strength in A/m, $B = \mu_0(H + M)$.

    With $H_e = H + \alpha M$, $M_{an} = M_s[\coth(H_e/a) - a/H_e]$ and
    $M = cM_{an} + (1-c)M_{irr}$: $\mathrm dM_{irr}/\mathrm dH_e = (M_{an}-M_{irr})/(k\delta)$,
    where $\delta = \mathrm{sgn}\,\mathrm dH$, and 0 where it would be negative. Then
    $\mathrm dM/\mathrm dH = X/(1-\alpha X)$ with
    $X = (1-c)\,\mathrm dM_{irr}/\mathrm dH_e + c\,\mathrm dM_{an}/\mathrm dH_e$. Independent of the
    rate.

    Attributes:
        saturation_A_m: $M_s$.
        shape_A_m: $a$.
        coupling: $\alpha$, dimensionless.
        pinning_A_m: $k$.
        reversibility: $c$, from 0 to below 1.
        n_substeps: Steps of fifth order between two inputs.

    Raises:
        ConfigError: A parameter is outside its range.
    """

    saturation_A_m: Scalar = eqx.field(converter=jnp.asarray)
    shape_A_m: Scalar = eqx.field(converter=jnp.asarray)
    coupling: Scalar = eqx.field(converter=jnp.asarray)
    pinning_A_m: Scalar = eqx.field(converter=jnp.asarray)
    reversibility: Scalar = eqx.field(converter=jnp.asarray)
    n_substeps: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        as_integer(self.n_substeps, "n_substeps", low=1)
        for name in ("saturation_A_m", "shape_A_m", "pinning_A_m"):
            known = concrete(getattr(self, name))
            if known is not None:
                require(bool(0 < known < float("inf")), name, "be positive", float(known))
        known = concrete(self.reversibility)
        if known is not None:
            rule = "be at least 0 and below 1"
            require(bool(0 <= known < 1), "reversibility", rule, float(known))

    def rest(self, u0: Scalar) -> JilesAthertonState:
        """On the virgin curve from the demagnetised state."""
        zero = jnp.zeros_like(u0)
        return self.step(JilesAthertonState(zero, zero), u0, zero)[0]

    def step(
        self, state: JilesAthertonState, u: Scalar, dt: Scalar
    ) -> tuple[JilesAthertonState, Scalar]:
        """Along the field strength to the next one."""
        direction = jnp.where(u < state.h_A_m, -1.0, 1.0)

        def slope(h: Scalar, m: Scalar) -> Scalar:
            return self._susceptibility(h, m, direction)

        m = along_path(slope, state.m_A_m, state.h_A_m, u, self.n_substeps)
        return JilesAthertonState(u, m), MU_0 * (u + m)

    def _susceptibility(self, h: Scalar, m: Scalar, direction: Scalar) -> Scalar:
        x = (h + self.coupling * m) / self.shape_A_m
        anhysteretic = self.saturation_A_m * langevin(x)
        c = self.reversibility
        # M_an - M_irr = (M_an - M)/(1 - c).
        lag = jnp.maximum(direction * (anhysteretic - m) / (1.0 - c), 0.0)
        reversible = self.saturation_A_m / self.shape_A_m * langevin_slope(x)
        total = (1.0 - c) * lag / self.pinning_A_m + c * reversible
        return total / (1.0 - self.coupling * total)


def langevin(x: Scalar) -> Scalar:
    r"""$\coth x - 1/x$, by its series at small x."""
    small = jnp.abs(x) < _SMALL
    safe = jnp.where(small, 1.0, x)
    series = x / 3.0 * (1.0 - x**2 / 15.0 * (1.0 - 2.0 * x**2 / 21.0 * (1.0 - x**2 / 10.0)))
    return jnp.where(small, series, 1.0 / jnp.tanh(safe) - 1.0 / safe)


def langevin_slope(x: Scalar) -> Scalar:
    r"""$1/x^2 - 1/\sinh^2x$, the slope of the Langevin function, by its series at small x."""
    small = jnp.abs(x) < _SMALL
    safe = jnp.where(small, 1.0, x)
    # The series of L: x/3 - x^3/45 + 2 x^5/945 - x^7/4725.
    series = 1.0 / 3.0 - x**2 / 15.0 + 2.0 * x**4 / 189.0 - 7.0 * x**6 / 4725.0
    # Through exp(-2|x|), as sinh overflows.
    decay = jnp.exp(-2.0 * jnp.abs(safe))
    inverse_sinh_squared = 4.0 * decay / (-jnp.expm1(-2.0 * jnp.abs(safe))) ** 2
    return jnp.where(small, series, 1.0 / safe**2 - inverse_sinh_squared)
