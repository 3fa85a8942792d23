r"""Drell-Yan pairs with contact interactions, quadratic in two coefficients.

$\frac{d\sigma}{ds\,dc}\sim\sum_{q,h,h'} L_q(s)\,s\,
\Big|\frac{Q_qQ_\ell e^2}{s}+\frac{g^q_h g^\ell_{h'}}{s-m_Z^2+im_Z\Gamma_Z}
+\frac{C_{hh'}}{\Lambda^2}\Big|^2(1\pm c)^2$, the upper sign for equal helicities.
"""

from functools import cache, partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.problems.ee_mumu import SIN2_THETA_W, Z_MASS_GEV, Z_WIDTH_GEV
from diffhep_sbi.simulator import Density

__citations__ = ("arXiv:1609.08157", "arXiv:1805.00020")

E_SQUARED = 4.0 * np.pi / 128.0
"""Squared electric charge at the mass of the Z."""

BEAM_ENERGY_TEV = 13.0
LOWEST_MASS_TEV, HIGHEST_MASS_TEV = 0.2, 3.0

_Z_MASS_TEV, _Z_WIDTH_TEV = 1e-3 * Z_MASS_GEV, 1e-3 * Z_WIDTH_GEV


class _Channel(NamedTuple):
    """Quark flavour and helicities of quark and lepton."""

    photon: float
    z: float
    luminosity: float
    falloff: float
    is_equal: bool
    coefficient: int
    """0 for left-left, 1 for right-right, 2 for what no coefficient changes."""


class _Table(NamedTuple):
    r"""Of every channel at the nodes: $d\sigma/d\ln m = f\,(a + 2bC + C^2)$, and its integrals."""

    log_mass: Float[np.ndarray, " node"]
    flux: Float[np.ndarray, "channel node"]
    known: Float[np.ndarray, "power channel node"]
    totals: Float[np.ndarray, "power channel"]


def _z_coupling(charge: float, isospin: float, helicity: str) -> float:
    third = isospin if helicity == "L" else 0.0
    return (third - charge * SIN2_THETA_W) / np.sqrt(SIN2_THETA_W * (1.0 - SIN2_THETA_W))


def _channels() -> list[_Channel]:
    # Luminosities of the model: twice as many up as down quarks, and harder ones.
    quarks = ((2 / 3, 1 / 2, 2.0, 5.0), (-1 / 3, -1 / 2, 1.0, 6.0))
    return [
        _Channel(
            photon=-charge * E_SQUARED,
            z=E_SQUARED * _z_coupling(charge, isospin, quark) * _z_coupling(-1.0, -0.5, lepton),
            luminosity=amount,
            falloff=falloff,
            is_equal=quark == lepton,
            coefficient={"LL": 0, "RR": 1}.get(quark + lepton, 2),
        )
        for charge, isospin, amount, falloff in quarks
        for quark in "LR"
        for lepton in "LR"
    ]


_CHANNELS = _channels()
_SIGNS = np.array([1.0 if channel.is_equal else -1.0 for channel in _CHANNELS])
_COEFFICIENTS = np.array([channel.coefficient for channel in _CHANNELS])


@cache
def _table(n_nodes: int) -> _Table:
    log_mass = np.linspace(np.log(LOWEST_MASS_TEV), np.log(HIGHEST_MASS_TEV), n_nodes)
    mass = np.exp(log_mass)
    s, root_tau = mass**2, mass / BEAM_ENERGY_TEV
    propagator = 1.0 / (s - _Z_MASS_TEV**2 + 1j * _Z_MASS_TEV * _Z_WIDTH_TEV)
    amplitudes = np.stack([c.photon / s + c.z * propagator for c in _CHANNELS])
    # One s of the formula and 2s of ds = 2s d ln m.
    flux = np.stack(
        [c.luminosity * root_tau**-2.6 * (1 - root_tau) ** c.falloff * 2 * s**2 for c in _CHANNELS]
    )
    known = np.stack([np.abs(amplitudes) ** 2, 2 * np.real(amplitudes), np.ones_like(flux)])
    return _Table(log_mass, flux, known, np.trapezoid(flux * known, log_mass, axis=-1))


def _powers(theta: Float[Array, " param"]) -> Float[Array, "power channel"]:
    """1, C and C squared of every channel."""
    contact = jnp.append(theta, 0.0)[_COEFFICIENTS]
    return jnp.stack([jnp.ones_like(contact), contact, contact**2])


