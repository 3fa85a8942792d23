"""What a forecaster offers: the field to come, with quantiles and the state to carry on."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_shape
from diffhep.core.typing import Key
from diffhep.magnet.forecasters.scaling import Scaling
from diffhep.magnet.windows import Window

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of the quantiles, if nothing else is said."""


class Forecast(NamedTuple):
    """The output to come.

    Attributes:
        mean: Along the horizon, in the unit of the output.
        quantiles: One row for each of the forecaster's `levels`, not crossing one another.
        state: Of the forecaster at the end of the context. With it the next window, whose context
            starts where this one's ended, is forecast without loss of memory.
    """

    mean: Float[Array, " horizon"]
    quantiles: Float[Array, "quantile horizon"]
    state: Any = ()


class AbstractForecaster(eqx.Module):
    """A map of what is known now to the output to come."""

    levels: eqx.AbstractVar[tuple[float, ...]]

    @abc.abstractmethod
    def predict(self, window: Window, *, state: Any = None, key: Key | None = None) -> Forecast:
        """The output along the horizon of a window.

        Args:
            window: What is known; for many, use `jax.vmap`.
            state: Of an earlier forecast, whose context ended where this one starts; without it
                the context is all that is known of the past.
            key: Random key, for a forecaster that draws.

        Returns:
            The forecast.

        Raises:
            ShapeError: The window is not of the form that the forecaster takes.
        """


class AbstractNeuralForecaster(AbstractForecaster):
    """A network in dimensionless numbers, between scalings in physical units.

    A kind of network is a `forward`; what it is trained on and how is `fit_forecaster`'s.
    """

    scaling: eqx.AbstractVar[Scaling]

    @abc.abstractmethod
    def forward(
        self,
        inputs: Float[Array, "context_and_horizon channel"],
        past: Float[Array, " context"],
        state: Any = None,
    ) -> tuple[Float[Array, "horizon output"], Any]:
        """Outputs of the network along the horizon.

        Args:
            inputs: Channels of what is known ahead: input, its rate, covariates; of order one.
            past: The output along the context, of order one.
            state: At the start of the context; None where nothing is known of it.

        Returns:
            For each sample the mean and what the quantiles are made of, see `quantiles_from`; the
            state at the end of the context.
        """

    def predict(self, window: Window, *, state: Any = None, key: Key | None = None) -> Forecast:
        """The output along the horizon; see `AbstractForecaster.predict`.

        Args:
            window: What is known.
            state: Of an earlier forecast.
            key: Not used: the network draws nothing.

        Returns:
            The forecast.
        """
        del key
        require_shape(
            window.u.ndim == 1 and window.n_horizon >= 1,
            "window",
            "hold one series with at least one sample of horizon (use jax.vmap for many)",
            f"u of shape {window.u.shape}, y of shape {window.y.shape}",
        )
        dtype = network_dtype(self)
        inputs = self.scaling.inputs(window).astype(dtype)
        raw, state = self.forward(inputs, self.scaling.past(window).astype(dtype), state)
        mean, quantiles = quantiles_from(raw.astype(float))
        return Forecast(
            self.scaling.restore(mean, window), self.scaling.restore(quantiles, window), state
        )


def quantiles_from(
    raw: Float[Array, "horizon output"],
) -> tuple[Float[Array, " horizon"], Float[Array, "quantile horizon"]]:
    r"""Mean and quantiles that cannot cross.

    The lowest quantile lies at mean + raw_1, each next one above the one before by softplus(raw_k).

    Args:
        raw: Outputs of a network.

    Returns:
        Mean; quantiles, the lowest first.
    """
    mean, lowest, gaps = raw[:, 0], raw[:, :1] + raw[:, 1:2], jax.nn.softplus(raw[:, 2:])
    quantiles = jnp.concatenate([lowest, lowest + jnp.cumsum(gaps, axis=1)], axis=1)
    return mean, quantiles.T


def as_levels(levels: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of quantiles, checked.

    Args:
        levels: They.

    Returns:
        They.

    Raises:
        ConfigError: There is none, or they do not rise inside (0, 1).
    """
    found = tuple(float(level) for level in levels)
    rising = all(low < high for low, high in zip((0.0, *found), (*found, 1.0), strict=True))
    require(bool(found) and rising, "levels", "rise inside (0, 1)", found)
    return found


def network_dtype(model: Any) -> Any:
    """Floating dtype of a forecaster's network.

    Args:
        model: The forecaster.

    Returns:
        The dtype of its first array that is trained.
    """
    network = eqx.tree_at(lambda m: m.scaling, model, None)
    return jax.tree.leaves(eqx.filter(network, eqx.is_inexact_array))[0].dtype
