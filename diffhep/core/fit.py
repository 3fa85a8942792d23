"""Training by gradient descent: optax on top of the chunked loop, one model or an ensemble."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import require, require_real, require_shape
from diffhep.core.fingerprint import fingerprint
from diffhep.core.loop import LoopResult, OnChunk, run_loop
from diffhep.core.progress import Show
from diffhep.core.rng import check_key, key_at, keys_for_chains
from diffhep.core.typing import Key, PyTree

Loss = Callable[[Any, Key, Array], Any]
"""`loss(model, key, step) -> scalar` or `(scalar, dict of scalars or arrays)`."""

LearningRate = float | Callable[[Any], Any]
"""A number, or an optax schedule: step -> number."""

Optimizer = Callable[[Any], optax.GradientTransformation]
"""Builds an optax optimiser from its learning rate, as `optax.adam` does."""


class FitResult(NamedTuple):
    """The last model, the best one, what was measured at every step, and the time it took."""

    model: PyTree
    best_model: PyTree
    history: dict[str, Any]
    seconds: float
    compile_seconds: float


def _global_norm(gradient: PyTree) -> Array:
    """Euclidean norm over all arrays of a tree."""
    squares = [jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(gradient)]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


class _FitState(NamedTuple):
    """What the next step of a fit needs."""

    key: Key
    done: Array
    params: PyTree
    optimizer: PyTree
    window: Array
    best_params: PyTree
    best_loss: Array


class _FitStep(eqx.Module):
    """One gradient step of one model."""

    loss: Loss
    rest: PyTree
    optimizer: optax.GradientTransformation = eqx.field(static=True)
    learning_rate: LearningRate = eqx.field(static=True)
    best_by: str = eqx.field(static=True)

    def evaluate(self, params: PyTree, key: Key, count: Array) -> tuple[Array, dict[str, Any]]:
        """Loss and what it reports beside."""
        out = self.loss(eqx.combine(params, self.rest), key, count)
        value, extra = out if isinstance(out, tuple) else (out, {})
        shape = jnp.shape(value)
        require_shape(shape == (), "loss", "return a scalar", f"shape {shape}")
        return jnp.asarray(value), dict(extra)

    def init(self, key: Key, params: PyTree, window: int) -> _FitState:
        """The state before the first step."""
        value, extra = eqx.filter_eval_shape(_FitStep.evaluate, self, params, key, jnp.asarray(0))
        known = sorted({"loss", *extra})
        require(self.best_by in known, "best_by", f"be one of {', '.join(known)}", self.best_by)
        shape = jnp.shape(extra.get(self.best_by, value))
        require_shape(shape == (), "best_by", "name a scalar", f"shape {shape}")
        losses = jnp.zeros((window,), value.dtype)
        largest = jnp.asarray(jnp.finfo(value.dtype).max, value.dtype)
        optimizer = self.optimizer.init(params)
        return _FitState(key, jnp.asarray(0), params, optimizer, losses, params, largest)

    def __call__(self, state: _FitState) -> tuple[_FitState, dict[str, Any]]:
        """One step of the optimiser."""
        key, count, params = key_at(state.key, state.done), state.done, state.params
        evaluate = jax.value_and_grad(self.evaluate, has_aux=True)
        (value, extra), gradient = evaluate(params, key, count)
        updates, optimizer = self.optimizer.update(gradient, state.optimizer, params)
        n_window = state.window.shape[0]
        window = state.window.at[count % n_window].set(extra.get(self.best_by, value))
        running = jnp.where(count + 1 >= n_window, window.mean(), state.best_loss)
        is_best = running < state.best_loss
        best = jax.tree.map(
            lambda new, old: jnp.where(is_best, new, old), params, state.best_params
        )
        rate = self.learning_rate
        metrics = {
            "loss": value,
            "grad_norm": _global_norm(gradient),
            "learning_rate": jnp.asarray(rate(count) if callable(rate) else rate, value.dtype),
            **extra,
        }
        best_loss = jnp.where(is_best, running, state.best_loss)
        params = optax.apply_updates(params, updates)
        return _FitState(
            key=state.key,
            done=count + 1,
            params=params,
            optimizer=optimizer,
            window=window,
            best_params=best,
            best_loss=best_loss,
        ), metrics


class _OneFit(eqx.Module):
    """A fit's step in the form that the loop drives."""

    step: _FitStep

    def __call__(self, key: Key, state: _FitState) -> tuple[_FitState, dict[str, Any]]:
        """The loop's key is not used: each member's stream starts from its own."""
        return self.step(state)


