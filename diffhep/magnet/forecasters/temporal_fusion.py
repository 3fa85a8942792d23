"""The temporal fusion transformer: it tells which inputs and which past samples it used."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.typing import Key
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
    fixed_form,
    network_dtype,
)
from diffhep.magnet.forecasters.gating import (
    GatedAddition,
    GatedResidual,
    VariableSelection,
    build_gated_addition,
    build_gated_residual,
    build_variable_selection,
)
from diffhep.magnet.forecasters.scaling import Scaling, unit_scaling
from diffhep.magnet.windows import Window

__citations__ = ("arXiv:1912.09363",)

_Pair = tuple[Float[Array, " width"], Float[Array, " width"]]


class Explanation(NamedTuple):
    """What a temporal fusion transformer used; weights are positive, those of a sample sum to 1.

    Attributes:
        attention: Of each sample of the horizon to those before it and itself, mean over heads.
        past: Weights of input, rate and output at each sample of the context.
        future: Weights of input and rate at each sample of the horizon.
        covariates: Weights of the covariates.
    """

    attention: Float[Array, "horizon context_and_horizon"]
    past: Float[Array, "context 3"]
    future: Float[Array, "horizon 2"]
    covariates: Float[Array, " covariate"]


class InterpretableAttention(eqx.Module):
    """Attention whose heads share their values, so that the mean of their weights tells it all.

    Attributes:
        query: Of all heads.
        keys: Of all heads.
        value: Of one.
        out: Back to tokens.
        n_heads: How many.
    """

    query: eqx.nn.Linear
    keys: eqx.nn.Linear
    value: eqx.nn.Linear
    out: eqx.nn.Linear
    n_heads: int = eqx.field(static=True)

    def __call__(
        self, tokens: Float[Array, "token width"], n_asking: int
    ) -> tuple[Float[Array, "{n_asking} width"], Float[Array, "{n_asking} token"]]:
        """What the last tokens learn from those before them and themselves, and the weights."""
        n = tokens.shape[0]
        asking = tokens[n - n_asking :]
        q = jax.vmap(self.query)(asking).reshape(n_asking, self.n_heads, -1)
        k = jax.vmap(self.keys)(tokens).reshape(n, self.n_heads, -1)
        scores = jnp.einsum("qhd,khd->hqk", q * q.shape[-1] ** -0.5, k)
        ahead = np.arange(n) > np.arange(n - n_asking, n)[:, None]
        weights = jax.nn.softmax(jnp.where(ahead, -jnp.inf, scores), axis=-1).mean(axis=0)
        return jax.vmap(self.out)(weights @ jax.vmap(self.value)(tokens)), weights


class StaticEncoder(eqx.Module):
    """What stays the same along a window, told to four parts of the network.

    Attributes:
        selection: Of the covariates.
        networks: For the selection of variables, the enrichment, and the two halves of the state.
    """

    selection: VariableSelection
    networks: tuple[GatedResidual, GatedResidual, GatedResidual, GatedResidual]

    def __call__(
        self, covariates: Float[Array, " covariate"]
    ) -> tuple[list[Float[Array, " width"]], Float[Array, " covariate"]]:
        """Four contexts, and the weights of the covariates."""
        token, weights = self.selection(covariates)
        return [network(token) for network in self.networks], weights


class TemporalFusionTransformer(AbstractNeuralForecaster):
    """Selection of variables, an LSTM along the window, then attention to all that came before.

    As in arXiv:1912.09363, without dropout, with the mean as an output beside the quantiles; the
    mean is added to the last output measured. The forecast at a time does not depend on the
    programme after it. Its memory is the context: it carries no state.

    Attributes:
        static: Encoder of the covariates; None without any.
        select_past: Among input, rate and output.
        select_future: Among input and rate.
        cells: LSTM along the context, and along the horizon.
        after_cells: Gated addition to what the cells are given.
        enrichment: With what stays the same.
        attention: To the past.
        after_attention: Gated addition of the attention.
        mapping: Of each sample.
        after_mapping: Gated addition to what the attention was given.
        readout: To the mean and the quantiles.
        scaling: To and from physical units.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    static: StaticEncoder | None
    select_past: VariableSelection
    select_future: VariableSelection
    cells: tuple[eqx.nn.LSTMCell, eqx.nn.LSTMCell]
    after_cells: GatedAddition
    enrichment: GatedResidual
    attention: InterpretableAttention
    after_attention: GatedAddition
    mapping: GatedResidual
    after_mapping: GatedAddition
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
        width: int = 36,
        n_heads: int = 4,
        n_covariates: int = 0,
        levels: Sequence[float] = LEVELS,
        dtype: Any = jnp.float32,
    ) -> None:
        """Build one with random weights; as it stands it has 81,000 of them.

        Args:
            n_context: Samples of context, at least 1.
            n_horizon: Samples of horizon.
            key: Random key of the weights.
            width: Numbers in a token, a multiple of the heads.
            n_heads: Heads of attention.
            n_covariates: Covariates of a window.
            levels: Probabilities of the quantiles.
            dtype: Of the network.

        Raises:
            ConfigError: A setting is out of its range.
        """
        self.form = fixed_form(n_covariates, n_context, n_horizon)
        n_heads = as_integer(n_heads, "n_heads", low=1)
        width = as_integer(width, "width", low=1)
        require(width % n_heads == 0, "width", f"be a multiple of {n_heads}", width)
        self.levels, self.scaling = as_levels(levels), unit_scaling(n_covariates)
        static, past, future, *rest = jax.random.split(key, 11)
        told = n_covariates > 0
        self.static = _static_encoder(n_covariates, width, static, dtype) if told else None

        def select(n: int, key: Key) -> VariableSelection:
            return build_variable_selection(n, width, key=key, dtype=dtype, with_context=told)

        def add(key: Key) -> GatedAddition:
            return build_gated_addition(width, width, key=key, dtype=dtype)

        def residual(key: Key, with_context: bool) -> GatedResidual:
            return build_gated_residual(
                width, width, width, key=key, dtype=dtype, with_context=with_context
            )

        def cell(key: Key) -> eqx.nn.LSTMCell:
            return eqx.nn.LSTMCell(width, width, key=key, dtype=dtype)

        self.select_past, self.select_future = select(3, past), select(2, future)
        self.cells = (cell(rest[0]), cell(rest[1]))
        self.after_cells, self.enrichment = add(rest[2]), residual(rest[3], told)
        self.attention = _interpretable_attention(width, n_heads, rest[4], dtype)
        self.after_attention, self.mapping = add(rest[5]), residual(rest[6], False)
        last, readout = jax.random.split(rest[7])
        self.after_mapping = add(last)
        self.readout = eqx.nn.Linear(width, 1 + len(self.levels), key=readout, dtype=dtype)

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], tuple[()]]:
        """See `AbstractNeuralForecaster.forward`."""
        return self._run(inputs, past)[0], ()

    def explain(self, window: Window) -> Explanation:
        """What the forecast of a window is made from.

        Args:
            window: What is known.

        Returns:
            Weights of variables and of samples.

        Raises:
            ShapeError: The window is of another form than the network's.
        """
        self.form.require(window)
        dtype = network_dtype(self)
        inputs = self.scaling.inputs(window).astype(dtype)
        return self._run(inputs, self.scaling.past(window).astype(dtype))[1]

    def _run(self, inputs: Array, past: Array) -> tuple[Array, Explanation]:
        n = past.shape[0]
        contexts, covariates = [None] * 4, jnp.zeros(0, inputs.dtype)
        if self.static is not None:
            contexts, covariates = self.static(inputs[0, 2:])
        seen = jnp.concatenate([inputs[:n, :2], past[:, None]], axis=1)
        begin, past_weights = jax.vmap(lambda x: self.select_past(x, contexts[0]))(seen)
        ahead, future_weights = jax.vmap(lambda x: self.select_future(x, contexts[0]))(
            inputs[n:, :2]
        )
        zero = jnp.zeros(self.cells[0].hidden_size, inputs.dtype)
        state = tuple(zero if c is None else c for c in contexts[2:])
        told, state = run_lstm(self.cells[0], begin, state)
        telling, _ = run_lstm(self.cells[1], ahead, state)
        temporal = jax.vmap(self.after_cells)(
            jnp.concatenate([begin, ahead]), jnp.concatenate([told, telling])
        )
        enriched = jax.vmap(lambda x: self.enrichment(x, contexts[1]))(temporal)
        learned, attention = self.attention(enriched, inputs.shape[0] - n)
        attended = jax.vmap(self.after_attention)(enriched[n:], learned)
        mapped = jax.vmap(self.mapping)(attended)
        raw = jax.vmap(self.readout)(jax.vmap(self.after_mapping)(temporal[n:], mapped))
        explanation = Explanation(attention, past_weights, future_weights, covariates)
        return raw.at[:, 0].add(past[-1]), explanation


