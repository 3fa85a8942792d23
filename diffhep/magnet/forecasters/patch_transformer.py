"""A transformer whose tokens are patches of samples, those of the programme ahead among them."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key
from diffhep.magnet.forecasters.attention import (
    EncoderLayer,
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

__citations__ = ("arXiv:2211.14730", "arXiv:1706.03762", "arXiv:2104.09864")


class PatchTransformer(AbstractNeuralForecaster):
    """Attention among patches: tens of tokens where there are hundreds of samples.

    Patches of the context hold channels and output less the last one measured; patches of the
    horizon hold the channels. Each sees those before it, and gives the samples of its own patch:
    the forecast does not depend on the programme after the patch. Its memory is the context: it
    carries no state. Unlike arXiv:2211.14730, where each series is forecast from itself alone,
    the channels of a patch share its token, and the horizon has patches.

    Attributes:
        embed_past: From a patch of the context to its token.
        embed_future: From a patch of the horizon.
        layers: Of attention.
        norm: After them.
        readout: From a token to mean and quantiles of all samples of the patch.
        scaling: To and from physical units.
        patch: Samples of a patch.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    embed_past: eqx.nn.Linear
    embed_future: eqx.nn.Linear
    layers: tuple[EncoderLayer, ...]
    norm: eqx.nn.LayerNorm
    readout: eqx.nn.Linear
    scaling: Scaling
    patch: int = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)

    def __init__(
        self,
        n_context: int = 200,
        n_horizon: int = 100,
        *,
        key: Key,
        patch: int = 10,
        width: int = 56,
        n_heads: int = 4,
        n_layers: int = 3,
        inner: int = 104,
        n_covariates: int = 0,
        levels: Sequence[float] = LEVELS,
        dtype: Any = jnp.float32,
    ) -> None:
        """Build one with random weights; as it stands it has 80,000 of them.

        Args:
            n_context: Samples of context, a multiple of the patch.
            n_horizon: Samples of horizon, a multiple of the patch.
            key: Random key of the weights.
            patch: Samples of a patch.
            width: Numbers in a token, a multiple of twice the heads.
            n_heads: Heads of attention.
            n_layers: Layers.
            inner: Numbers inside the map of each token.
            n_covariates: Covariates of a window.
            levels: Probabilities of the quantiles.
            dtype: Of the network.

        Raises:
            ConfigError: A setting is out of its range.
        """
        self.form = fixed_form(n_covariates, n_context, n_horizon)
        self.patch = as_integer(patch, "patch", low=1)
        for name, n in (("n_context", n_context), ("n_horizon", n_horizon)):
            require(n % patch == 0, name, f"be a multiple of `patch`, {patch}", n)
        require_heads(width, n_heads)
        n_layers = as_integer(n_layers, "n_layers", low=1)
        inner = as_integer(inner, "inner", low=1)
        self.levels, self.scaling = as_levels(levels), unit_scaling(n_covariates)
        n_channels, n_outputs = 2 + n_covariates, 1 + len(self.levels)
        past, future, readout, *rest = jax.random.split(key, 3 + n_layers)
        self.embed_past = eqx.nn.Linear((n_channels + 1) * patch, width, key=past, dtype=dtype)
        self.embed_future = eqx.nn.Linear(n_channels * patch, width, key=future, dtype=dtype)
        self.layers = tuple(
            build_encoder_layer(width, n_heads, inner, key=part, dtype=dtype, causal=True)
            for part in rest
        )
        self.norm = eqx.nn.LayerNorm(width, dtype=dtype)
        self.readout = eqx.nn.Linear(width, n_outputs * patch, key=readout, dtype=dtype)

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], tuple[()]]:
        """See `AbstractNeuralForecaster.forward`."""
        n = past.shape[0]
        seen = jnp.concatenate([inputs[:n], (past - past[-1])[:, None]], axis=1)
        tokens = jnp.concatenate(
            [
                jax.vmap(self.embed_past)(self._patches(seen)),
                jax.vmap(self.embed_future)(self._patches(inputs[n:])),
            ]
        )
        for layer in self.layers:
            tokens = layer(tokens, np.arange(tokens.shape[0]))
        ahead = jax.vmap(self.norm)(tokens[n // self.patch :])
        raw = jax.vmap(self.readout)(ahead).reshape(inputs.shape[0] - n, -1)
        return raw.at[:, 0].add(past[-1]), ()

    def _patches(self, series: Float[Array, "time channel"]) -> Float[Array, "patch sample"]:
        """Samples of a patch and their channels side by side."""
        return series.reshape(series.shape[0] // self.patch, -1)
