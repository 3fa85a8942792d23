"""Pairs of events and the parameters they were drawn under, ready to learn densities from."""

import jax
import numpy as np

from diffhep.core.checks import require_shape
from diffhep.core.errors import DataError
from diffhep.core.typing import Key
from diffhep_sbi.gold import Gold, Split, require_finite_events

__citations__ = ("arXiv:1805.07226",)


def prepare_pairs(gold: Gold, held_out: float, key: Key) -> Split:
    """The events drawn under `theta0`, in parts to train on and to hold out.

    Args:
        gold: The events.
        held_out: Fraction held out, by event number.
        key: Random key.

    Returns:
        Both parts, as NumPy arrays.

    Raises:
        DataError: A feature is not finite, or there is no event of label 0.
        ShapeError: Events are no vectors.
    """
    gold = jax.tree.map(np.asarray, gold)
    require_shape(gold.x.ndim == 2, "gold.x", "be of shape (event, feature)", f"{gold.x.shape}")
    require_finite_events(gold.x)
    require_finite_events(gold.theta0, "theta0")
    joint = gold.take(gold.label == 0)
    if joint.n_events == 0:
        raise DataError("Argument `gold` must have events of class 0, but it has none.")
    return joint.split(held_out, key=key)
