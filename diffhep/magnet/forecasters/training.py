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
from diffhep.core.fit import fit, fit_ensemble
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
from diffhep.magnet.windows import Window, Windows

_DECAY = 0.01
"""The last learning rate over the first."""


class Example(NamedTuple):
    """A window in the numbers of a network; batches have a leading axis.

    Attributes:
        inputs: Channels known ahead.
        past: The output along the context.
        target: The output along the horizon; zeros where it was never measured.
        labelled: One; zero where the output along the horizon was never measured.
    """

    inputs: Float[Array, "context_and_horizon channel"]
    past: Float[Array, " context"]
    target: Float[Array, " horizon"]
    labelled: Scalar | float = 1.0


ForecastLoss = Callable[[Any, Example], Scalar]
"""`loss(forecaster, example) -> scalar`, for one window in dimensionless numbers."""


class ForecasterFit(NamedTuple):
    """A forecaster after its training.

    Attributes:
        forecaster: At the step with the lowest running loss on held-out windows.
        training_loss: At every step; of an ensemble, one column a member.
        held_out_loss: Likewise.
        seconds: Of training, compilation apart.
        compile_seconds: Of compilation.
    """

    forecaster: Any
    training_loss: Float[np.ndarray, "step *member"]
    held_out_loss: Float[np.ndarray, "step *member"]
    seconds: float
    compile_seconds: float


def data_loss(model: AbstractNeuralForecaster, example: Example) -> Scalar:
    """Mean square error, and the pinball loss of the quantiles.

    Args:
        model: The forecaster.
        example: A window.

    Returns:
        Their sum; nothing for a window that was never measured.
    """
    raw, _ = model.forward(example.inputs, example.past)
    return example.labelled * data_loss_of(raw, example, model.levels)


def data_loss_of(
    raw: Float[Array, "horizon output"], example: Example, levels: tuple[float, ...]
) -> Scalar:
    """Mean square error, and the pinball loss of the quantiles, of what a network put out.

    Args:
        raw: Along the horizon.
        example: The window.
        levels: Probabilities of the quantiles.

    Returns:
        Their sum.
    """
    mean, quantiles = quantiles_from(raw)
    return squared_error(mean, example.target) + pinball(quantiles, example.target, levels)


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
    unlabelled: Window | None = None,
    ensemble: bool = False,
    calibration: AbstractOperator | None = None,
    clip_norm: float | None = 1.0,
    checkpoint: Checkpoint | None = None,
    progress: Show = True,
) -> ForecasterFit:
    """Train a neural forecaster by Adam, with a cosine decay of the learning rate.

    Scales are those of `windows`; the step is chosen by the `data_loss` on `held_out`, whatever the
    loss, which should come from other recordings (`split_recordings`).

    Args:
        forecaster: Untrained, or trained before on data of the same scales; of an ensemble, all
            arrays have a leading axis, as `eqx.filter_vmap` of a constructor makes them.
        windows: To learn from.
        held_out: To choose the step by.
        key: Random key of the batches.
        n_steps: Steps of Adam.
        batch: Windows a step.
        learning_rate: At the start.
        loss: For one window.
        unlabelled: Windows whose horizon was never measured, every leaf with a leading axis, for a
            loss that asks what `Example.labelled` says; as many a step as of the others.
        ensemble: Whether many are trained side by side, each on batches of its own.
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
    if unlabelled is not None:
        form = (unlabelled.u.shape[1:], unlabelled.y.shape[1:])
        expected = (windows.known.u.shape[1:], windows.known.y.shape[1:])
        require_shape(form == expected, "unlabelled", f"have the form {expected}", form)
    scaling = scaling_of(windows, calibration)
    dtype = network_dtype(forecaster)
    train, kept = (examples_of(part, scaling, dtype) for part in (windows, held_out))
    inputs = None if unlabelled is None else _inputs_alone(unlabelled, scaling, dtype)
    objective = _Objective(train, kept, inputs, loss=loss, batch=batch, scaling=scaling)
    result = (fit_ensemble if ensemble else fit)(
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
    if ensemble:
        n_members = result.history["loss"].shape[1]
        scaling = jax.tree.map(lambda leaf: jnp.stack([leaf] * n_members), scaling)
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
    inputs = _inputs_alone(windows.known, scaling, dtype)
    horizon = windows.known.u[:, windows.known.n_context :]
    target = jax.vmap(scaling.scale)(windows.target, horizon)
    return inputs._replace(target=target.astype(dtype), labelled=jnp.ones_like(inputs.labelled))


def _inputs_alone(known: Window, scaling: Scaling, dtype: Any) -> Example:
    """Windows of which no more than the context was measured."""
    inputs = jax.vmap(scaling.inputs)(known).astype(dtype)
    past = jax.vmap(scaling.past)(known).astype(dtype)
    n = inputs.shape[0]
    return Example(inputs, past, jnp.zeros((n, known.n_horizon), dtype), jnp.zeros(n, dtype))


class _Objective(eqx.Module):
    """A loss on random windows of either part."""

    train: Example
    held_out: Example
    unlabelled: Example | None
    loss: ForecastLoss = eqx.field(static=True)
    batch: int = eqx.field(static=True)
    scaling: Scaling

    def __call__(self, model: Any, key: Key, step: Array) -> tuple[Scalar, dict[str, Scalar]]:
        """The loss of one step, and the held-out one."""
        whole = with_scaling(model, self.scaling)
        keys = jax.random.split(key, 3)
        drawn = self._draw(self.train, keys[0])
        if self.unlabelled is not None:
            more = self._draw(self.unlabelled, keys[1])
            drawn = jax.tree.map(lambda *parts: jnp.concatenate(parts), drawn, more)
        held_out = _mean(data_loss, whole, self._draw(self.held_out, keys[2]))
        return _mean(self.loss, whole, drawn), {"held_out": jax.lax.stop_gradient(held_out)}

    def _draw(self, part: Example, key: Key) -> Example:
        """A batch; all of them where they are no more than that."""
        n = part.target.shape[0]
        if n <= self.batch:
            return part
        rows = jax.random.randint(key, (self.batch,), 0, n)
        return jax.tree.map(lambda leaf: leaf[rows], part)


def _mean(loss: ForecastLoss, model: Any, examples: Example) -> Scalar:
    return jnp.mean(jax.vmap(lambda example: loss(model, example))(examples))