class DrellYan(AbstractProblem):
    r"""Mass and angle of a lepton pair; $\theta = (C_{LL}, C_{RR})/\Lambda^2$ in TeV$^{-2}$.

    The event is (m in TeV, cosine of the lepton to the quark); flavour and helicities are latent.
    The parton luminosity is an analytic model, with $\tau = s/E^2$
    $L_q\propto n_q\,\tau^{-1.3}(1-\sqrt\tau)^{a_q}$. The density in $\ln m$ is linear between
    nodes, so that sampling, normalisation and the quadratic dependence on theta hold to rounding.

    Attributes:
        n_nodes: Nodes in $\ln m$ from 0.2 to 3 TeV.

    Reference:
        M. Farina et al., arXiv:1609.08157, for contact interactions in Drell-Yan pairs.
    """

    n_nodes: int = eqx.field(
        static=True, converter=partial(as_integer, name="n_nodes", low=2), default=257
    )

    @property
    def simulator(self) -> Density:
        """Channel, mass and angle."""
        return Density(_Draw(self), _Joint(self))

    def cross_sections(self, theta: Float[Array, " param"]) -> Float[Array, " channel"]:
        """The integral of every channel over mass and angle, in units of the model."""
        return jnp.sum(_table(self.n_nodes).totals * _powers(theta), axis=0)

    def differential(
        self, x: Float[Array, " feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " channel"]:
        r"""$d\sigma/(dm\,dc)$ of every channel at an event, exactly quadratic in theta."""
        mass, cosine = x[0], x[1]
        table = _table(self.n_nodes)
        place = (jnp.log(mass) - table.log_mass[0]) / (table.log_mass[1] - table.log_mass[0])
        index = jnp.clip(jnp.floor(place).astype(int), 0, self.n_nodes - 2)
        values = jnp.asarray(table.flux * table.known)
        low, high = values[..., index], values[..., index + 1]
        between = low + (place - index) * (high - low)
        angular = 0.375 * (1.0 + _SIGNS * cosine) ** 2
        return jnp.sum(between * _powers(theta), axis=0) / mass * angular

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The logarithm of the normalised cross-section."""
        total = jnp.sum(self.cross_sections(theta))
        return jnp.log(jnp.sum(self.differential(x, theta))) - jnp.log(total)


class _Draw(eqx.Module):
    problem: DrellYan

    def __call__(self, theta: Float[Array, " param"], key: Key) -> tuple[Array, Array]:
        keys = jax.random.split(key, 3)
        total = self.problem.cross_sections(theta)
        channel = jax.random.categorical(keys[0], jnp.log(total))
        table = _table(self.problem.n_nodes)
        powers = _powers(theta)[:, channel]
        values = jnp.asarray(table.flux * table.known)[:, channel]
        density = jnp.sum(powers[:, None] * values, axis=0)
        nodes, u = jnp.asarray(table.log_mass), jax.random.uniform(keys[1], dtype=float)
        log_mass = _invert_trapezoids(density, nodes, u)
        cube_root = jnp.cbrt(jax.random.uniform(keys[2], dtype=float))
        cosine = jnp.asarray(_SIGNS)[channel] * (2.0 * cube_root - 1.0)
        return jnp.stack([jnp.exp(log_mass), cosine]), channel


def _invert_trapezoids(
    values: Float[Array, " node"], nodes: Float[Array, " node"], u: Float[Array, ""]
) -> Float[Array, ""]:
    """Where the integral of a density that is linear between equal nodes is u of its whole."""
    step = nodes[1] - nodes[0]
    areas = 0.5 * step * (values[1:] + values[:-1])
    ends = jnp.cumsum(areas)
    rest = u * ends[-1]
    index = jnp.clip(jnp.searchsorted(ends, rest, side="right"), 0, areas.size - 1)
    rest = rest - (ends[index] - areas[index])
    low, slope = values[index], (values[index + 1] - values[index]) / step
    # The root of low t + slope t^2 / 2 = rest, in the form that is accurate for any slope.
    root = jnp.sqrt(jnp.maximum(low**2 + 2.0 * slope * rest, 0.0))
    return nodes[index] + jnp.clip(2.0 * rest / (low + root), 0.0, step)


class _Joint(eqx.Module):
    problem: DrellYan

    def __call__(self, theta: Float[Array, " param"], x: Array, channel: Array) -> Scalar:
        differential = self.problem.differential(x, theta)[channel]
        return jnp.log(differential) - jnp.log(jnp.sum(self.problem.cross_sections(theta)))
