"""A transformer: an encoder reads the context, a decoder the programme of the horizon."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.typing import Key
from diffhep.magnet.forecasters.attention import (
    DecoderLayer,
    EncoderLayer,
    build_decoder_layer,
    build_encoder_layer,
    require_heads,
)
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
    fixed_form,
)
from diffhep.magnet.forecasters.scaling import Scaling, unit_scaling

__citations__ = ("arXiv:1706.03762", "arXiv:2104.09864")


class Transformer(AbstractNeuralForecaster):
    """Encoder and decoder of attention, all samples of the horizon in one pass.

    The encoder's tokens hold the channels and the output of each sample of the context; the
    decoder's the channels of each sample of the horizon, which see those before them and, by cross
    attention, the context: the forecast at a time does not depend on the programme after it. The
    mean is added to the last output measured. Its memory is the context: it carries no state.

    Attributes:
        embed_past: To the encoder's tokens.
        embed_future: To the decoder's.
        encoder: Layers.
        decoder: Layers.
        norms: After either.
        readout: From a token to the mean and the quantiles.
        scaling: To and from physical units.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    embed_past: eqx.nn.Linear
    embed_future: eqx.nn.Linear
    encoder: tuple[EncoderLayer, ...]
    decoder: tuple[DecoderLayer, ...]
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    readout: eqx.nn.Linear
    scaling: Scaling
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)

    def __init__(
        self,
        n_context: int = 200,
        n_horizon: int = 100,
        *,
        key: Key,
        width: int = 40,
        n_heads: int = 2,
        n_layers: int = 2,
        inner: int = 120,
        n_covariates: int = 0,
        levels: Sequence[float] = LEVELS,
        dtype: Any = jnp.float32,
    ) -> None:
        """Build one with random weights; as it stands it has 79,000 of them.

        Args:
            n_context: Samples of context, at least 1.
            n_horizon: Samples of horizon.
            key: Random key of the weights.
            width: Numbers in a token, a multiple of twice the heads.
            n_heads: Heads of attention.
            n_layers: Layers of the encoder, and of the decoder.
            inner: Numbers inside the map of each token.
            n_covariates: Covariates of a window.
            levels: Probabilities of the quantiles.
            dtype: Of the network.

        Raises:
            ConfigError: A setting is out of its range.
        """
        self.form = fixed_form(n_covariates, n_context, n_horizon)
        require_heads(width, n_heads)
        n_layers = as_integer(n_layers, "n_layers", low=1)
        inner = as_integer(inner, "inner", low=1)
        self.levels, self.scaling = as_levels(levels), unit_scaling(n_covariates)
        n_channels = 2 + n_covariates
        embed_past, embed_future, readout, *rest = jax.random.split(key, 3 + 2 * n_layers)
        self.embed_past = eqx.nn.Linear(n_channels + 1, width, key=embed_past, dtype=dtype)
        self.embed_future = eqx.nn.Linear(n_channels, width, key=embed_future, dtype=dtype)
        self.encoder = tuple(
            build_encoder_layer(width, n_heads, inner, key=part, dtype=dtype)
            for part in rest[:n_layers]
        )
        self.decoder = tuple(
            build_decoder_layer(width, n_heads, inner, key=part, dtype=dtype)
            for part in rest[n_layers:]
        )
        self.norms = (eqx.nn.LayerNorm(width, dtype=dtype), eqx.nn.LayerNorm(width, dtype=dtype))
        self.readout = eqx.nn.Linear(width, 1 + len(self.levels), key=readout, dtype=dtype)

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], tuple[()]]:
        """See `AbstractNeuralForecaster.forward`."""
        n = past.shape[0]
        positions = np.arange(inputs.shape[0])
        seen = jnp.concatenate([inputs[:n], past[:, None]], axis=1)
        tokens = jax.vmap(self.embed_past)(seen)
        for layer in self.encoder:
            tokens = layer(tokens, positions[:n])
        tokens = jax.vmap(self.norms[0])(tokens)
        steps = jax.vmap(self.embed_future)(inputs[n:])
        for layer in self.decoder:
            steps = layer(steps, tokens, (positions[n:], positions[:n]))
        raw = jax.vmap(self.readout)(jax.vmap(self.norms[1])(steps))
        return raw.at[:, 0].add(past[-1]), ()
