"""Training of neural surrogates on standardised events."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.fit import fit
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector.surrogates.base import Domain, domain_of

EventLoss = Callable[[Any, Array, Array, Any], Scalar]
"""`loss(model, outcome, design, key)` of one event, both standardised."""


class _Batches(eqx.Module):
    """Mean loss of events drawn at random."""

    loss: EventLoss = eqx.field(static=True)
    x: Float[Array, "event param"]
    y: Float[Array, "event observable"]
    batch: int = eqx.field(static=True)

    def __call__(self, model: Any, key: Key, step: Array) -> Scalar:
        del step
        rows = jax.random.randint(key_for(key, "rows"), (self.batch,), 0, self.x.shape[0])
        keys = jax.random.split(key_for(key, "events"), self.batch)
        each = jax.vmap(self.loss, in_axes=(None, 0, 0, 0))
        return jnp.mean(each(model, self.y[rows], self.x[rows], keys))


def train(
    build: Callable[[int, int, Key], Any],
    loss: EventLoss,
    designs: Float[np.ndarray, "event param"],
    outcomes: Float[np.ndarray, "event observable"],
    *,
    n_steps: int,
    batch: int,
    learning_rate: float,
    key: Key,
) -> tuple[Domain, Any]:
    """Fit a model to events, in single precision.

    Args:
        build: `build(n_observables, n_params, key)`, the untrained model.
        loss: Of one event.
        designs: Of the events.
        outcomes: Of the events.
        n_steps: Of Adam, its learning rate falling by a cosine.
        batch: Events a step.
        learning_rate: The first one.
        key: Random key.

    Returns:
        The domain of the data, and the model in double precision where it is enabled.
    """
    as_integer(n_steps, "n_steps", low=1)
    domain = domain_of(np.asarray(designs, float), np.asarray(outcomes, float))
    x = (designs - np.asarray(domain.centre)) / np.asarray(domain.scale)
    y = (outcomes - np.asarray(domain.shift)) / np.asarray(domain.spread)
    model = as_type(build(y.shape[1], x.shape[1], key_for(key, "model")), jnp.float32)
    known, wanted = (jnp.asarray(part, jnp.float32) for part in (x, y))
    found = fit(
        _Batches(loss, known, wanted, as_integer(batch, "batch", low=1)),
        model,
        n_steps,
        key=key_for(key, "fit"),
        learning_rate=optax.cosine_decay_schedule(learning_rate, n_steps, 0.01),
        clip_norm=10.0,
        chunk=min(n_steps, 100),
        progress=False,
    )
    return domain, as_type(found.model, float)


def as_type(module: Any, dtype: Any) -> Any:
    """A module with its floating-point arrays in another precision.

    Args:
        module: Any pytree.
        dtype: The precision.

    Returns:
        The same pytree.
    """
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, module
    )
