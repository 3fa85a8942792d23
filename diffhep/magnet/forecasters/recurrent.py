"""Recurrent forecasters: a GRU or an LSTM that sees the outputs measured, then its own."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import (
    LEVELS,
    AbstractNeuralForecaster,
    WindowForm,
    as_levels,
)
from diffhep.magnet.forecasters.scaling import Scaling, unit_scaling

__citations__ = ("arXiv:1406.1078", "doi:10.1162/neco.1997.9.8.1735")


class RecurrentState(NamedTuple):
    """What a recurrent network knows of the past.

    Attributes:
        hidden: Of the cell; an LSTM's is a pair.
        y: The output at the last sample, of order one.
    """

    hidden: Any
    y: Scalar


class Recurrent(AbstractNeuralForecaster):
    """A cell that carries a state from sample to sample.

    At each sample it is given the channels known ahead and the output of the sample before: the
    measured one along the context, its own mean along the horizon. The mean is the output before
    plus a linear map of the hidden state, so that an untrained network holds the field.

    Attributes:
        cell: `eqx.nn.GRUCell` or `eqx.nn.LSTMCell`.
        readout: From the hidden state to the change of the mean and the quantiles.
        scaling: To and from physical units.
        levels: Probabilities of the quantiles.
        form: Of the windows it takes.
    """

    cell: eqx.nn.GRUCell | eqx.nn.LSTMCell
    readout: eqx.nn.Linear
    scaling: Scaling
    levels: tuple[float, ...] = eqx.field(static=True)
    form: WindowForm = eqx.field(static=True)

    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], RecurrentState]:
        """See `AbstractNeuralForecaster.forward`."""
        n = past.shape[0]
        begin = self._rest(inputs.dtype) if state is None else state

        def observe(state: RecurrentState, at: tuple) -> tuple[RecurrentState, None]:
            channels, y = at
            return RecurrentState(self._advance(state, channels), y), None

        def extend(state: RecurrentState, channels: Array) -> tuple[RecurrentState, Array]:
            hidden = self._advance(state, channels)
            raw = self.readout(self._exposed(hidden))
            mean = state.y + raw[0]
            return RecurrentState(hidden, mean), raw.at[0].set(mean)

        if n:
            begin, _ = jax.lax.scan(observe, begin, (inputs[:n], past))
        return jax.lax.scan(extend, begin, inputs[n:])[1], begin

    def _rest(self, dtype: Any) -> RecurrentState:
        zero = jnp.zeros(self.cell.hidden_size, dtype)
        is_pair = isinstance(self.cell, eqx.nn.LSTMCell)
        return RecurrentState((zero, zero) if is_pair else zero, jnp.zeros((), dtype))

    def _advance(self, state: RecurrentState, channels: Array) -> Any:
        return self.cell(jnp.append(channels, state.y), state.hidden)

    def _exposed(self, hidden: Any) -> Array:
        return hidden[0] if isinstance(self.cell, eqx.nn.LSTMCell) else hidden


def gru(
    width: int = 32,
    *,
    key: Key,
    n_covariates: int = 0,
    levels: Sequence[float] = LEVELS,
    dtype: Any = jnp.float32,
) -> Recurrent:
    """A gated recurrent unit, arXiv:1406.1078.

    Args:
        width: Numbers in its state.
        key: Random key of the weights.
        n_covariates: Covariates of a window.
        levels: Probabilities of the quantiles.
        dtype: Of the network.

    Returns:
        The forecaster, untrained.

    Raises:
        ConfigError: A setting is out of its range.
    """
    return _recurrent(eqx.nn.GRUCell, width, key, n_covariates, levels, dtype)


def lstm(
    width: int = 32,
    *,
    key: Key,
    n_covariates: int = 0,
    levels: Sequence[float] = LEVELS,
    dtype: Any = jnp.float32,
) -> Recurrent:
    """A long short-term memory, doi:10.1162/neco.1997.9.8.1735.

    Args:
        width: Numbers in each half of its state.
        key: Random key of the weights.
        n_covariates: Covariates of a window.
        levels: Probabilities of the quantiles.
        dtype: Of the network.

    Returns:
        The forecaster, untrained.

    Raises:
        ConfigError: A setting is out of its range.
    """
    return _recurrent(eqx.nn.LSTMCell, width, key, n_covariates, levels, dtype)


def _recurrent(
    kind: type, width: int, key: Key, n_covariates: int, levels: Sequence[float], dtype: Any
) -> Recurrent:
    width = as_integer(width, "width", low=1)
    n_channels = 2 + as_integer(n_covariates, "n_covariates", low=0)
    found = as_levels(levels)
    cell_key, readout_key = jax.random.split(key)
    cell = kind(n_channels + 1, width, key=cell_key, dtype=dtype)
    readout = eqx.nn.Linear(width, 1 + len(found), key=readout_key, dtype=dtype)
    return Recurrent(
        cell=cell,
        readout=readout,
        scaling=unit_scaling(n_channels - 2),
        levels=found,
        form=WindowForm(n_channels - 2),
    )