class _EnsembleFit(eqx.Module):
    """The same for an ensemble: the models carry a leading axis, the loss is shared."""

    step: _FitStep

    def __call__(self, key: Key, state: _FitState) -> tuple[_FitState, dict[str, Any]]:
        """One step of every member in one program."""

        def advance(rest: PyTree, member: _FitState) -> tuple[_FitState, dict[str, Any]]:
            return _with_rest(self.step, rest)(member)

        return eqx.filter_vmap(advance)(self.step.rest, state)


def _with_rest(step: _FitStep, rest: PyTree) -> _FitStep:
    return _FitStep(step.loss, rest, step.optimizer, step.learning_rate, step.best_by)


def _build_step(
    loss: Loss,
    rest: PyTree,
    learning_rate: LearningRate,
    optimizer: Optimizer,
    clip_norm: float | None,
    best_by: str,
) -> _FitStep:
    """The step of a fit, after a check of its settings."""
    if not callable(learning_rate):
        require_real(learning_rate, "learning_rate", "be finite and not negative", low=0.0)
    transformation = optimizer(learning_rate)
    if clip_norm is not None:
        require(clip_norm > 0.0, "clip_norm", "be positive", clip_norm)
        transformation = optax.chain(optax.clip_by_global_norm(clip_norm), transformation)
    return _FitStep(loss, rest, transformation, learning_rate, best_by)


def _identity(
    loss: Loss,
    model: PyTree,
    learning_rate: LearningRate,
    optimizer: Optimizer,
    clip_norm: float | None,
    best_window: int,
    best_by: str,
    checkpoint: Checkpoint | None,
) -> dict[str, str]:
    """What tells a fit from others with its key; none is needed where nothing is resumed."""
    if checkpoint is None:
        return {}
    parts = {"loss": loss, "model": model, "optimizer": optimizer, "clip_norm": clip_norm}
    # A schedule is known by its values: its code belongs to another library.
    parts |= {"learning_rate": _rates(learning_rate), "best_window": best_window}
    if best_by != "loss":
        parts["best_by"] = best_by
    return {name: fingerprint(part) for name, part in parts.items()}


def _rates(learning_rate: LearningRate) -> list[float]:
    """A learning rate at steps from 0 to a million, to six digits."""
    if callable(learning_rate):
        steps = jnp.asarray(np.unique(np.geomspace(1, 1e6, 61).astype(int)) - 1)
        rates = np.asarray(jax.vmap(lambda step: jnp.asarray(learning_rate(step)))(steps))
    else:
        rates = np.asarray([learning_rate])
    return [float(f"{rate:.6g}") for rate in rates]


def _finish(result: LoopResult, rest: PyTree) -> FitResult:
    state = result.state
    model, best = (eqx.combine(params, rest) for params in (state.params, state.best_params))
    return FitResult(model, best, result.history, result.seconds, result.compile_seconds)


def fit(
    loss: Loss,
    model: PyTree,
    n_steps: int,
    *,
    key: Key,
    learning_rate: LearningRate = 1e-3,
    optimizer: Optimizer = optax.adam,
    clip_norm: float | None = None,
    best_window: int = 50,
    best_by: str = "loss",
    chunk: int = 50,
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 10.0,
    name: str = "fit",
    on_chunk: OnChunk | None = None,
    progress: Show = True,
    resume: bool = True,
) -> FitResult:
    """Minimise a loss over the floating-point arrays of a model.

    Cost: one gradient a step, and a copy of the parameters for the best model.

    Args:
        loss: `loss(model, key, step)`, a scalar or a scalar and a dict of what else to record.
            It may be an `eqx.Module`: its arrays (data, say) are then no constants of the program.
        model: A pytree; every floating-point array in it is trained, everything else is kept.
        n_steps: Number of optimiser steps.
        key: Random key; step `i` gets `key_at(key, i)`.
        learning_rate: A number or an optax schedule.
        optimizer: Builds an optax optimiser from the learning rate.
        clip_norm: Largest global norm of the gradient, in units of loss per parameter.
        best_window: The best model is the one at the end of the `best_window` consecutive steps
            with the lowest mean loss; a shorter fit takes all its steps.
        best_by: What decides on the best model in place of the loss: the name of a number that the
            loss returns beside, one on held-out data as a rule.
        chunk: Steps per host visit.
        checkpoint: Where the fit is saved and goes on from; one of another loss, model, learning
            rate, optimiser, clipping, window or key is refused. A schedule that spans `n_steps` is
            another one for another number of steps.
        checkpoint_every_s: Least time between two saves, in seconds.
        name: For messages and the progress bar.
        on_chunk: Called with the number of steps done and the chunk's metrics.
        progress: Whether to show a bar; "force" writes lines where there is no terminal.
        resume: Go on from the checkpoint where there is one.

    Returns:
        model, best_model, history (NumPy arrays over steps: loss, grad_norm before clipping,
        learning_rate, and what the loss returned), seconds and compile_seconds.

    Raises:
        ConvergenceError: Loss, gradient or parameters are not finite; names the step.
        Interrupted: The user stopped the fit; the state is saved.
        ConfigError: A setting is out of its range; the checkpoint is of another problem, and the
            message says what differs.
        ShapeError: The loss is not a scalar.
    """
    check_key(key)
    require(best_window >= 1, "best_window", "be at least 1", best_window)
    params, rest = eqx.partition(model, eqx.is_inexact_array)
    step = _build_step(loss, rest, learning_rate, optimizer, clip_norm, best_by)
    state = step.init(key, params, min(best_window, max(n_steps, 1)))
    result = run_loop(
        _OneFit(step),
        state,
        n_steps,
        key=key,
        chunk=chunk,
        name=name,
        checkpoint=checkpoint,
        checkpoint_every_s=checkpoint_every_s,
        on_chunk=on_chunk,
        progress=progress,
        resume=resume,
        identity=_identity(
            loss, model, learning_rate, optimizer, clip_norm, best_window, best_by, checkpoint
        ),
    )
    return _finish(result, rest)


