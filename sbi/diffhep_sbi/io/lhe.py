"""Les Houches event files: particles and named weights, read event by event.

Reference:
    J. Alwall et al., arXiv:hep-ph/0609017; weights by name: J. R. Andersen et al., Les Houches
    2013, arXiv:1405.1067.
"""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from diffhep.core.checks import as_integer
from diffhep.core.errors import DataError
from diffhep_sbi.io.particles import Event, Features, charges
from diffhep_sbi.io.table import WeightTable, build_table

__citations__ = ("arXiv:hep-ph/0609017", "arXiv:1907.10621")

NOMINAL = "nominal"
"""What the weight in the first line of an event is called here."""

_FINAL = 1
"""Status of outgoing particles."""

_WEIGHT = re.compile(r"<wgt\b[^>]*\bid\s*=\s*['\"]([^'\"]*)['\"][^>]*>([^<]*)</wgt>")


def read_lhe(
    path: Path | str,
    *,
    weights: Sequence[str] | None = None,
    features: Features,
    n_events: int | None = None,
) -> WeightTable:
    """Features and weights of the events of a Les Houches file, plain or compressed by gzip.

    Weights are those of `<rwgt>`, by their `id`, and "nominal", that of the event itself.

    Args:
        path: The file.
        weights: Names of the weights; those of the first event where left out.
        features: What to compute from the outgoing particles.
        n_events: At most so many events; all where left out.

    Returns:
        One row an event.

    Raises:
        DataError: The file cannot be read, is cut off or damaged, or a weight is missing or not
            finite; the message names the event, counted from 0.
        ConfigError: It has no weight of a name; the message lists those it has.
    """
    source = Path(path)
    last = None if n_events is None else as_integer(n_events, "n_events", low=1)
    return build_table(_events(source), source, weights, features, last)


def _lines(source: Path) -> Iterator[str]:
    """The lines of a file, compressed or not."""
    with source.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if is_compressed else open
    with opener(source, "rt", encoding="utf-8", errors="replace") as file:
        for line in file:
            yield str(line).strip()


def _events(source: Path) -> Iterator[tuple[Event, dict[str, float]]]:
    """All events; a file without its end is an error after the last whole one."""
    number, block, is_closed, is_lhe = 0, None, False, False
    try:
        for text in _lines(source):
            is_lhe = is_lhe or text.startswith("<LesHouchesEvents")
            if text.startswith("<event") and not text.startswith("<eventgroup"):
                block = []
            elif text.startswith("</event>") and block is not None:
                yield _parse(block, source, number)
                number, block = number + 1, None
            elif block is not None:
                block.append(text)
            elif text.startswith("</LesHouchesEvents"):
                is_closed = True
                break
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise DataError(f"Could not read {source} past event {number}: {error}.") from error
    if not is_lhe:
        raise DataError(f"{source} must be a Les Houches event file, but has no such header.")
    if block is not None or not is_closed:
        where = f"in event {number}" if block is not None else f"after {number} whole events"
        raise DataError(f"{source} is cut off {where}: </LesHouchesEvents> is missing.")


def _parse(block: list[str], source: Path, number: int) -> tuple[Event, dict[str, float]]:
    """Head, particles and weights of the lines between <event> and </event>."""
    try:
        head = block[0].split()
        n_particles = int(head[0])
        rows = np.array(
            [[float(v) for v in line.split()[:13]] for line in block[1 : n_particles + 1]]
        ).reshape(-1, 13)
        weights = {NOMINAL: float(head[2])}
        rest = " ".join(block[n_particles + 1 :])
        weights |= {name.strip(): float(value) for name, value in _WEIGHT.findall(rest)}
    except (ValueError, IndexError) as error:
        raise DataError(f"{source.name}: event {number} cannot be read: {error}.") from error
    if len(rows) != n_particles:
        raise DataError(
            f"{source.name}: event {number} says it has {n_particles} particles, but has "
            f"{len(rows)}."
        )
    final = rows[rows[:, 1] == _FINAL]
    ids = final[:, 0].astype(int)
    return (ids, charges(ids), final[:, 6:10]), weights
