"""Tables of features and named weights, as event files and generators give them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi.gold import require_finite_events
from diffhep_sbi.io.particles import Event, Features, featurise

__citations__ = ("arXiv:1805.00020", "arXiv:1907.10621")

_LISTED = 40
"""Names that a message lists before it says how many more there are."""


_CHUNK = 4096
"""Events held at a time, before their features are computed."""


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


def build_table(
    events: Iterable[tuple[Event, dict[str, float]]],
    source: Path,
    wanted: Sequence[str] | None,
    features: Features,
    n_events: int | None,
) -> WeightTable:
    """A table from a stream of events with their weights by name.

    Args:
        events: The stream.
        source: The file it comes from, for messages.
        wanted: Names of weights; those of the first event where left out.
        features: What to compute.
        n_events: Where to stop, or None.

    Returns:
        The table.

    Raises:
        DataError: There is no event, one lacks a weight, or a weight or feature is not finite.
        ConfigError: The first event has no weight of a name.
    """
    names: tuple[str, ...] = ()
    held: list[Event] = []
    x: list[np.ndarray] = []
    rows: list[list[float]] = []
    for number, (particles, found) in enumerate(events):
        if number == 0:
            names = tuple(found) if wanted is None else tuple(wanted)
            require_names(names, tuple(found), source.name)
        missing = [name for name in names if name not in found]
        if missing:
            raise DataError(
                f"{source.name}: event {number} has {len(found)} weights and none called "
                f"{missing[0]!r}, which the first event has."
            )
        rows.append([found[name] for name in names])
        held.append(particles)
        if len(held) == _CHUNK:
            x.append(featurise(held, features))
            held = []
        if number + 1 == n_events:
            break
    if not rows:
        raise DataError(f"{source} must hold events, but it has none.")
    x.append(featurise(held, features))
    weights, table = np.array(rows), np.concatenate(x)
    require_finite_weights(weights, names, source.name)
    require_finite_events(table)
    return WeightTable(table, weights, names, features.names)
