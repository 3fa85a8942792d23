"""Ordinary differential equations along the straight way from one input to the next."""

from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar


def along_path(
    slope: Callable[[Scalar, Array], Array],
    y: Float[Array, "*part"],
    start: Scalar,
    end: Scalar,
    n_substeps: int,
) -> Float[Array, "*part"]:
    r"""Solution of $\mathrm dy/\mathrm dx = f(x, y)$ by equal steps of fifth order.

    Args:
        slope: $f(x, y)$.
        y: Value at the start.
        start: Where x starts.
        end: Where it ends, on either side; nothing happens where both are the same.
        n_substeps: Number of steps.

    Returns:
        Value at the end.

    Reference:
        Ch. Tsitouras, Computers & Mathematics with Applications 62 (2011) 770.
    """
    # Stages by a bounded loop: derivatives in both modes, as least squares need them.
    solver = diffrax.Tsit5(scan_kind="bounded")
    # In units of the way, x runs from 0 to 1: a way of no length has no other special case.
    length = end - start
    term = diffrax.ODETerm(lambda t, y, _: length * slope(start + t * length, y))
    width = 1.0 / n_substeps

    def advance(y: Array, index: Scalar) -> tuple[Array, None]:
        before, after = index * width, (index + 1) * width
        memory = solver.init(term, before, after, y, None)
        return solver.step(term, before, after, y, None, memory, made_jump=False)[0], None

    return jax.lax.scan(advance, y, jnp.arange(n_substeps, dtype=y.dtype))[0]
