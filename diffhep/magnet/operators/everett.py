r"""Everett functions: how much of a Preisach density lies between two reversals.

$E(\alpha,\beta) = \int_\beta^\alpha\mathrm da\int_\beta^a\mathrm db\,\mu(a,b)$ for
$\alpha\ge\beta$, where $\mu(a, b)$ is the density of relays that switch up at $a$ and down at $b$.

Reference:
    D. H. Everett, Trans. Faraday Soc. 51 (1955) 1551; I. D. Mayergoyz, Mathematical Models of
    Hysteresis, Springer 1991.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Count, Scalar

__citations__ = ("doi:10.1039/TF9555101551", "doi:10.1007/978-1-4612-3028-1")


class AbstractEverett(eqx.Module):
    """An Everett function."""

    @abc.abstractmethod
    def __call__(self, alpha: Scalar, beta: Scalar) -> Scalar:
        r"""$E(\alpha, \beta)$ in the unit of the output, for $\alpha\ge\beta$."""


class UniformEverett(AbstractEverett):
    r"""A density that is the same everywhere: $E = \mu(\alpha-\beta)^2/2$.

    On the way from the demagnetised state the output is $2\mu u^2$. A loop of amplitude $U$ has the
    remanence $\mu U^2$ and the area $\frac83\mu U^3$: Rayleigh's law.

    Attributes:
        density: $\mu$, output per square of the input.
    """

    density: Scalar = eqx.field(converter=jnp.asarray)

    def __call__(self, alpha: Scalar, beta: Scalar) -> Scalar:
        r"""$\mu(\alpha-\beta)^2/2$."""
        return 0.5 * self.density * (alpha - beta) ** 2


class CellEverett(AbstractEverett):
    r"""A density that is constant in each cell of a grid, integrated exactly; nothing outside.

    `cell_everett` makes one of the masses of the cells.

    Attributes:
        nodes: Edges of the cells along both axes, rising.
        rectangles: Mass off the diagonal of $a$ below one node and $b$ above another.
        triangles: Mass of each triangle $a\ge b$ on the diagonal.
        triangles_below: Mass of all of them below a node.
    """

    nodes: Float[Array, " node"]
    rectangles: Float[Array, "node node"]
    triangles: Float[Array, " cell"]
    triangles_below: Float[Array, " node"]

    def __call__(self, alpha: Scalar, beta: Scalar) -> Scalar:
        """Rectangles below the diagonal, and the triangles on it."""
        i, s = self._locate(alpha)
        j, t = self._locate(beta)
        table = self.rectangles
        rectangles = (1 - s) * ((1 - t) * table[i, j] + t * table[i, j + 1]) + s * (
            (1 - t) * table[i + 1, j] + t * table[i + 1, j + 1]
        )
        between = self.triangles_below[i] - self.triangles_below[j + 1]
        cut = self.triangles[i] * s**2 + self.triangles[j] * (1 - t) ** 2
        same = self.triangles[i] * jnp.maximum(s - t, 0.0) ** 2
        return jnp.where(i > j, rectangles + between + cut, same)

    def _locate(self, x: Scalar) -> tuple[Count, Scalar]:
        """The cell of an input and the place in it from 0 to 1."""
        x = jnp.clip(x, self.nodes[0], self.nodes[-1])
        # Comparisons with all nodes at once are faster than a search in a loop.
        passed = jnp.sum(self.nodes <= x)
        i = jnp.clip(passed - 1, 0, self.nodes.size - 2)
        return i, (x - self.nodes[i]) / (self.nodes[i + 1] - self.nodes[i])


def cell_everett(
    nodes: Float[Array | np.ndarray, " node"], mass: Float[Array | np.ndarray, "cell cell"]
) -> CellEverett:
    r"""The Everett function of masses in the cells of a grid; differentiable in them.

    Args:
        nodes: Edges of the cells along both axes, rising.
        mass: $\int\mu$ over the cell of $a$ in the interval i and $b$ in the interval j, in the
            unit of the output; only $j\le i$ is used, and of $i = j$ it is the triangle's.

    Returns:
        The Everett function.

    Raises:
        ConfigError: The nodes do not rise.
        ShapeError: The shapes do not fit each other.
    """
    nodes, mass = jnp.asarray(nodes, dtype=float), jnp.asarray(mass, dtype=float)
    n = nodes.shape[0] - 1
    shape = f"shape {mass.shape}"
    require_shape(n >= 1 and mass.shape == (n, n), "mass", f"be {n} x {n}", shape)
    known = concrete(nodes)
    if known is not None:
        require(bool((np.diff(known) > 0).all()), "nodes", "rise", known.tolist())
    off_diagonal = jnp.tril(mass, -1)
    sums = jnp.cumsum(jnp.cumsum(off_diagonal[:, ::-1], axis=1)[:, ::-1], axis=0)
    triangles = jnp.diagonal(mass)
    below = jnp.append(0.0, jnp.cumsum(triangles))
    return CellEverett(nodes, jnp.pad(sums, ((1, 0), (0, 1))), triangles, below)
