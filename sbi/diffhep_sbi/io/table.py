"""Tables of features and named weights, as event files and generators give them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffhep.core.errors import ConfigError, DataError

__citations__ = ("arXiv:1805.00020", "arXiv:1907.10621")

_LISTED = 40
"""Names that a message lists before it says how many more there are."""


class WeightTable(NamedTuple):
    """Events with weights; `gold_from_weights(table.x, table.weights, morpher, ...)` makes gold.

    Attributes:
        x: Features.
        weights: One column a name, of either sign.
        names: What the weights are called.
        features: What the columns of x are called.
    """

    x: Float[np.ndarray, "event feature"]
    weights: Float[np.ndarray, "event weight"]
    names: tuple[str, ...]
    features: tuple[str, ...]


def require_names(wanted: Sequence[str], known: Sequence[str], source: str) -> None:
    """Raise a `ConfigError` that lists the weights of a file unless it has all that are wanted.

    Args:
        wanted: Names asked for.
        known: Names there are.
        source: What has them.

    Raises:
        ConfigError: One is missing.
    """
    missing = [name for name in wanted if name not in known]
    if missing:
        listed = ", ".join(map(repr, known[:_LISTED])) or "none"
        more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        raise ConfigError(
            f"Argument `weights` must name weights of {source}, but {missing[0]!r} is none of "
            f"them; it has {listed}{more}."
        )


def require_finite_weights(
    weights: Float[np.ndarray, "event weight"], names: Sequence[str], source: str
) -> None:
    """Raise a `DataError` that names the first event and weight which is no number.

    Args:
        weights: The table.
        names: Of its columns.
        source: Where it comes from.

    Raises:
        DataError: A weight is NaN or infinite.
    """
    bad = ~np.isfinite(weights)
    if bad.any():
        event, column = (int(index) for index in np.argwhere(bad)[0])
        raise DataError(
            f"{source}: event {event} has weight {names[column]!r} = {weights[event, column]}; "
            f"{int(bad.any(axis=1).sum())} of {len(weights)} events have weights that are not "
            "finite."
        )
