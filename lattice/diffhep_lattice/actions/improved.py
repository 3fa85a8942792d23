"""Actions of plaquettes and rectangles: Symanzik's at tree level, Iwasaki's and DBW2."""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import as_scalar, require_real, require_type, require_x64
from diffhep.core.citations import cites
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.actions.boundary import check_boundary, loop_weights
from diffhep_lattice.actions.plaquettes import plaquette_force, plaquette_sum
from diffhep_lattice.actions.rectangles import rectangle_force, rectangle_sum
from diffhep_lattice.groups import SUN, AbstractGroup
from diffhep_lattice.links import lattice_of_links

__citations__ = ("doi:10.1007/BF01206178",)

_SYMANZIK_C1 = -1.0 / 12.0
_IWASAKI_C1 = -0.331
_DBW2_C1 = -1.4088


class ImprovedAction(AbstractAction):
    r"""Plaquettes and rectangles of SU(N) in two or more dimensions.

    $S(U) = -\frac{\beta}{N}\big[c_0\sum_{x,\mu<\nu}\mathrm{Re\,tr}\,P_{\mu\nu}(x)
    + c_1\sum_{x,\mu\ne\nu}\mathrm{Re\,tr}\,R_{\mu\nu}(x)\big]$ with $c_0 = 1 - 8 c_1$ and the
    rectangles $R$ of two links along $\mu$ and one along $\nu$. Open boundaries are those of
    `WilsonAction`, for both kinds of loops.

    Attributes:
        beta: Inverse coupling, dimensionless, at least 0.
        c1: Weight of the rectangles, dimensionless.
        group: The gauge group, `SUN(n)`.
        boundary: "periodic" or "open" in time, the last axis.

    Raises:
        ConfigError: `beta` is no finite number of at least 0, `c1` is no finite number, `group` is
            no SU(N), or there is no such `boundary`.
        ShapeError: `beta` or `c1` is an array with axes.

    Reference:
        M. Lüscher, P. Weisz, Commun. Math. Phys. 97 (1985) 59.
    """

    beta: Scalar = eqx.field(converter=partial(as_scalar, name="beta"))
    c1: Scalar = eqx.field(converter=partial(as_scalar, name="c1"))
    group: AbstractGroup
    boundary: str = eqx.field(static=True, default="periodic")

    def __check_init__(self) -> None:
        require_real(self.beta, "beta", "be finite and at least 0", low=0.0)
        require_real(self.c1, "c1", "be finite")
        require_type(self.group, SUN, "group", "be SU2(), SU3() or SUN(n)")
        check_boundary(self.boundary)

    def __call__(self, U: Shaped[Array, "mu ..."]) -> Scalar:
        """The action of one configuration, computed in double precision whatever its dtype.

        Args:
            U: Links of shape (mu, N, N, *site).

        Returns:
            $S(U)$, dimensionless, float64.

        Raises:
            ShapeError: `U` is no gauge field of the group.
            ConfigError: `jax_enable_x64` is off.
        """
        require_x64("the sum of the action")
        lattice_of_links(U, self.group.n_colors)
        weights = loop_weights(self.boundary, U.shape[-1])
        beta, c1 = self.beta.astype(jnp.float64), self.c1.astype(jnp.float64)
        loops = (1.0 - 8.0 * c1) * plaquette_sum(U, weights) + c1 * rectangle_sum(U, weights)
        return -beta / self.group.n_colors * loops

    def force(self, U: Shaped[Array, "mu ..."]) -> Float[Array, "mu ..."]:
        """The gradient of the action along the Lie algebra, about three times Wilson's in cost.

        Args:
            U: Links of shape (mu, N, N, *site).

        Returns:
            The gradient in the precision of `U`, shape (mu, algebra, *site), dimensionless.

        Raises:
            ShapeError: `U` is no gauge field of the group.
        """
        lattice_of_links(U, self.group.n_colors)
        weights = loop_weights(self.boundary, U.shape[-1])
        beta, c1 = self.beta.astype(U.real.dtype), self.c1.astype(U.real.dtype)
        loops = (1.0 - 8.0 * c1) * plaquette_force(U, weights) + c1 * rectangle_force(U, weights)
        return 0.5 / self.group.n_colors * beta * loops


@cites("doi:10.1007/BF01206178", "doi:10.1016/0550-3213(83)90595-3")
def symanzik(
    beta: float | Scalar, group: AbstractGroup, boundary: str = "periodic"
) -> ImprovedAction:
    r"""The action of Symanzik improved at tree level, $c_1 = -\frac1{12}$.

    Args:
        beta: Inverse coupling in the normalisation of `ImprovedAction`.
        group: The gauge group, `SUN(n)`.
        boundary: "periodic" or "open".

    Returns:
        The action.

    Reference:
        P. Weisz, Nucl. Phys. B 212 (1983) 1.
    """
    return ImprovedAction(beta=beta, c1=_SYMANZIK_C1, group=group, boundary=boundary)


@cites("arXiv:1111.7054")
def iwasaki(
    beta: float | Scalar, group: AbstractGroup, boundary: str = "periodic"
) -> ImprovedAction:
    r"""The renormalisation-group improved action of Iwasaki, $c_1 = -0.331$.

    Args:
        beta: Inverse coupling in the normalisation of `ImprovedAction`.
        group: The gauge group, `SUN(n)`.
        boundary: "periodic" or "open".

    Returns:
        The action.

    Reference:
        Y. Iwasaki, arXiv:1111.7054.
    """
    return ImprovedAction(beta=beta, c1=_IWASAKI_C1, group=group, boundary=boundary)


@cites("arXiv:hep-lat/9911033")
def dbw2(beta: float | Scalar, group: AbstractGroup, boundary: str = "periodic") -> ImprovedAction:
    r"""The doubly blocked Wilson action in two couplings, $c_1 = -1.4088$.

    Args:
        beta: Inverse coupling in the normalisation of `ImprovedAction`.
        group: The gauge group, `SUN(n)`.
        boundary: "periodic" or "open".

    Returns:
        The action.

    Reference:
        QCD-TARO collaboration, arXiv:hep-lat/9911033.
    """
    return ImprovedAction(beta=beta, c1=_DBW2_C1, group=group, boundary=boundary)
