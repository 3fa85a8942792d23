"""Training of ensembles on gold: what ratios and densities share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require_real
from diffhep.core.fit import fit_ensemble
from diffhep.core.progress import Show
from diffhep.core.rng import key_for, keys_for_chains
from diffhep.core.typing import Key, PyTree, Scalar
from diffhep_sbi.gold import Gold
from diffhep_sbi.losses import Method

__citations__ = ("arXiv:1805.00020",)

_DECAY = 0.01
"""The last learning rate over the first, arXiv:1805.00020."""

_LEAST_HELD_OUT = 16
"""Held-out events a step, to hold against one another."""


class Trained(NamedTuple):
    """Networks of the epochs with the lowest held-out loss, and the mean losses of all epochs."""

    members: PyTree
    training_loss: Float[Array, "epoch member"]
    held_out_loss: Float[Array, "epoch member"]


class Objective(eqx.Module):
    """A method's loss on random batches of training events, and on held-out ones beside.

    Attributes:
        train: Standardised events to learn from.
        held_out: Standardised events that choose the epoch.
        method: The loss.
        alpha: Weight of its second term.
        batch: Events a step.
    """

    train: Gold
    held_out: Gold
    method: Method = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    batch: int = eqx.field(static=True)

    def __call__(self, model: Any, key: Key, step: Array) -> tuple[Scalar, dict[str, Scalar]]:
        """The loss of one step, and the held-out one."""
        keys = jax.random.split(key)
        # Held-out events are drawn as often as those of training, an epoch of each an epoch.
        share = self.held_out.n_events / self.train.n_events
        batches = (self.batch, max(_LEAST_HELD_OUT, round(self.batch * share)))
        losses = [
            self.method.loss(model, part.take(draw_rows(part, batch, part_key)), self.alpha)
            for part, batch, part_key in zip(
                (self.train, self.held_out), batches, keys, strict=True
            )
        ]
        return losses[0], {"held_out": jax.lax.stop_gradient(losses[1])}


def draw_rows(part: Gold, batch: int, key: Key) -> Array:
    """Random rows of a batch, with replacement."""
    return jax.random.randint(key, (batch,), 0, part.n_events)


def train_members(
    start: Callable[[Key], Any],
    objective: Any,
    *,
    n_members: int,
    n_epochs: int,
    learning_rate: float,
    checkpoint: Checkpoint | None,
    name: str,
    progress: Show,
    key: Key,
) -> Trained:
    """Adam with a cosine decay; the epoch with the lowest held-out loss is kept for each member.

    All members train side by side, each from a start of its own.

    Args:
        start: Makes an untrained member of a key.
        objective: `objective(model, key, step) -> loss, {"held_out": loss}`, with the events of
            `train` and a `batch`.
        n_members: How many members.
        n_epochs: Times that as many events are drawn as there are to train on.
        learning_rate: The first learning rate.
        checkpoint: Where training is saved and goes on from, to the same bits.
        name: For messages and the progress bar.
        progress: Whether to show a bar.
        key: Random key.

    Returns:
        The trained members and their losses.

    Raises:
        ConfigError: A number is out of range.
        ConvergenceError: The loss is not finite; the state is saved.
    """
    n_epochs = as_integer(n_epochs, "n_epochs", low=1)
    n_members = as_integer(n_members, "n_members", low=1)
    batch = as_integer(objective.batch, "batch", low=2)
    require_real(learning_rate, "learning_rate", "be finite and not negative", low=0.0)
    # Not under jit: flowjax keeps arrays in closures, which would hold on to tracers.
    models = eqx.filter_vmap(start)(keys_for_chains(key_for(key, "networks"), n_members))
    steps = max(1, objective.train.n_events // batch)
    n_steps = n_epochs * steps
    fitted = fit_ensemble(
        objective,
        models,
        n_steps,
        key=key_for(key, "fit"),
        learning_rate=optax.cosine_decay_schedule(learning_rate, n_steps, _DECAY),
        best_window=steps,
        best_by="held_out",
        chunk=max(1, min(steps, n_steps)),
        checkpoint=checkpoint,
        name=name,
        progress=progress,
    )
    losses = (
        jnp.asarray(fitted.history[loss].reshape(n_epochs, steps, -1).mean(axis=1))
        for loss in ("loss", "held_out")
    )
    return Trained(fitted.best_model, *losses)
