"""A polynomial of the input: the part of a magnet's field that has no memory."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import concrete, require
from diffhep.core.typing import Scalar
from diffhep.magnet.operators.base import AbstractOperator

__citations__ = ("arXiv:2202.07747",)


class Polynomial(AbstractOperator[tuple[()]]):
    r"""$y = \sum_n c_nP_n(x)$ with Legendre polynomials of $x = (2u - u_+ - u_-)/(u_+ - u_-)$.

    Attributes:
        coefficients: $c_n$ from $n = 0$, in the unit of the output.
        low: $u_-$, where $x = -1$.
        high: $u_+$, where $x = 1$.

    Raises:
        ConfigError: The range is empty.
    """

    coefficients: Float[Array, " degree"] = eqx.field(converter=jnp.asarray)
    low: Scalar = eqx.field(converter=jnp.asarray)
    high: Scalar = eqx.field(converter=jnp.asarray)

    def __check_init__(self) -> None:
        low, high = concrete(self.low), concrete(self.high)
        if low is not None and high is not None:
            require(bool(low < high), "high", f"be above `low` {float(low)}", float(high))

    def rest(self, u0: Scalar) -> tuple[()]:
        """Nothing is remembered."""
        return ()

    def step(self, state: tuple[()], u: Scalar, dt: Scalar) -> tuple[tuple[()], Scalar]:
        """The polynomial, by Bonnet's recursion."""
        x = (2.0 * u - self.high - self.low) / (self.high - self.low)
        before, here = jnp.zeros_like(x), jnp.ones_like(x)
        y = jnp.zeros_like(x)
        for n in range(self.coefficients.shape[0]):
            y = y + self.coefficients[n] * here
            before, here = here, ((2 * n + 1) * x * here - n * before) / (n + 1)
        return (), y
