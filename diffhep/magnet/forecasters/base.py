"""What a forecaster offers: the field to come, with quantiles and the state to carry on."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, concrete, require, require_shape
from diffhep.core.errors import ConfigError, DataError
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
            starts where this one's ended, is forecast from what was known before it, too. Each kind
            says what it carries; the input's rate at the first sample of a window is taken to be
            that at its second, so that a cut inside a ramp's bend is felt by networks.
    """

    mean: Float[Array, " horizon"]
    quantiles: Float[Array, "quantile horizon"]
    state: Any = ()


class WindowForm(NamedTuple):
    """What windows a network takes.

    Attributes:
        n_covariates: Covariates of a window.
        n_context: Samples of context; None where any number will do.
        n_horizon: Samples of horizon; None where any number will do.
        least_context: Samples of context that it needs at least.
    """

    n_covariates: int = 0
    n_context: int | None = None
    n_horizon: int | None = None
    least_context: int = 0

    def require(self, window: Window, name: str = "window") -> None:
        """A window, or many with leading axes, is of this form.

        Args:
            window: It.
            name: The argument's name.

        Raises:
            ShapeError: It is of another form.
        """
        found = (window.n_context, window.n_horizon)
        wanted = (self.n_context, self.n_horizon)
        form = tuple(n if w is None else w for w, n in zip(wanted, found, strict=True))
        require_shape(
            found == form,
            name,
            f"hold {form[0]} samples of context and {form[1]} of horizon, as the network does",
            f"{found[0]} and {found[1]}",
        )
        require_shape(
            found[0] >= self.least_context,
            name,
            f"hold at least {self.least_context} samples of context, the network's memory",
            found[0],
        )
        n_covariates = np.shape(window.covariates)[-1]
        require_shape(
            n_covariates == self.n_covariates,
            name,
            f"hold {self.n_covariates} covariates, as the network does",
            n_covariates,
        )


def fixed_form(n_covariates: int, n_context: int, n_horizon: int) -> WindowForm:
    """The form of a network whose windows all have the same two lengths.

    Args:
        n_covariates: Covariates of a window.
        n_context: Samples of context, at least 1.
        n_horizon: Samples of horizon, at least 1.

    Raises:
        ConfigError: One of them is not such a number.
    """
    return WindowForm(
        as_integer(n_covariates, "n_covariates", low=0),
        as_integer(n_context, "n_context", low=1),
        as_integer(n_horizon, "n_horizon", low=1),
    )


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
    form: eqx.AbstractVar[WindowForm]

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

        Raises:
            ConfigError: The state is one of another forecaster.
            DataError: The window holds a value that is not finite; traced values pass.
            ShapeError: The window is of another form than the network's.
        """
        del key
        require_shape(
            window.u.ndim == 1 and window.n_horizon >= 1,
            "window",
            "hold one series with at least one sample of horizon (use jax.vmap for many)",
            f"u of shape {window.u.shape}, y of shape {window.y.shape}",
        )
        self.form.require(window)
        require_finite(window)
        dtype = network_dtype(self)
        inputs = self.scaling.inputs(window).astype(dtype)
        past = self.scaling.past(window).astype(dtype)
        if state is not None:
            self._require_own(state, inputs, past)
        raw, state = self.forward(inputs, past, state)
        mean, quantiles = quantiles_from(raw.astype(float))
        return Forecast(
            self.scaling.restore(mean, window), self.scaling.restore(quantiles, window), state
        )

    def _require_own(self, state: Any, inputs: Array, past: Array) -> None:
        """The state has the form of one of this forecaster."""
        expected = eqx.filter_eval_shape(self.forward, inputs, past)[1]

        def form(tree: Any) -> Any:
            return jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]

        if form(state) != form(expected):
            raise ConfigError(
                f"Argument `state` must be a state of this {type(self).__name__}, but it is one "
                f"of another forecaster: {type(state).__name__} with arrays of shapes "
                f"{form(state)[1]} where {form(expected)[1]} belong."
            )


def require_finite(window: Window) -> None:
    """What is known is finite.

    Args:
        window: It; traced values pass.

    Raises:
        DataError: A value is not finite; the first one is named.
    """
    for name in ("u", "y", "covariates"):
        known = concrete(getattr(window, name))
        if known is not None and not np.isfinite(known).all():
            index = int(np.argmin(np.isfinite(known)))
            raise DataError(
                f"Argument `window` must be finite, but `{name}` at index {index} is "
                f"{known[index]}."
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
