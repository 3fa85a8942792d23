"""Gated residual networks and the selection of variables, the parts of a temporal fusion."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Key

__citations__ = ("arXiv:1912.09363",)


class GatedAddition(eqx.Module):
    r"""$\mathrm{LayerNorm}(x + \sigma(W_4\gamma + b_4)\odot(W_5\gamma + b_5))$.

    Attributes:
        gate: $W_4, b_4$ and $W_5, b_5$, one above the other.
        norm: The normalisation.
    """

    gate: eqx.nn.Linear
    norm: eqx.nn.LayerNorm

    def __call__(
        self, x: Float[Array, " width"], gamma: Float[Array, " inner"]
    ) -> Float[Array, " width"]:
        """What goes on, plus what the gate lets through, normalised."""
        opening, value = jnp.split(self.gate(gamma), 2)
        return self.norm(x + jax.nn.sigmoid(opening) * value)


class GatedResidual(eqx.Module):
    r"""A gated residual network, GRN of arXiv:1912.09363.

    $\eta = W_1\,\mathrm{ELU}(W_2 a + W_3 c + b_2) + b_1$, then the gated addition of $\eta$ to
    $a$, or to a linear map of $a$ where the sizes differ.

    Attributes:
        first: $W_2, b_2$.
        second: $W_1, b_1$.
        context: $W_3$; None without a context.
        skip: The linear map; None where the sizes agree.
        addition: The gated addition.
    """

    first: eqx.nn.Linear
    second: eqx.nn.Linear
    context: eqx.nn.Linear | None
    skip: eqx.nn.Linear | None
    addition: GatedAddition

    def __call__(
        self, a: Float[Array, " input"], c: Float[Array, " context"] | None = None
    ) -> Float[Array, " width"]:
        """The network's output at an input, given what stays the same."""
        inner = self.first(a)
        if self.context is not None and c is not None:
            inner = inner + self.context(c)
        kept = a if self.skip is None else self.skip(a)
        return self.addition(kept, self.second(jax.nn.elu(inner)))


class VariableSelection(eqx.Module):
    """Numbers as tokens, each through a network of its own, and their weighted mean.

    Attributes:
        embedding: One linear map for each number.
        networks: One gated residual network for each, with a leading axis.
        weighting: From all tokens to the weights.
    """

    embedding: eqx.nn.Linear
    networks: GatedResidual
    weighting: GatedResidual

    def __call__(
        self, values: Float[Array, " variable"], c: Float[Array, " context"] | None = None
    ) -> tuple[Float[Array, " width"], Float[Array, " variable"]]:
        """The mean, and the weights: positive, with sum 1."""
        tokens = eqx.filter_vmap(lambda linear, x: linear(x[None]))(self.embedding, values)
        weights = jax.nn.softmax(self.weighting(tokens.reshape(-1), c))
        mapped = eqx.filter_vmap(lambda network, token: network(token))(self.networks, tokens)
        return weights @ mapped, weights


def build_gated_addition(width: int, inner: int, *, key: Key, dtype: object) -> GatedAddition:
    """A gated addition with random weights.

    Args:
        width: Numbers that go on.
        inner: Numbers before the gate.
        key: Random key.
        dtype: Of the weights.

    Returns:
        It.
    """
    gate = eqx.nn.Linear(inner, 2 * width, key=key, dtype=dtype)
    return GatedAddition(gate, eqx.nn.LayerNorm(width, dtype=dtype))


def build_gated_residual(
    n_in: int,
    width: int,
    n_out: int,
    *,
    key: Key,
    dtype: object,
    with_context: bool = False,
) -> GatedResidual:
    """A gated residual network with random weights.

    Args:
        n_in: Numbers it takes.
        width: Numbers inside, and of the context.
        n_out: Numbers it gives.
        key: Random key.
        dtype: Of the weights.
        with_context: Whether it is told what stays the same.

    Returns:
        It.
    """
    keys = jax.random.split(key, 5)
    context = skip = None
    if with_context:
        context = eqx.nn.Linear(width, width, use_bias=False, key=keys[2], dtype=dtype)
    if n_in != n_out:
        skip = eqx.nn.Linear(n_in, n_out, key=keys[3], dtype=dtype)
    return GatedResidual(
        eqx.nn.Linear(n_in, width, key=keys[0], dtype=dtype),
        eqx.nn.Linear(width, width, key=keys[1], dtype=dtype),
        context,
        skip,
        build_gated_addition(n_out, width, key=keys[4], dtype=dtype),
    )


def build_variable_selection(
    n_variables: int, width: int, *, key: Key, dtype: object, with_context: bool = False
) -> VariableSelection:
    """A selection of variables with random weights.

    Args:
        n_variables: Numbers to select from.
        width: Numbers in a token.
        key: Random key.
        dtype: Of the weights.
        with_context: Whether the weights depend on what stays the same.

    Returns:
        It.
    """
    embedding, networks, weighting = jax.random.split(key, 3)

    def embed(key: Key) -> eqx.nn.Linear:
        return eqx.nn.Linear(1, width, key=key, dtype=dtype)

    def network(key: Key) -> GatedResidual:
        return build_gated_residual(width, width, width, key=key, dtype=dtype)

    return VariableSelection(
        eqx.filter_vmap(embed)(jax.random.split(embedding, n_variables)),
        eqx.filter_vmap(network)(jax.random.split(networks, n_variables)),
        build_gated_residual(
            n_variables * width,
            width,
            n_variables,
            key=weighting,
            dtype=dtype,
            with_context=with_context,
        ),
    )
