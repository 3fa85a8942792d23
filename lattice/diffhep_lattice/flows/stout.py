r"""Stout couplings: gauge-equivariant maps of SU(N) fields with exact Jacobian, in any dimension.

The links of one direction on the sites of one parity move along the gradient of the plaquettes they
are part of, $U' = e^{-i\rho T_a F_a(U)}\,U$ with
$F_a = 2\,\mathrm{Im\,tr}\,T_a \sum P$ over the plaquettes that start with the link: an Euler step
of length $\rho$ of the gradient flow. The staples of these links hold none of them, so each link's
map is its own and the Jacobian is one $(N^2-1)\times(N^2-1)$ block per link. One parameter moves a
link; the map commutes with gauge transformations and with the symmetries that keep the mask.

Reference:
    C. Morningstar, M. Peardon, arXiv:hep-lat/0311018; as couplings, A. Bulgarelli, E. Cellini,
    A. Nada, arXiv:2412.00200.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from diffhep.core.checks import as_integer, require_shape
from diffhep.core.typing import Scalar
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.link_moves import AbstractVelocity, move, slopes_of_loops, unmove
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups.algebra import algebra_coefficients
from diffhep_lattice.groups.matrices import dagger_multiply, multiply, multiply_dagger
from diffhep_lattice.links import lattice_of_links

__citations__ = ("arXiv:hep-lat/0311018", "arXiv:2412.00200")

LARGEST_STEP = 0.75
r"""The step is kept below this over the number of staples, 1/8 in four dimensions."""

Links = Complex[Array, "mu row column *site"]


class StoutLayer(AbstractBijection):
    r"""Stout couplings of every direction and parity in turn.

    $\rho = \rho_{\max}\tanh(r/\rho_{\max})$ with the raw parameter $r$ and
    $\rho_{\max} = 0.75/2(d-1)$, below which the map of every link is one to one.

    Attributes:
        raw: Raw steps $r$ per direction and parity; zero makes the identity.
    """

    raw: Float[Array, "mu 2"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        good = self.raw.ndim >= 2 and self.raw.shape[-1] == 2 and self.raw.shape[-2] >= 2
        require_shape(good, "raw", "have shape (mu, 2)", f"shape {self.raw.shape}")

    @property
    def steps(self) -> Float[Array, "mu 2"]:
        r"""The steps $\rho$ in units of flow time."""
        largest = LARGEST_STEP / (2 * (self.raw.shape[-2] - 1))
        return largest * jnp.tanh(self.raw / largest)

    def forward_and_log_det(self, U: Links) -> tuple[Links, Scalar]:
        """The field after all moves, and the log-determinant."""
        return self._scan(U, move, reverse=False)

    def inverse_and_log_det(self, U: Links) -> tuple[Links, Scalar]:
        """The field before the moves, by fixed-point iteration, and the inverse's log-determinant.

        Derivatives come from the implicit function theorem.
        """
        return self._scan(U, unmove, reverse=True)

    def _scan(
        self, U: Links, function: Callable[..., tuple[Array, Array]], *, reverse: bool
    ) -> tuple[Links, Scalar]:
        lattice = lattice_of_links(U)
        rule = f"have the shape ({lattice.dimension}, 2) for these links"
        fits = self.raw.shape == (lattice.dimension, 2)
        require_shape(fits, "raw", rule, f"shape {self.raw.shape}")
        lattice.require_divisible(2, "the parities of stout couplings")
        links = jnp.moveaxis(U, 0, 2).reshape(*U.shape[1:3], -1)

        def coupling(links: Array, x: tuple[_Neighbours, Scalar]) -> tuple[Array, Scalar]:
            at, step = x
            velocity = StapleVelocity(_staples(links, at), step)
            moved, log_det = function(links[:, :, at.active], velocity)
            return links.at[:, :, at.active].set(moved), jnp.sum(log_det)

        steps = self.steps.astype(U.real.dtype).ravel()
        links, log_dets = jax.lax.scan(
            coupling, links, (_neighbours(lattice), steps), reverse=reverse
        )
        shape = (*U.shape[1:3], U.shape[0], *U.shape[3:])
        return jnp.moveaxis(links.reshape(shape), 2, 0), jnp.sum(log_dets)


def stout_layer(dimension: int) -> StoutLayer:
    """Stout couplings that begin as the identity.

    Args:
        dimension: Number of directions, at least 2.

    Returns:
        The layer; a fit may change its steps.

    Raises:
        ConfigError: `dimension` is no integer of at least 2.
    """
    dimension = as_integer(dimension, "dimension", low=2)
    return StoutLayer(jnp.zeros((dimension, 2)))


class _Neighbours(NamedTuple):
    r"""Where the links of a coupling are among all links, direction by direction, site by site.

    `active` are the links that move, one set per direction and parity. The others hold, for every
    other direction $\nu$, $U_\nu(x)$, $U_\nu(x+\hat\mu)$, $U_\mu(x+\hat\nu)$, and
    $U_\nu(x-\hat\nu)$, $U_\nu(x+\hat\mu-\hat\nu)$, $U_\mu(x-\hat\nu)$.
    """

    active: Int[np.ndarray, "coupling site"]
    up: Int[np.ndarray, "coupling 3 nu site"]
    down: Int[np.ndarray, "coupling 3 nu site"]


def _neighbours(lattice: Lattice) -> _Neighbours:
    number = np.arange(lattice.volume).reshape(lattice.shape)
    odd = lattice.parity().ravel()
    tables: list[tuple] = []
    for mu in range(lattice.dimension):
        ahead = np.roll(number, -1, mu)
        others = [nu for nu in range(lattice.dimension) if nu != mu]
        first, second = np.array(others) * lattice.volume, mu * lattice.volume

        def corners(step: int, mu: int = mu, others: list[int] = others) -> list[np.ndarray]:
            """X and x + mu displaced by a step along every other direction."""
            starts = (number, np.roll(number, -1, mu))
            return [np.stack([np.roll(x, -step, nu).ravel() for nu in others]) for x in starts]

        here, front = (np.broadcast_to(x.ravel(), (len(others), x.size)) for x in (number, ahead))
        (above, _), (below, below_front) = corners(1), corners(-1)
        offset = first[:, None]
        up = np.stack([offset + here, offset + front, second + above])
        down = np.stack([offset + below, offset + below_front, second + below])
        for sites in (~odd, odd):
            tables.append((second + np.flatnonzero(sites), up[..., sites], down[..., sites]))
    return _Neighbours(*(np.stack(table) for table in zip(*tables, strict=True)))


def _staples(links: Array, at: _Neighbours) -> Complex[Array, "row column site"]:
    r"""The sums of what closes each moving link to the plaquettes that start with it.

    $\sum_\nu U_\nu(x+\hat\mu)U_\mu^\dagger(x+\hat\nu)U_\nu^\dagger(x)
    + U_\nu^\dagger(x+\hat\mu-\hat\nu)U_\mu^\dagger(x-\hat\nu)U_\nu(x-\hat\nu)$.
    """
    here, front, above = (links[:, :, at.up[i]] for i in range(3))
    up = multiply_dagger(multiply_dagger(front, above, axis=0), here, axis=0)
    behind, behind_front, beside = (links[:, :, at.down[i]] for i in range(3))
    down = dagger_multiply(multiply(beside, behind_front, axis=0), behind, axis=0)
    return jnp.sum(up + down, axis=2)


class StapleVelocity(AbstractVelocity):
    """The velocity of links towards their staples."""

    staples: Complex[Array, "row column site"]
    step: Scalar

    def __call__(self, links: Array) -> Array:
        """Coefficients of the move of each link."""
        return algebra_coefficients(self._loops(links), axis=0)

    def with_slopes(self, links: Array) -> tuple[Array, Array]:
        """The same and their slopes."""
        loops = self._loops(links)
        return algebra_coefficients(loops, axis=0), -slopes_of_loops(loops)

    def _loops(self, links: Array) -> Array:
        return -self.step * multiply(links, self.staples, axis=0)
