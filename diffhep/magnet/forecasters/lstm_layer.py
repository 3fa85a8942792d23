"""A layer of long short-term memory over a whole series, with a backward pass of its own."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Key

__citations__ = ("doi:10.1162/neco.1997.9.8.1735",)

LSTMState = tuple[Float[Array, " width"], Float[Array, " width"]]
"""What a layer puts out, and its cell."""


class LSTMLayer(eqx.Module):
    r"""A recurrence of gates, over a series whose inputs are all known.

    $c_t = \sigma(f_t) c_{t-1} + \sigma(i_t)\tanh g_t$, $h_t = \sigma(o_t) \tanh c_t$, where i, f, g
    and o are linear in the input and $h_{t-1}$; doi:10.1162/neco.1997.9.8.1735 with a forget gate.

    Products of all inputs with their weights are one, before the loop, and those of the weights'
    gradients one behind it: the loop holds a product of the hidden state and the gates alone.
    Reverse mode once; no forward mode.

    Attributes:
        weight_input: Rows are the gates i, f, g, o.
        weight_hidden: Likewise.
        bias: Likewise.
    """

    weight_input: Float[Array, "gate channel"]
    weight_hidden: Float[Array, "gate width"]
    bias: Float[Array, " gate"]

    def __init__(self, n_channels: int, width: int, *, key: Key, dtype: Any = jnp.float32) -> None:
        """Weights uniform in +-1/sqrt(width), forget gates open by one more.

        Args:
            n_channels: Numbers a sample.
            width: Numbers in each half of the state.
            key: Random key.
            dtype: Of the weights.
        """
        keys, bound = jax.random.split(key, 3), width**-0.5
        shapes = ((4 * width, n_channels), (4 * width, width), (4 * width,))
        drawn = [
            jax.random.uniform(one, shape, dtype, -bound, bound)
            for one, shape in zip(keys, shapes, strict=True)
        ]
        self.weight_input, self.weight_hidden = drawn[:2]
        self.bias = drawn[2].at[width : 2 * width].add(1.0)

    @property
    def width(self) -> int:
        """Numbers in each half of the state."""
        return self.weight_hidden.shape[1]

    def rest(self) -> LSTMState:
        """The state of one who has seen nothing."""
        zero = jnp.zeros(self.width, self.weight_hidden.dtype)
        return zero, zero

    def __call__(
        self, inputs: Float[Array, "time channel"], state: LSTMState | None = None
    ) -> tuple[Float[Array, "time width"], Float[Array, "time width"]]:
        """What the layer puts out along a series, and its cells.

        Args:
            inputs: Along it.
            state: Before its first sample; at rest by default.

        Returns:
            Both with a leading axis, the sample: the states after each.
        """
        width = self.width
        # A sigmoid is a tanh of half its argument: one tanh then serves all four gates.
        half = jnp.full(4 * width, 0.5, self.bias.dtype).at[2 * width : 3 * width].set(1.0)
        driven = (inputs @ self.weight_input.T + self.bias) * half
        weight = (self.weight_hidden * half[:, None]).T
        begin = self.rest() if state is None else state
        return _recur(driven, weight, begin)


def _recur(driven: Array, weight: Array, begin: LSTMState) -> tuple[Array, Array]:
    """Outputs and cells after each sample.

    The loops carry no gradient of the weight: that is the one of the product below, over all
    samples (and windows) at once. Its value is not used, so that it costs nothing.
    """
    fixed, start = jax.lax.stop_gradient((weight, begin))
    run = _forward(jax.lax.stop_gradient(driven), fixed, start)
    before = jnp.concatenate([start[0][None], run[0][:-1]])
    return _with_gradient(driven + before @ weight, begin, fixed, start[1], run)


def _gates(t: Array) -> tuple[Array, ...]:
    """The four gates of tanh of half their arguments."""
    i, f, g, o = jnp.split(t, 4, axis=-1)
    return 0.5 * i + 0.5, 0.5 * f + 0.5, g, 0.5 * o + 0.5


def _forward(driven: Array, weight: Array, begin: LSTMState) -> tuple[Array, Array, Array]:
    """Outputs, cells and the tanh of the gates' arguments."""

    def advance(state: LSTMState, at: Array) -> tuple[LSTMState, tuple]:
        h, c = state
        t = jnp.tanh(at + h @ weight)
        i, f, g, o = _gates(t)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, t)

    return jax.lax.scan(advance, begin, driven)[1]


@jax.custom_vjp
def _with_gradient(
    arguments: Array, begin: LSTMState, weight: Array, c: Array, run: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """Outputs and cells of a run, as functions of the gates' arguments and the first state."""
    del arguments, begin, weight, c
    return run[0], run[1]


def _save(
    arguments: Array, begin: LSTMState, weight: Array, c: Array, run: tuple[Array, Array, Array]
) -> tuple[tuple[Array, Array], tuple]:
    del arguments, begin
    return (run[0], run[1]), (weight, c, run)


def _backward(saved: tuple, cotangents: tuple[Array, Array]) -> tuple:
    weight, c, (hs, cs, ts) = saved
    transposed = weight.T

    def retreat(later: tuple, at: tuple) -> tuple[tuple, Array]:
        dz, dc = later
        dh_here, dc_here, t, c_now, c_before = at
        i, f, g, o = _gates(t)
        bent = jnp.tanh(c_now)
        dh = dh_here + dz @ transposed
        dc = dc + dc_here + dh * o * (1.0 - bent**2)
        dt = jnp.concatenate([dc * g * 0.5, dc * c_before * 0.5, dc * i, dh * bent * 0.5])
        dz = dt * (1.0 - t**2)
        return (dz, dc * f), dz

    cells_before = jnp.concatenate([c[None], cs[:-1]])
    last = (jnp.zeros_like(ts[0]), jnp.zeros_like(c))
    rows = (*cotangents, ts, cs, cells_before)
    (dz, dc), dzs = jax.lax.scan(retreat, last, rows, reverse=True)
    nothing = jax.tree.map(jnp.zeros_like, (weight, c, (hs, cs, ts)))
    return dzs, (dz @ transposed, dc), *nothing


_with_gradient.defvjp(_save, _backward)
