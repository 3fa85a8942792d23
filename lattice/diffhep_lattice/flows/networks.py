"""Small networks that turn gauge-invariant context into the parameters of a kernel."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import is_integer, require
from diffhep.core.typing import Key


def as_channels(hidden: Any) -> tuple[int, ...]:
    """The channels of hidden layers as Python integers; none makes a linear map.

    Raises:
        ConfigError: They are no sequence of positive integers.
    """
    good = isinstance(hidden, Sequence) and all(is_integer(n) and n >= 1 for n in hidden)
    require(good, "hidden", "hold positive integers", hidden)
    return tuple(int(n) for n in hidden)


class CircularConvolution(eqx.Module):
    """A convolution with periodic boundaries on a two-dimensional lattice.

    The site axes follow the channel axis, any batch axes follow them; with a width of one site the
    map is the same everywhere and any axes will do.

    With few channels and the batch as the last axis a CPU does it fastest as one matrix product.
    The shifts along the first site axis are taken before it, those along the second after it: that
    keeps a third of what shifted copies for every tap would.

    Attributes:
        weight: Shape (out, in * width * width).
        bias: Shape (out,).
        width: Sites across the kernel, odd.
    """

    weight: Float[Array, "out taps"]
    bias: Float[Array, " out"]
    width: int = eqx.field(static=True)

    def __init__(self, n_in: int, n_out: int, width: int, *, scale: float = 1.0, key: Key) -> None:
        odd = is_integer(width) and width >= 1 and width % 2 == 1
        require(odd, "width", "be odd and positive", width)
        n_taps = n_in * width**2
        self.weight = jax.random.normal(key, (n_out, n_taps)) * (scale / np.sqrt(n_taps))
        self.bias = jnp.zeros(n_out)
        self.width = width

    def __call__(self, x: Float[Array, "channel ..."]) -> Float[Array, "out ..."]:
        """The convolution at every site."""
        n_out, reach = self.weight.shape[0], self.width // 2
        shifts = range(-reach, reach + 1) if reach else ()
        weight = self.weight.reshape(n_out, self.width, -1).swapaxes(0, 1)
        weight = weight.reshape(self.width * n_out, -1)
        if reach:
            x = jnp.concatenate([jnp.roll(x, a, axis=1) for a in shifts])
        # The barriers keep XLA from computing an array again inside every one of its users, here
        # and in the backward pass.
        flat = jax.lax.optimization_barrier(x.reshape(x.shape[0], -1))
        y = (weight @ flat).reshape(self.width, n_out, *x.shape[1:])
        if reach:
            y = jax.lax.optimization_barrier(y)
        y = sum(jnp.roll(y[i], b, axis=2) for i, b in enumerate(shifts)) if reach else y[0]
        return jax.lax.optimization_barrier(y + self.bias.reshape(-1, *([1] * (x.ndim - 1))))


class ConvolutionalNet(eqx.Module):
    """Circular convolutions with SiLU in between; all but the first are site by site.

    Attributes:
        layers: The convolutions.
    """

    layers: tuple[CircularConvolution, ...]

    def __init__(
        self, n_in: int, hidden: tuple[int, ...], n_out: int, width: int, *, key: Key
    ) -> None:
        """Build the layers.

        Args:
            n_in: Number of input channels.
            hidden: Channels of the hidden layers.
            n_out: Number of output channels.
            width: Sites across the first kernel, odd.
            key: Random key. The last layer starts near zero.

        Raises:
            ConfigError: `hidden` does not hold positive integers, or `width` is not odd.
        """
        sizes = (n_in, *as_channels(hidden), n_out)
        keys = jax.random.split(key, len(sizes) - 1)
        last = len(sizes) - 2
        self.layers = tuple(
            CircularConvolution(
                sizes[i],
                sizes[i + 1],
                width if i == 0 else 1,
                scale=1e-2 if i == last else 1.0,
                key=keys[i],
            )
            for i in range(last + 1)
        )

    def __call__(self, x: Float[Array, "channel ..."]) -> Float[Array, "out ..."]:
        """Values of the output channels at every site."""
        for layer in self.layers[:-1]:
            x = jax.nn.silu(layer(x))
        return self.layers[-1](x)
