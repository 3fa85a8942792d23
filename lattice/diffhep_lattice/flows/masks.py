r"""Which links a coupling layer moves, and the loops that it may look at meanwhile.

The links of one direction $\mu$ are moved along stripes across the other direction $\nu$. Sites
are grouped in blocks of `reach` sites along $\nu$ and `span` along $\mu$; the Wilson loop around a
block is the sum of its plaquette angles. Of every `period` blocks along $\nu$ the first is
*active*: one link at its lower edge moves, and with it the loop W around the block; the block below
is *passive* and takes up the opposite change, so that the *parent* loop S = W + W' around both
stays as it is; the others are *frozen*. With `reach = span = 1` and `period = 4` these are the
stripes of the published flow; larger blocks move the loops that small ones are drawn from.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffhep.core.checks import as_integer, require, require_shape
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import wrap

__citations__ = ("arXiv:2003.06413",)


def _count(name: str, low: int, *, default: int) -> Any:
    """A field that holds an integer of at least `low`."""
    converter = partial(as_integer, name=name, low=low)
    return eqx.field(static=True, converter=converter, default=default)


class Loops(eqx.Module):
    """Angles of loops around blocks, in radians, wrapped, on the lattice of periods.

    Attributes:
        active: The loop that the moved link changes, W.
        parent: The loop around the active and the passive block, S; it does not change.
        frozen: Loops around the other blocks of the period; they do not change.
    """

    active: Float[Array, "A B *batch"]
    parent: Float[Array, "A B *batch"]
    frozen: Float[Array, "row A B *batch"]


class Stripes(eqx.Module):
    r"""Stripes of moving links.

    Attributes:
        direction: $\mu$ of the moving links, 0 or 1.
        offset: Where the first active block begins: sites along $\nu$, sites along $\mu$.
        reach: Sites of a block along $\nu$.
        span: Sites of a block along $\mu$.
        period: Blocks along $\nu$ from one active block to the next, at least 2.
    """

    direction: int = eqx.field(static=True, converter=partial(as_integer, name="direction", low=0))
    offset: Int[Array, "2"] = eqx.field(converter=jnp.asarray)
    reach: int = _count("reach", 1, default=1)
    span: int = _count("span", 1, default=1)
    period: int = _count("period", 2, default=4)

    def __check_init__(self) -> None:
        require(self.direction <= 1, "direction", "be 0 or 1", self.direction)
        shape = self.offset.shape
        require_shape(shape == (2,), "offset", "hold two numbers of sites", f"shape {shape}")

    def require_fit(self, lattice: Lattice) -> None:
        """Raise a `ConfigError` unless the stripes fit the lattice without a seam."""
        require(lattice.dimension == 2, "shape", "have two directions for stripes", lattice.shape)
        across, along = self._axes()
        need = self.reach * self.period
        require(
            lattice.shape[across] % need == 0 and lattice.shape[along] % self.span == 0,
            "shape",
            f"be divisible by {need} along axis {across} and by {self.span} along axis {along} "
            "for this mask",
            lattice.shape,
        )

    def _axes(self) -> tuple[int, int]:
        return 1 - self.direction, self.direction

    def loops(self, plaquettes: Float[Array, "L T *batch"]) -> Loops:
        """The loops around the blocks, from the plaquette angles."""
        across, along = self._axes()
        values = _roll(plaquettes, -self.offset, (across, along))
        if across == 1:
            values = jnp.swapaxes(values, 0, 1)
        n_across, n_along, *batch = values.shape
        blocks = values.reshape(
            n_across // (self.reach * self.period),
            self.period,
            self.reach,
            n_along // self.span,
            self.span,
            *batch,
        ).sum((2, 4))
        active = blocks[:, 0]
        below = jnp.roll(blocks[:, -1], 1, axis=0)
        frozen = jnp.moveaxis(blocks[:, 1:-1], 1, 0)
        return Loops(wrap(active), wrap(active + below), wrap(frozen))

    def link_change(self, change: Float[Array, "A B *batch"]) -> Float[Array, "L T *batch"]:
        """The change of the links of direction `direction` that changes each active loop so.

        Args:
            change: Change of the active loops, in radians.

        Returns:
            Change of the link angles at every site, zero off the stripes.
        """
        across, along = self._axes()
        n_a, n_b, *batch = change.shape
        # P(x) holds +U_0(x) and -U_1(x): the sign of the moving link in its active loop.
        sign = 1.0 if self.direction == 0 else -1.0
        cells = (sign * change)[:, None, :, None]
        rows, columns = self.reach * self.period, self.span
        padding = [(0, 0), (0, rows - 1), (0, 0), (0, columns - 1)] + [(0, 0)] * len(batch)
        values = jnp.pad(cells, padding).reshape(n_a * rows, n_b * columns, *batch)
        if across == 1:
            values = jnp.swapaxes(values, 0, 1)
        return _roll(values, self.offset, (across, along))


def _roll(
    values: Float[Array, "L T *batch"], shift: Int[Array, "2"], axes: tuple[int, int]
) -> Float[Array, "L T *batch"]:
    """`jnp.roll` by traced shifts, apart from what goes before and after, forwards and backwards.

    Without the barriers XLA computes everything before the shift again for every part of it.
    """
    rolled = jnp.roll(jax.lax.optimization_barrier(values), shift, axes)
    return jax.lax.optimization_barrier(rolled)
