"""Networks of features and parameters: of plain vectors, and of clouds of particles."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.typing import Key

__citations__ = ("arXiv:1805.00020",)

Activation = Callable[[Array], Array]


class AbstractNetwork(eqx.Module):
    """A smooth function of one event's standardised features and parameters, with some outputs."""

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "*feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " output"]:
        """The outputs; smooth in theta, as scores are their derivatives."""


NetworkBuilder = Callable[[tuple[int, ...], int, int, Key], AbstractNetwork]
"""`builder(feature_shape, n_params, n_outputs, key)`; what the functions of this file return."""


class MLP(AbstractNetwork):
    """A multilayer perceptron of features and parameters side by side."""

    layers: eqx.nn.MLP

    def __call__(
        self, x: Float[Array, "*feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " output"]:
        """The outputs."""
        return _apply(self.layers, jnp.concatenate([x.ravel(), theta]))


def mlp(width: int = 64, depth: int = 3, activation: Activation = jax.nn.silu) -> NetworkBuilder:
    """Builder of multilayer perceptrons.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers.
        activation: Smooth, for methods that learn the score.

    Returns:
        The builder, for `fit_ratio`.

    Raises:
        ConfigError: A number is out of range.
    """
    width, depth = as_integer(width, "width", low=1), as_integer(depth, "depth", low=1)

    def build(feature_shape: tuple[int, ...], n_params: int, n_outputs: int, key: Key) -> MLP:
        n_inputs = _size(feature_shape) + n_params
        return MLP(_perceptron(n_inputs, n_outputs, width, depth, activation, key))

    return build


class ResidualMLP(AbstractNetwork):
    """Blocks of two layers whose outputs are added to what went in."""

    lift: eqx.nn.Linear
    blocks: tuple[eqx.nn.MLP, ...]
    read: eqx.nn.Linear
    activation: Activation = eqx.field(static=True)

    def __call__(
        self, x: Float[Array, "*feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " output"]:
        """The outputs."""
        hidden = _dense(self.lift, jnp.concatenate([x.ravel(), theta]))
        for block in self.blocks:
            hidden = hidden + _apply(block, self.activation(hidden))
        return _dense(self.read, self.activation(hidden))


def residual_mlp(
    width: int = 50, n_blocks: int = 2, activation: Activation = jax.nn.silu
) -> NetworkBuilder:
    """Builder of residual perceptrons.

    Args:
        width: Units of a layer.
        n_blocks: Residual blocks of two layers.
        activation: Smooth, for methods that learn the score.

    Returns:
        The builder, for `fit_ratio`.

    Raises:
        ConfigError: A number is out of range.
    """
    width, n_blocks = as_integer(width, "width", low=1), as_integer(n_blocks, "n_blocks", low=1)

    def build(
        feature_shape: tuple[int, ...], n_params: int, n_outputs: int, key: Key
    ) -> ResidualMLP:
        keys = jax.random.split(key, n_blocks + 2)
        n_inputs = _size(feature_shape) + n_params
        blocks = [_perceptron(width, width, width, 1, activation, k) for k in keys[2:]]
        return ResidualMLP(
            lift=eqx.nn.Linear(n_inputs, width, dtype=jnp.float32, key=keys[0]),
            blocks=tuple(blocks),
            read=eqx.nn.Linear(width, n_outputs, dtype=jnp.float32, key=keys[1]),
            activation=activation,
        )

    return build


class QuadraticForm(AbstractNetwork):
    """A network, and a quadratic form of features and parameters side by side, added to it."""

    network: AbstractNetwork
    form: Float[Array, "output input input"]

    def __call__(
        self, x: Float[Array, "*feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " output"]:
        """The outputs."""
        both = jnp.concatenate([x.ravel(), theta])
        return self.network(x, theta) + self.form @ both @ both


def quadratic(network: NetworkBuilder) -> NetworkBuilder:
    """Builder of networks beside a quadratic form, as log-ratios of Gaussian likelihoods are one.

    Args:
        network: Builder of the network.

    Returns:
        The builder, for `fit_ratio`.
    """

    def build(
        feature_shape: tuple[int, ...], n_params: int, n_outputs: int, key: Key
    ) -> QuadraticForm:
        n_inputs = _size(feature_shape) + n_params
        form = jnp.zeros((n_outputs, n_inputs, n_inputs), jnp.float32)
        return QuadraticForm(network(feature_shape, n_params, n_outputs, key), form)

    return build


class DeepSet(AbstractNetwork):
    """A function of the sum over particles of another one, whatever their order and number.

    Reference:
        M. Zaheer et al., arXiv:1703.06114.
    """

    each: eqx.nn.MLP
    together: eqx.nn.MLP

    def __call__(
        self, x: Float[Array, "particle feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " output"]:
        """The outputs; the last feature tells particles, 1, from padding, 0."""
        present = x[:, -1:]
        summed = jnp.sum(present * _apply(self.each, x), axis=0)
        return _apply(self.together, jnp.concatenate([summed, theta]))


def deep_set(
    width: int = 64, depth: int = 2, activation: Activation = jax.nn.silu
) -> NetworkBuilder:
    """Builder of deep sets for events of shape (particle, feature).

    The last feature tells particles, 1, from padding, 0, which counts for nothing.

    Args:
        width: Units of every layer, and of the sum.
        depth: Hidden layers of both functions.
        activation: Smooth, for methods that learn the score.

    Returns:
        The builder, for `fit_ratio`.

    Raises:
        ConfigError: A number is out of range.
    """
    width, depth = as_integer(width, "width", low=1), as_integer(depth, "depth", low=1)

    def build(feature_shape: tuple[int, ...], n_params: int, n_outputs: int, key: Key) -> DeepSet:
        _require_cloud(feature_shape)
        keys = jax.random.split(key)
        return DeepSet(
            _perceptron(feature_shape[1], width, width, depth, activation, keys[0]),
            _perceptron(width + n_params, n_outputs, width, depth, activation, keys[1]),
        )

    return build


class Transformer(AbstractNetwork):
    """Self-attention among particles, their mean, and a perceptron with the parameters.

    Reference:
        A. Vaswani et al., arXiv:1706.03762; H. Qu, C. Li, S. Qian, arXiv:2202.03772, for particles.
    """

    lift: eqx.nn.MLP
    attention: tuple[eqx.nn.MultiheadAttention, ...]
    each: tuple[eqx.nn.MLP, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]
    together: eqx.nn.MLP

    def __call__(
        self, x: Float[Array, "particle feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " output"]:
        """The outputs; the last feature tells particles, 1, from padding, 0."""
        present = x[:, -1]
        n = x.shape[0]
        # Padding sees itself, lest a softmax over nothing be undefined; nobody sees it.
        mask = (present[None, :] > 0) | jnp.eye(n, dtype=bool)
        hidden = _apply(self.lift, x)
        for index, (attention, each) in enumerate(zip(self.attention, self.each, strict=True)):
            first, second = (jax.vmap(norm) for norm in self.norms[2 * index : 2 * index + 2])
            normed = first(hidden)
            hidden = hidden + attention(normed, normed, normed, mask)
            hidden = hidden + _apply(each, second(hidden))
        total = jnp.sum(present)
        mean = jnp.sum(present[:, None] * hidden, axis=0) / jnp.maximum(total, 1.0)
        count = jnp.log1p(total)[None].astype(mean.dtype)
        return _apply(self.together, jnp.concatenate([mean, count, theta]))


def transformer(
    width: int = 32, n_blocks: int = 2, n_heads: int = 4, activation: Activation = jax.nn.silu
) -> NetworkBuilder:
    """Builder of transformers for events of shape (particle, feature).

    The last feature tells particles from padding, as for `deep_set`.

    Args:
        width: Units of every layer; a multiple of `n_heads`.
        n_blocks: Blocks of attention and perceptron.
        n_heads: Heads of attention.
        activation: Smooth, for methods that learn the score.

    Returns:
        The builder, for `fit_ratio`.

    Raises:
        ConfigError: A number is out of range, or the heads do not divide the width.
    """
    width, n_blocks = as_integer(width, "width", low=1), as_integer(n_blocks, "n_blocks", low=1)
    n_heads = as_integer(n_heads, "n_heads", low=1)
    require(width % n_heads == 0, "n_heads", f"divide the width, {width}", n_heads)

    def build(
        feature_shape: tuple[int, ...], n_params: int, n_outputs: int, key: Key
    ) -> Transformer:
        _require_cloud(feature_shape)
        keys = jax.random.split(key, 2 * n_blocks + 2)
        return Transformer(
            lift=_perceptron(feature_shape[1], width, width, 1, activation, keys[0]),
            attention=tuple(
                eqx.nn.MultiheadAttention(n_heads, width, dtype=jnp.float32, key=k)
                for k in keys[2::2]
            ),
            each=tuple(_perceptron(width, width, 2 * width, 1, activation, k) for k in keys[3::2]),
            norms=tuple(eqx.nn.LayerNorm(width, dtype=jnp.float32) for _ in range(2 * n_blocks)),
            together=_perceptron(width + 1 + n_params, n_outputs, width, 2, activation, keys[1]),
        )

    return build


def _perceptron(
    n_inputs: int, n_outputs: int, width: int, depth: int, activation: Activation, key: Key
) -> eqx.nn.MLP:
    return eqx.nn.MLP(n_inputs, n_outputs, width, depth, activation, dtype=jnp.float32, key=key)


def _dense(layer: eqx.nn.Linear, x: Float[Array, "*row input"]) -> Float[Array, "*row output"]:
    """A linear layer as one product whose rows are events, of any number of batch axes.

    The layer's own product has events in columns: XLA transposes activations back and forth.
    """
    product = x @ layer.weight.T
    return product if layer.bias is None else product + layer.bias


def _apply(perceptron: eqx.nn.MLP, x: Float[Array, "*row input"]) -> Float[Array, "*row output"]:
    """A perceptron of rows."""
    *hidden, last = perceptron.layers
    for layer in hidden:
        x = perceptron.activation(_dense(layer, x))
    return _dense(last, x)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _require_cloud(shape: tuple[int, ...]) -> None:
    rule = "have events of shape (particle, feature), 1 or 0 as the last feature, for this network"
    require_shape(len(shape) == 2 and shape[1] >= 2, "x", rule, f"events of shape {shape}")