def fit_ensemble(
    loss: Loss,
    models: PyTree,
    n_steps: int,
    *,
    key: Key,
    learning_rate: LearningRate = 1e-3,
    optimizer: Optimizer = optax.adam,
    clip_norm: float | None = None,
    best_window: int = 50,
    best_by: str = "loss",
    chunk: int = 50,
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 10.0,
    name: str = "fit_ensemble",
    on_chunk: OnChunk | None = None,
    progress: Show = True,
    resume: bool = True,
) -> FitResult:
    """Fit many models of one form side by side, as one vectorised program.

    Member `i` equals a `fit` with the key `keys_for_chains(key, n)[i]`, to rounding.

    Args:
        loss: As in `fit`, for one model; its own arrays are shared by all members.
        models: A model whose arrays all have a leading member axis, as `eqx.filter_vmap` of its
            constructor makes it.
        n_steps: Number of optimiser steps.
        key: Random key.
        learning_rate: As in `fit`.
        optimizer: As in `fit`.
        clip_norm: As in `fit`, for each member alone.
        best_window: As in `fit`, for each member alone.
        best_by: As in `fit`.
        chunk: As in `fit`.
        checkpoint: As in `fit`.
        checkpoint_every_s: As in `fit`.
        name: As in `fit`.
        on_chunk: As in `fit`.
        progress: As in `fit`.
        resume: As in `fit`.

    Returns:
        As `fit`, with a leading member axis on all arrays of the models, and history arrays of
        shape (step, member).

    Raises:
        ShapeError: The arrays of `models` do not share a leading axis.
        ConvergenceError: As in `fit`, with the member as the index.
        Interrupted: As in `fit`.
        ConfigError: As in `fit`.
    """
    check_key(key)
    require(best_window >= 1, "best_window", "be at least 1", best_window)
    shapes = {leaf.shape[:1] for leaf in jax.tree.leaves(eqx.filter(models, eqx.is_array))}
    rule = "have one leading member axis on every array"
    require_shape(len(shapes) == 1 and shapes != {()}, "models", rule, f"leading axes {shapes}")
    n_members = shapes.pop()[0]
    params, rest = eqx.partition(models, eqx.is_inexact_array)
    step = _build_step(loss, rest, learning_rate, optimizer, clip_norm, best_by)
    window = min(best_window, max(n_steps, 1))

    def init(member_key: Key, member_params: PyTree, member_rest: PyTree) -> _FitState:
        return _with_rest(step, member_rest).init(member_key, member_params, window)

    state = eqx.filter_vmap(init)(keys_for_chains(key, n_members), params, rest)
    result = run_loop(
        _EnsembleFit(step),
        state,
        n_steps,
        key=key,
        chunk=chunk,
        name=name,
        checkpoint=checkpoint,
        checkpoint_every_s=checkpoint_every_s,
        on_chunk=on_chunk,
        progress=progress,
        resume=resume,
        identity=_identity(
            loss, models, learning_rate, optimizer, clip_norm, best_window, best_by, checkpoint
        ),
    )
    return _finish(result, rest)
