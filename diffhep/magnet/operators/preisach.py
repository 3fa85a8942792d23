r"""The Preisach operator, exact: by the stack of the input's reversals that still matter.

Reference:
    I. D. Mayergoyz, Mathematical Models of Hysteresis, Springer 1991, chapter 1.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.typing import Count, Flag, Scalar
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.operators.everett import AbstractEverett
from diffhep.magnet.operators.inverse import MonotoneInverse

__citations__ = ("doi:10.1007/978-1-4612-3028-1",)


class PreisachState(NamedTuple):
    """The reversals that have not been wiped out, and the input now.

    Attributes:
        extrema: Inputs at the reversals, the oldest first, alternately maxima and minima; 0 beyond
            `n_kept`.
        outputs: Outputs there.
        n_kept: How many there are.
        u: The input now.
        y: The output now.
        overflowed: Whether a reversal found no room.
    """

    extrema: Float[Array, " reversal"]
    outputs: Float[Array, " reversal"]
    n_kept: Count
    u: Scalar
    y: Scalar
    overflowed: Flag


class Preisach(AbstractOperator[PreisachState]):
    r"""A density of relays, evaluated by its Everett function.

    With reversals $e_0, e_1, \dots$ and the input $u$,
    $f = \mathrm{sgn}(e_0)E(|e_0|, -|e_0|) + 2\sum_k \pm E(\max, \min)$ of each pair that follow
    each other, + on the way up. A demagnetised start counts its first sweep by half. A reversal is
    wiped out when the input passes it: bitwise, and so are return-point memory and independence
    of the rate.

    Attributes:
        everett: The Everett function; the density must be symmetric under
            $\mu(a, b) = \mu(-b, -a)$ for the demagnetised state to be the one meant here.
        capacity: Most reversals remembered at once. One more sets `overflowed` and makes the
            output not a number.

    Raises:
        ConfigError: The capacity is below 2.
    """

    everett: AbstractEverett
    capacity: int = eqx.field(static=True, default=64)

    def __check_init__(self) -> None:
        as_integer(self.capacity, "capacity", low=2)

    def rest(self, u0: Scalar) -> PreisachState:
        """On the initial curve."""
        nothing = jnp.zeros(self.capacity, u0.dtype)
        state = PreisachState(nothing, nothing, jnp.asarray(0), u0, u0, jnp.asarray(False))
        return state._replace(y=self._output(state))

    def step(self, state: PreisachState, u: Scalar, dt: Scalar) -> tuple[PreisachState, Scalar]:
        """Remember a reversal, forget those that are passed, add what the last sweep gives."""
        moved = self._wiped(self._pushed(state, u), u)._replace(u=u)
        y = jnp.where(moved.overflowed, jnp.nan, self._output(moved))
        return moved._replace(y=y), y

    def inverse(self, low: Scalar | float, high: Scalar | float) -> MonotoneInverse:
        """The operator that gives the input back, on its own stack of reversals: feed-forward.

        A density that is nowhere negative gives outputs that rise with the input.

        Args:
            low: Least input.
            high: Largest input.

        Returns:
            The inverse. At rest it belongs to this operator at rest; `InverseState` of a state of
            this operator is its state at any other time.
        """
        return MonotoneInverse(self, low, high)

    def _pushed(self, state: PreisachState, u: Scalar) -> PreisachState:
        """With the input before as a reversal, if it is one."""
        since = state.u - _last(state)
        reverses = (u - state.u) * since < 0.0
        slot = jnp.arange(self.capacity) == state.n_kept
        here = reverses & slot
        return state._replace(
            extrema=jnp.where(here, state.u, state.extrema),
            outputs=jnp.where(here, state.y, state.outputs),
            n_kept=state.n_kept + (reverses & (state.n_kept < self.capacity)),
            overflowed=state.overflowed | (reverses & (state.n_kept >= self.capacity)),
        )

    def _wiped(self, state: PreisachState, u: Scalar) -> PreisachState:
        """Without the reversals that the input has reached, and those after them."""
        index = jnp.arange(self.capacity)
        up = u > _last(state)
        # The last reversal is opposed to the motion, the one before it is not, and so on.
        alike = (index < state.n_kept) & ((state.n_kept - index) % 2 == 0)
        reached = jnp.where(up, state.extrema <= u, state.extrema >= u)
        # Beyond the first extremum the way is that from the demagnetised state, on either side.
        beyond = (index == 0) & (state.n_kept > 0) & (jnp.abs(u) >= jnp.abs(state.extrema[0]))
        gone = (alike & reached) | beyond
        n_kept = jnp.where(jnp.any(gone), jnp.argmax(gone), state.n_kept)
        kept = index < n_kept
        return state._replace(
            extrema=jnp.where(kept, state.extrema, 0.0),
            outputs=jnp.where(kept, state.outputs, 0.0),
            n_kept=n_kept,
        )

    def _output(self, state: PreisachState) -> Scalar:
        """The output at the last reversal, and twice what was switched since.

        On the initial curve it is once what lies between the input and its negative.
        """
        u, last = state.u, _last(state)
        start = jnp.where(state.n_kept > 0, last, -u)
        switched = self.everett(jnp.maximum(u, start), jnp.minimum(u, start))
        since = jnp.where(state.n_kept > 0, 2.0, 1.0) * jnp.sign(u - start) * switched
        return jnp.where(state.n_kept > 0, state.outputs[state.n_kept - 1], 0.0) + since


def _last(state: PreisachState) -> Scalar:
    """The last reversal; 0 on the initial curve, which counts from there."""
    return jnp.where(state.n_kept > 0, state.extrema[state.n_kept - 1], 0.0)
