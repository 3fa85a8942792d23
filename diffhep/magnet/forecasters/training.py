"""Training of neural forecasters on windows, held-out recordings beside."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require_shape
from diffhep.core.fit import fit
from diffhep.core.progress import Show
from diffhep.core.typing import Key, Scalar
from diffhep.magnet.forecasters.base import (
    AbstractNeuralForecaster,
    network_dtype,
    quantiles_from,
)
from diffhep.magnet.forecasters.losses import pinball, squared_error
from diffhep.magnet.forecasters.scaling import Scaling, scaling_of
from diffhep.magnet.operators.base import AbstractOperator
from diffhep.magnet.windows import Windows

_DECAY = 0.01
"""The last learning rate over the first."""


class Example(NamedTuple):
    """A window in the numbers of a network; batches have a leading axis."""

    inputs: Float[Array, "context_and_horizon channel"]
    past: Float[Array, " context"]
    target: Float[Array, " horizon"]


ForecastLoss = Callable[[Any, Example], Scalar]
"""`loss(forecaster, example) -> scalar`, for one window in dimensionless numbers."""


class ForecasterFit(NamedTuple):
    """A forecaster after its training.

    Attributes:
        forecaster: At the step with the lowest running loss on held-out windows.
        training_loss: At every step.
        held_out_loss: At every step.
        seconds: Of training, compilation apart.
        compile_seconds: Of compilation.
    """

    forecaster: Any
    training_loss: Float[np.ndarray, " step"]
    held_out_loss: Float[np.ndarray, " step"]
    seconds: float
    compile_seconds: float


def data_loss(model: AbstractNeuralForecaster, example: Example) -> Scalar:
    """Mean square error, and the pinball loss of the quantiles.

    Args:
        model: The forecaster.
        example: A window.

    Returns:
        Their sum.
    """
    raw, _ = model.forward(example.inputs, example.past)
    mean, quantiles = quantiles_from(raw)
    return squared_error(mean, example.target) + pinball(quantiles, example.target, model.levels)


def fit_forecaster(
    forecaster: AbstractNeuralForecaster,
    windows: Windows,
    held_out: Windows,
    *,
    key: Key,
    n_steps: int = 2000,
    batch: int = 32,
    learning_rate: float = 1e-3,
    loss: ForecastLoss = data_loss,
    calibration: AbstractOperator | None = None,
    clip_norm: float | None = 1.0,
    checkpoint: Checkpoint | None = None,
    progress: Show = True,
) -> ForecasterFit:
    """Train a neural forecaster by Adam, with a cosine decay of the learning rate.

    Scales are those of `windows`; the step is chosen by `held_out`, which should come from other
    recordings (`split_recordings`).

    Args:
        forecaster: Untrained, or trained before on data of the same scales.
        windows: To learn from.
        held_out: To choose the step by.
        key: Random key of the batches.
        n_steps: Steps of Adam.
        batch: Windows a step.
        learning_rate: At the start.
        loss: For one window.
        calibration: An operator without memory; its residual is forecast.
        clip_norm: Largest norm of the gradient.
        checkpoint: Where training is saved and goes on from.
        progress: Whether to show a bar.

    Returns:
        The trained forecaster with its scales, and the losses.

    Raises:
        ConfigError: A setting is out of its range.
        ConvergenceError: Loss or gradient is not finite.
        DataError: The input or the output never changes.
        ShapeError: The two sets of windows have different forms, or another one than the network.
    """
    n_steps = as_integer(n_steps, "n_steps", low=1)
    batch = as_integer(batch, "batch", low=1)
    forms = [(part.known.u.shape[1:], part.target.shape[1:]) for part in (windows, held_out)]
    require_shape(forms[0] == forms[1], "held_out", f"have the form {forms[0]}", forms[1])
    forecaster.form.require(windows.known, "windows")
    scaling = scaling_of(windows, calibration)
    dtype = network_dtype(forecaster)
    parts = (examples_of(part, scaling, dtype) for part in (windows, held_out))
    objective = _Objective(*parts, loss=loss, batch=batch, scaling=scaling)
    result = fit(
        objective,
        eqx.tree_at(lambda model: model.scaling, forecaster, None),
        n_steps,
        key=key,
        learning_rate=optax.cosine_decay_schedule(learning_rate, n_steps, _DECAY),
        clip_norm=clip_norm,
        best_by="held_out",
        checkpoint=checkpoint,
        name="fit_forecaster",
        progress=progress,
    )
    return ForecasterFit(
        with_scaling(result.best_model, scaling),
        result.history["loss"],
        result.history["held_out"],
        result.seconds,
        result.compile_seconds,
    )


def with_scaling(model: Any, scaling: Scaling) -> Any:
    """A forecaster with other scales.

    Args:
        model: The forecaster.
        scaling: The scales.

    Returns:
        It.
    """
    return eqx.tree_at(lambda m: m.scaling, model, scaling, is_leaf=lambda leaf: leaf is None)


def examples_of(windows: Windows, scaling: Scaling, dtype: Any) -> Example:
    """Windows in the numbers of a network.

    Args:
        windows: They.
        scaling: Of the network.
        dtype: Of the network.

    Returns:
        A batch of examples.
    """
    known = windows.known
    horizon = known.u[:, known.n_context :]
    scaled = (
        jax.vmap(scaling.inputs)(known),
        jax.vmap(scaling.past)(known),
        jax.vmap(scaling.scale)(windows.target, horizon),
    )
    return Example(*(jnp.asarray(part, dtype) for part in scaled))


class _Objective(eqx.Module):
    """A loss on random windows of either part."""

    train: Example
    held_out: Example
    loss: ForecastLoss = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    scaling: Scaling

    def __call__(self, model: Any, key: Key, step: Array) -> tuple[Scalar, dict[str, Scalar]]:
        """The loss of one step, and the held-out one."""
        whole = with_scaling(model, self.scaling)
        keys = jax.random.split(key)
        losses = [
            self._mean(whole, part, part_key)
            for part, part_key in zip((self.train, self.held_out), keys, strict=True)
        ]
        return losses[0], {"held_out": jax.lax.stop_gradient(losses[1])}

    def _mean(self, model: Any, part: Example, key: Key) -> Scalar:
        rows = jax.random.randint(key, (self.batch,), 0, part.target.shape[0])
        drawn = jax.tree.map(lambda leaf: leaf[rows], part)
        return jnp.mean(jax.vmap(lambda example: self.loss(model, example))(drawn))
