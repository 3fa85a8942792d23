"""Tables of events: features, weights, and room for more, so that all samples have one shape."""

from collections.abc import Mapping, Sequence
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
    x: ArrayLike | Mapping[str, ArrayLike],
    weight: ArrayLike | None = None,
    *,
    n_rows: int | None = None,
    features: Sequence[str] | None = None,
) -> Events:
    """A sample of events, checked, and filled up to a number of rows.

    Args:
        x: Features of shape (event, feature), or (event,) for one feature; or one column by name,
            in any order.
        weight: One weight an event, of either sign; 1 where left out.
        n_rows: Rows of the table; samples of one number of rows share a compiled program. As many
            as there are events where left out.
        features: Names of the columns.

    Returns:
        The sample; rows that fill it repeat the first event at weight 0.

    Raises:
        ShapeError: `x` is no table or has not one column for each of `features`, the weights are
            not one an event, or `n_rows` is too small.
        DataError: A feature or weight is not finite; the message names event and column. Columns
            have other names than `features`. No event has a positive weight.
    """
    table = _named_columns(x, features) if isinstance(x, Mapping) else np.asarray(x, dtype=float)
    table = table[:, None] if table.ndim == 1 else table
    good = table.ndim == 2 and table.shape[0] > 0
    require_shape(good, "x", "be of shape (event, feature)", f"shape {table.shape}")
    if features is not None:
        rule = f"have the columns {', '.join(features)}"
        require_shape(table.shape[1] == len(features), "x", rule, f"{table.shape[1]} columns")
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


def _named_columns(
    x: Mapping[str, ArrayLike], features: Sequence[str] | None
) -> Float[np.ndarray, "event feature"]:
    """The columns as a table, in the order of the features."""
    names = tuple(x) if features is None else tuple(features)
    missing = [name for name in names if name not in x]
    unknown = [name for name in x if name not in names]
    if missing or unknown or not names:
        raise DataError(
            f"Argument `x` must have the columns {', '.join(names)}, but it has "
            f"{', '.join(map(str, x)) or 'none'}."
        )
    columns = [np.atleast_1d(np.asarray(x[name], dtype=float)) for name in names]
    shapes = {column.shape for column in columns}
    good = len(shapes) == 1 and columns[0].ndim == 1
    require_shape(good, "x", "have columns of one length", f"shapes {sorted(shapes)}")
    return np.stack(columns, axis=1)


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