def run_lstm(
    cell: eqx.nn.LSTMCell, tokens: Float[Array, "token width"], state: Any
) -> tuple[Float[Array, "token hidden"], _Pair]:
    """An LSTM along tokens; the part of the input is one product ahead of the loop.

    Args:
        cell: Of the LSTM.
        tokens: They.
        state: Hidden state and cell state before the first.

    Returns:
        Hidden state at each token; the state after the last.
    """
    bias = 0.0 if cell.bias is None else cell.bias
    driven = tokens @ cell.weight_ih.T + bias

    def advance(state: _Pair, drive: Array) -> tuple[_Pair, Array]:
        hidden, memory = state
        i, f, g, o = jnp.split(drive + cell.weight_hh @ hidden, 4)
        memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
        return (hidden, memory), hidden

    end, hidden = jax.lax.scan(advance, state, driven)
    return hidden, end


def _static_encoder(n_covariates: int, width: int, key: Key, dtype: Any) -> StaticEncoder:
    selection, *rest = jax.random.split(key, 5)
    one, two, three, four = (
        build_gated_residual(width, width, width, key=part, dtype=dtype) for part in rest
    )
    return StaticEncoder(
        build_variable_selection(n_covariates, width, key=selection, dtype=dtype),
        (one, two, three, four),
    )


def _interpretable_attention(
    width: int, n_heads: int, key: Key, dtype: Any
) -> InterpretableAttention:
    part = width // n_heads
    sizes = ((width, width), (width, width), (width, part), (part, width))
    linear = [
        eqx.nn.Linear(*size, use_bias=False, key=own, dtype=dtype)
        for size, own in zip(sizes, jax.random.split(key, 4), strict=True)
    ]
    return InterpretableAttention(*linear, n_heads=n_heads)
