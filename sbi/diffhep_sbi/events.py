"""Tables of events: features, weights, and room for more, so that all samples have one shape."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from diffhep.core.checks import concrete, require_shape
from diffhep.core.errors import DataError

__citations__ = ("arXiv:1805.00020",)


class Events(NamedTuple):
    """A sample of events.

    Attributes:
        x: Features, one row an event.
        weight: Weights of either sign; a row of weight 0 fills the table and says nothing.
    """

    x: Float[Array, "event feature"]
    weight: Float[Array, " event"]


def build_events(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    n_rows: int | None = None,
    features: Sequence[str] | None = None,
) -> Events:
    """A sample of events, checked, and filled up to a number of rows.

    Args:
        x: Features of shape (event, feature), or (event,) for one feature.
        weight: One weight an event, of either sign; 1 where left out.
        n_rows: Rows of the table; samples of one number of rows share a compiled program. As many
            as there are events where left out.
        features: Names of the columns, for messages.

    Returns:
        The sample; rows that fill it repeat the first event at weight 0.

    Raises:
        ShapeError: `x` is no table, the weights are not one an event, or `n_rows` is too small.
        DataError: A feature or weight is not finite; the message names event and column. No
            event has a positive weight.
    """
    table = np.asarray(x, dtype=float)
    table = table[:, None] if table.ndim == 1 else table
    good = table.ndim == 2 and table.shape[0] > 0
    require_shape(good, "x", "be of shape (event, feature)", f"shape {table.shape}")
    require_finite_features(table, features)
    n_events = table.shape[0]
    weights = np.ones(n_events) if weight is None else np.asarray(weight, dtype=float)
    rule = f"hold one weight for each of the {n_events} events"
    require_shape(weights.shape == (n_events,), "weight", rule, f"shape {weights.shape}")
    require_weights(weights)
    rows = n_events if n_rows is None else n_rows
    require_shape(rows >= n_events, "n_rows", f"hold the {n_events} events", f"{rows} rows")
    table = np.concatenate([table, np.repeat(table[:1], rows - n_events, axis=0)])
    weights = np.concatenate([weights, np.zeros(rows - n_events)])
    return Events(jnp.asarray(table), jnp.asarray(weights))


def require_finite_features(x: ArrayLike, features: Sequence[str] | None = None) -> None:
    """Raise a `DataError` that names the first event and column whose feature is not finite.

    Args:
        x: Features of shape (event, feature); while it is traced it is not looked at.
        features: Names of the columns.

    Raises:
        DataError: A feature is NaN or infinite.
    """
    table = concrete(x)
    if table is None or np.all(np.isfinite(table)):
        return
    event, column = (int(index) for index in np.argwhere(~np.isfinite(table))[0])
    name = f" ({features[column]})" if features is not None else ""
    raise DataError(
        f"Argument `x` must be finite, but event {event} has {table[event, column]} in column "
        f"{column}{name}; {int(np.sum(~np.isfinite(table)))} entries of {table.size} are not."
    )


def require_weights(weight: np.ndarray) -> None:
    """Raise a `DataError` unless weights are finite and their sum is positive.

    Args:
        weight: One weight an event.

    Raises:
        DataError: A weight is not finite, the positive ones are missing or do not prevail.
    """
    if not np.all(np.isfinite(weight)):
        event = int(np.flatnonzero(~np.isfinite(weight))[0])
        raise DataError(f"Argument `weight` must be finite, but event {event} has {weight[event]}.")
    if not np.any(weight > 0.0):
        raise DataError(
            f"Argument `weight` must hold positive weights, but none of {weight.size} is positive."
        )
    if not np.sum(weight) > 0.0:
        raise DataError(
            f"Argument `weight` must have a positive sum, but it is {np.sum(weight):g}: "
            f"{int(np.sum(weight < 0.0))} of {weight.size} weights are negative."
        )
