"""A calibration curve: one output for every input, rising, with an inverse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.typing import Count, Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("doi:10.1137/0717021",)

_HALVINGS = 60
"""Of an interval, until its width is that of rounding."""


class Calibration(AbstractOperator[tuple[()]]):
    """A monotone cubic curve through points, straight beyond them. There is no memory.

    Attributes:
        u: Inputs of the points, rising.
        y: Outputs there, rising too.

    Raises:
        ConfigError: The points do not rise; the first that does not is named.
        ShapeError: There are fewer than two, or not as many outputs as inputs.

    Reference:
        F. N. Fritsch, R. E. Carlson, SIAM J. Numer. Anal. 17 (1980) 238.
    """

    u: Float[Array, " point"] = eqx.field(converter=jnp.asarray)
    y: Float[Array, " point"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        good = self.u.ndim == 1 and self.u.shape[0] >= 2 and self.y.shape == self.u.shape
        shapes = f"shapes {self.u.shape} and {self.y.shape}"
        require_shape(good, "y", "have one output for every one of two inputs or more", shapes)
        for name in ("u", "y"):
            known = concrete(getattr(self, name))
            if known is not None and not (np.diff(known) > 0).all():
                index = int(np.argmax(~(np.diff(known) > 0)))
                found = f"{known[index]}, then {known[index + 1]} at index {index + 1}"
                require(False, name, "rise from point to point", found)

    def rest(self, u0: Scalar) -> tuple[()]:
        """Nothing is remembered."""
        return ()

    def step(self, state: tuple[()], u: Scalar, dt: Scalar) -> tuple[tuple[()], Scalar]:
        """The curve."""
        return (), self.curve(u)

    def curve(self, u: Scalar) -> Scalar:
        """The output of an input."""
        slopes = self._slopes()
        inside = jnp.clip(u, self.u[0], self.u[-1])
        i = jnp.clip(jnp.searchsorted(self.u, inside, side="right") - 1, 0, self.u.size - 2)
        h = self.u[i + 1] - self.u[i]
        t = (inside - self.u[i]) / h
        # Hermite's basis.
        y = (
            self.y[i] * (1 + 2 * t) * (1 - t) ** 2
            + self.y[i + 1] * t**2 * (3 - 2 * t)
            + h * (slopes[i] * t * (1 - t) ** 2 - slopes[i + 1] * t**2 * (1 - t))
        )
        return y + jnp.where(u < inside, slopes[0], slopes[-1]) * (u - inside)

    def inverse(self, y: Scalar) -> Scalar:
        """The input of an output, by bisection; its derivative is that of the inverse function.

        Args:
            y: An output, within the points or beyond them.

        Returns:
            The input that has it.
        """
        slopes = self._slopes()
        inside = jnp.clip(y, self.y[0], self.y[-1])
        beyond = (y - inside) / jnp.where(y < inside, slopes[0], slopes[-1])

        def halve(_: Count, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
            middle = 0.5 * (ends[0] + ends[1])
            above = self.curve(middle) > inside
            return jnp.where(above, ends[0], middle), jnp.where(above, middle, ends[1])

        ends = jax.lax.fori_loop(0, _HALVINGS, halve, (self.u[0], self.u[-1]))
        root = jax.lax.stop_gradient(0.5 * (ends[0] + ends[1]))
        # One step of Newton's from the root, which carries the derivatives.
        slope = jax.lax.stop_gradient(jax.grad(self.curve)(root))
        return root - (self.curve(root) - inside) / slope + beyond

    def _slopes(self) -> Float[Array, " point"]:
        """Harmonic means of the slopes on both sides; beyond the ends, those of the end."""
        h, rise = jnp.diff(self.u), jnp.diff(self.y)
        slope = rise / h
        before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        inner = (before + after) / (before / slope[:-1] + after / slope[1:])
        return jnp.concatenate([slope[:1], inner, slope[-1:]])
