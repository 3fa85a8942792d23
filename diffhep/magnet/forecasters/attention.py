"""Attention between samples of a window, positions by rotation, and the layers around it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key

__citations__ = ("arXiv:1706.03762", "arXiv:2104.09864")

_LONGEST = 1e4
"""Ratio of the slowest and the fastest rotation, arXiv:2104.09864."""


class Attention(eqx.Module):
    r"""Multi-head attention, $\mathrm{softmax}(QK^T/\sqrt d)\,V$ in each head.

    Queries and keys are rotated by angles linear in their positions, so that weights depend on
    differences of positions alone.

    Attributes:
        query: From tokens that ask.
        key_value: From tokens that are asked, keys and values side by side.
        out: From all heads.
        n_heads: How many.
    """

    query: eqx.nn.Linear
    key_value: eqx.nn.Linear
    out: eqx.nn.Linear
    n_heads: int = eqx.field(static=True)

    def __call__(
        self,
        asking: Float[Array, "query width"],
        asked: Float[Array, "key width"],
        positions: tuple[np.ndarray, np.ndarray],
        *,
        causal: bool = False,
    ) -> Float[Array, "query width"]:
        """Tokens with what they learn from others.

        Args:
            asking: Tokens.
            asked: The others, or the same ones.
            positions: Of both, in samples.
            causal: Whether what lies ahead is hidden.

        Returns:
            What is to be added to `asking`.
        """
        q = rotate(self._heads(jax.vmap(self.query)(asking)), positions[0])
        keys, values = jnp.split(jax.vmap(self.key_value)(asked), 2, axis=1)
        k = rotate(self._heads(keys), positions[1])
        scores = jnp.einsum("hqd,hkd->hqk", q * q.shape[-1] ** -0.5, k)
        if causal:
            seen = positions[1][None, :] <= positions[0][:, None]
            scores = jnp.where(seen, scores, -jnp.inf)
        highest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
        weights = jnp.exp(scores - highest)
        # Divided after the product, where there are fewer numbers than weights.
        found = jnp.einsum("hqk,hkd->hqd", weights, self._heads(values))
        found = found / jnp.sum(weights, axis=-1, keepdims=True)
        return jax.vmap(self.out)(jnp.moveaxis(found, 0, 1).reshape(asking.shape))

    def _heads(self, tokens: Float[Array, "token width"]) -> Float[Array, "head token part"]:
        return jnp.moveaxis(tokens.reshape(tokens.shape[0], self.n_heads, -1), 1, 0)


def build_attention(width: int, n_heads: int, *, key: Key, dtype: object) -> Attention:
    """Attention with random weights.

    Args:
        width: Numbers in a token.
        n_heads: Heads; twice as many divide the width.
        key: Random key.
        dtype: Of the weights.

    Returns:
        It.
    """
    sizes = (width, 2 * width, width)
    linear = [
        eqx.nn.Linear(width, size, use_bias=False, key=part, dtype=dtype)
        for size, part in zip(sizes, jax.random.split(key, 3), strict=True)
    ]
    return Attention(*linear, n_heads=n_heads)


def require_heads(width: int, n_heads: int) -> None:
    """Heads have whole pairs of numbers to rotate.

    Args:
        width: Numbers in a token.
        n_heads: Heads.

    Raises:
        ConfigError: They have not, or one of the numbers is none.
    """
    as_integer(n_heads, "n_heads", low=1)
    as_integer(width, "width", low=2)
    require(width % (2 * n_heads) == 0, "width", f"be a multiple of {2 * n_heads}", width)


def rotate(
    x: Float[Array, "head token part"], positions: Int[np.ndarray, " token"]
) -> Float[Array, "head token part"]:
    """Turn pairs of numbers by angles linear in the position; arXiv:2104.09864.

    Args:
        x: Queries or keys.
        positions: Of their tokens, in samples.

    Returns:
        Them, turned.
    """
    n = x.shape[-1] // 2
    angles = np.outer(positions, _LONGEST ** (-np.arange(n) / n))
    cos, sin = (jnp.asarray(f(angles), x.dtype) for f in (np.cos, np.sin))
    a, b = x[..., :n], x[..., n:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


class FeedForward(eqx.Module):
    """Two linear maps of each token with a GELU between.

    Attributes:
        up: To more numbers.
        down: Back.
    """

    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __call__(self, tokens: Float[Array, "token width"]) -> Float[Array, "token width"]:
        """What is to be added to tokens."""
        return jax.vmap(self.down)(jax.nn.gelu(jax.vmap(self.up)(tokens)))


class EncoderLayer(eqx.Module):
    """Attention among tokens, then a map of each; what is normalised is what goes in.

    Attributes:
        attention: Among the tokens.
        feed_forward: Of each.
        norms: Before either.
        causal: Whether tokens see only those before them.
    """

    attention: Attention
    feed_forward: FeedForward
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    causal: bool = eqx.field(static=True)

    def __call__(
        self, tokens: Float[Array, "token width"], positions: Int[np.ndarray, " token"]
    ) -> Float[Array, "token width"]:
        """The tokens after this layer.

        Args:
            tokens: Before it.
            positions: Theirs, in samples.

        Returns:
            Them.
        """
        own = jax.vmap(self.norms[0])(tokens)
        tokens = tokens + self.attention(own, own, (positions, positions), causal=self.causal)
        return tokens + self.feed_forward(jax.vmap(self.norms[1])(tokens))


class DecoderLayer(eqx.Module):
    """Attention among the tokens to come, to those of the past, then a map of each.

    Attributes:
        among: Attention among the tokens, each to those before it.
        cross: Attention to the tokens of the past.
        feed_forward: Of each.
        norms: Before each of the three.
    """

    among: Attention
    cross: Attention
    feed_forward: FeedForward
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm, eqx.nn.LayerNorm]

    def __call__(
        self,
        tokens: Float[Array, "token width"],
        past: Float[Array, "past width"],
        positions: tuple[np.ndarray, np.ndarray],
    ) -> Float[Array, "token width"]:
        """The tokens after this layer.

        Args:
            tokens: Before it.
            past: Tokens of the past.
            positions: Of both, in samples.

        Returns:
            Them.
        """
        own = jax.vmap(self.norms[0])(tokens)
        tokens = tokens + self.among(own, own, (positions[0], positions[0]), causal=True)
        tokens = tokens + self.cross(jax.vmap(self.norms[1])(tokens), past, positions)
        return tokens + self.feed_forward(jax.vmap(self.norms[2])(tokens))


def build_encoder_layer(
    width: int, n_heads: int, inner: int, *, key: Key, dtype: object, causal: bool = False
) -> EncoderLayer:
    """An encoder layer with random weights.

    Args:
        width: Numbers in a token.
        n_heads: Heads of its attention.
        inner: Numbers between the two maps of a token.
        key: Random key.
        dtype: Of the weights.
        causal: Whether tokens see only those before them.

    Returns:
        It.
    """
    attention_key, forward_key = jax.random.split(key)
    return EncoderLayer(
        build_attention(width, n_heads, key=attention_key, dtype=dtype),
        build_feed_forward(width, inner, key=forward_key, dtype=dtype),
        (eqx.nn.LayerNorm(width, dtype=dtype), eqx.nn.LayerNorm(width, dtype=dtype)),
        causal=causal,
    )


def build_decoder_layer(
    width: int, n_heads: int, inner: int, *, key: Key, dtype: object
) -> DecoderLayer:
    """A decoder layer with random weights.

    Args:
        width: Numbers in a token.
        n_heads: Heads of either attention.
        inner: Numbers between the two maps of a token.
        key: Random key.
        dtype: Of the weights.

    Returns:
        It.
    """
    among_key, cross_key, forward_key = jax.random.split(key, 3)
    first, second, third = (eqx.nn.LayerNorm(width, dtype=dtype) for _ in range(3))
    return DecoderLayer(
        build_attention(width, n_heads, key=among_key, dtype=dtype),
        build_attention(width, n_heads, key=cross_key, dtype=dtype),
        build_feed_forward(width, inner, key=forward_key, dtype=dtype),
        (first, second, third),
    )


def build_feed_forward(width: int, inner: int, *, key: Key, dtype: object) -> FeedForward:
    """Two linear maps with random weights.

    Args:
        width: Numbers in a token.
        inner: Numbers between.
        key: Random key.
        dtype: Of the weights.

    Returns:
        Them.
    """
    up, down = jax.random.split(key)
    return FeedForward(
        eqx.nn.Linear(width, inner, key=up, dtype=dtype),
        eqx.nn.Linear(inner, width, key=down, dtype=dtype),
    )
