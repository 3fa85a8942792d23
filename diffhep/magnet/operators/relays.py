"""Preisach on a mesh: a sum of relays, each of which remembers its own side."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1007/BF01349418", "arXiv:2202.07747")


class RelayPreisach(AbstractOperator[Float[Array, " relay"]]):
    r"""$y = \sum_i w_i R_i(u)$ with relays that are $+1$ from $u\ge a_i$ until $u\le b_i$.

    Where a density is approximated so, the output rises in jumps. The state is the relays'
    sides, +1 or -1.

    Attributes:
        up: $a_i$, in the unit of the input.
        down: $b_i\le a_i$.
        weight: $w_i$, in the unit of the output.

    Raises:
        ConfigError: A relay switches down above where it switches up.
        ShapeError: The three are not equally long.

    Reference:
        F. Preisach, Z. Phys. 94 (1935) 277.
    """

    up: Float[Array, " relay"] = eqx.field(converter=jnp.asarray)
    down: Float[Array, " relay"] = eqx.field(converter=jnp.asarray)
    weight: Float[Array, " relay"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        shapes = f"shapes {self.up.shape}, {self.down.shape} and {self.weight.shape}"
        good = self.up.ndim == 1 and self.up.shape == self.down.shape == self.weight.shape
        require_shape(good, "weight", "have one number for every relay", shapes)
        up, down = concrete(self.up), concrete(self.down)
        if up is not None and down is not None and not (down <= up).all():
            index = int(np.argmax(down > up))
            rule = "be nowhere above `up`"
            require(False, "down", rule, f"{down[index]} above {up[index]} at index {index}")

    def rest(self, u0: Scalar) -> Float[Array, " relay"]:
        r"""After one sweep from the demagnetised state, in which relays with $a + b < 0$ are up."""
        demagnetised = jnp.where(self.up + self.down < 0.0, 1.0, -1.0).astype(u0.dtype)
        return self._switched(demagnetised, u0)

    def step(
        self, state: Float[Array, " relay"], u: Scalar, dt: Scalar
    ) -> tuple[Float[Array, " relay"], Scalar]:
        """Switch what the input has reached."""
        relays = self._switched(state, u)
        return relays, self.weight @ relays

    def _switched(self, relays: Float[Array, " relay"], u: Scalar) -> Float[Array, " relay"]:
        return jnp.where(u >= self.up, 1.0, jnp.where(u <= self.down, -1.0, relays))


def relay_mesh(low: float, high: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds of relays at the centres of a triangular mesh.

    Args:
        low: Lowest threshold of the mesh's edge.
        high: Highest.
        n: Intervals along an axis, 1 or more; relays with both thresholds in the same one are
            reversible jumps at its centre.

    Returns:
        Thresholds up and down of n (n + 1) / 2 relays.

    Raises:
        ConfigError: `n` is no positive integer, or the limits do not rise.
    """
    as_integer(n, "n", low=1)
    require(low < high, "high", f"be above {low}", high)
    centres = low + (high - low) * (np.arange(n) + 0.5) / n
    i, j = np.tril_indices(n)
    return centres[i], centres[j]
