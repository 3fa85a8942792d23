r"""The Bouc-Wen model: a differential equation in the displacement with a bounded memory.

Reference:
    Y.-K. Wen, J. Eng. Mech. Div. ASCE 102 (1976) 249.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import as_integer, concrete, require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.path import along_path

__citations__ = ("doi:10.1061/JMCEA3.0002106",)


class BoucWenState(NamedTuple):
    """Input and internal variable.

    Attributes:
        u: The input.
        z: The hysteretic variable.
    """

    u: Scalar
    z: Scalar


class BoucWen(AbstractOperator[BoucWenState]):
    r"""Elastic and hysteretic force: $y = k_e u + k_h z$.

    $\mathrm dz/\mathrm du = A - [\beta\,\mathrm{sgn}(z\,\mathrm du) + \gamma]\,|z|^n$.

    Independent of the rate. From $z = 0$ with $A = \beta + \gamma = 1$ the solution is
    $1 - e^{-u}$ for $n = 1$ and $\tanh u$ for $n = 2$. The right hand side has a kink where z
    changes its sign: a way that holds one is cut there, so that both parts are smooth.

    Attributes:
        a: $A$, dimensionless.
        beta: $\beta$, in units of $z^{-n}$.
        gamma: $\gamma$, likewise.
        exponent: $n\ge1$.
        elastic: $k_e$, output per input.
        hysteretic: $k_h$, output per $z$.
        n_substeps: Steps of fifth order between two inputs.

    Raises:
        ConfigError: The exponent is below 1, or there is no substep.
    """

    a: Scalar = eqx.field(converter=jnp.asarray)
    beta: Scalar = eqx.field(converter=jnp.asarray)
    gamma: Scalar = eqx.field(converter=jnp.asarray)
    exponent: Scalar = eqx.field(converter=jnp.asarray, default=1.0)
    elastic: Scalar = eqx.field(converter=jnp.asarray, default=0.0)
    hysteretic: Scalar = eqx.field(converter=jnp.asarray, default=1.0)
    n_substeps: int = eqx.field(static=True, default=4)

    def __check_init__(self) -> None:
        as_integer(self.n_substeps, "n_substeps", low=1)
        known = concrete(self.exponent)
        if known is not None:
            require(bool(known >= 1), "exponent", "be at least 1", float(known))

    def rest(self, u0: Scalar) -> BoucWenState:
        """After one sweep from no input and no memory."""
        zero = jnp.zeros_like(u0)
        return self.step(BoucWenState(zero, zero), u0, zero)[0]

    def step(self, state: BoucWenState, u: Scalar, dt: Scalar) -> tuple[BoucWenState, Scalar]:
        """Along the input, first to the change of sign if there is one, then on."""
        direction = jnp.where(u < state.u, -1.0, 1.0)
        way = jnp.abs(u - state.u)
        # With the input's direction as positive one equation serves both ways.
        opposed = jnp.minimum(direction * state.z, 0.0)
        aligned = jnp.maximum(direction * state.z, 0.0)
        to_zero = self._way_to_zero(opposed)
        first = jnp.minimum(way, to_zero)
        stays_opposed = (opposed < 0.0) & (to_zero >= way)
        opposed = along_path(self._slope_opposed, opposed, 0.0 * way, first, self.n_substeps)
        aligned = along_path(self._slope_aligned, aligned, first, way, self.n_substeps)
        z = direction * jnp.where(stays_opposed, opposed, aligned)
        return BoucWenState(u, z), self.elastic * u + self.hysteretic * z

    def _slope_aligned(self, _: Scalar, z: Scalar) -> Scalar:
        return self.a - (self.beta + self.gamma) * jnp.where(z >= 0.0, z, 0.0) ** self.exponent

    def _slope_opposed(self, _: Scalar, z: Scalar) -> Scalar:
        return self.a + (self.beta - self.gamma) * jnp.where(z <= 0.0, -z, 0.0) ** self.exponent

    def _way_to_zero(self, z: Scalar) -> Scalar:
        """How far the input goes until a negative z has vanished: a quadrature."""
        points = 0.5 * z * (1.0 + _NODES)
        slopes = jax.vmap(lambda at: self._slope_opposed(z, at))(points)
        return -0.5 * z * jnp.sum(_WEIGHTS / slopes)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
