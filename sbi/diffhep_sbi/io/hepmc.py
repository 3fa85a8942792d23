"""HepMC event files: final particles and named weights, read event by event with pyhepmc.

Reference:
    A. Buckley et al., Comput. Phys. Commun. 260 (2021) 107310, arXiv:1912.08005.
"""

import gzip
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffhep.core.checks import as_integer
from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi.io.particles import Event, Features, charges
from diffhep_sbi.io.table import WeightTable, build_table

__citations__ = ("arXiv:1912.08005", "arXiv:1907.10621")

_FINAL = 1
"""Status of particles that are not decayed."""

_LISTING = b"END_EVENT_LISTING"
"""Ends every listing of events in the text formats."""

_TAIL = 256
"""Bytes at the end of a file among which that is looked for."""


def read_hepmc(
    path: Path | str,
    *,
    weights: Sequence[str] | None = None,
    features: Features,
    n_events: int | None = None,
) -> WeightTable:
    """Features and weights of the events of a HepMC file, plain or compressed by gzip.

    Args:
        path: A file in a text format of HepMC 2 or 3.
        weights: Names of the weights; all of them where left out. Files without names have "0",
            "1" and so on.
        features: What to compute from the final particles.
        n_events: At most so many events; all where left out.

    Returns:
        One row an event.

    Raises:
        DataError: The file cannot be read, is cut off or damaged, an event has another number of
            weights than names, or a weight is not finite; the message names the event, counted
            from 0.
        ConfigError: It has no weight of a name, and the message lists those it has; or pyhepmc is
            not installed.
    """
    source = Path(path)
    last = None if n_events is None else as_integer(n_events, "n_events", low=1)
    return build_table(_events(source), source, weights, features, last)


def _load() -> Any:
    try:
        return importlib.import_module("pyhepmc")
    except ImportError as error:
        raise ConfigError("pyhepmc is not installed: pip install 'diffhep[hep]'") from error


def _events(source: Path) -> Iterator[tuple[Event, dict[str, float]]]:
    """All events; pyhepmc drops one that is cut off without a word, so the end is looked for."""
    pyhepmc, number = _load(), 0
    try:
        is_closed = _is_closed(source)
        with pyhepmc.open(str(source)) as file:
            for event in file:
                yield _read(event, source, number)
                number += 1
    except (OSError, EOFError, RuntimeError) as error:
        raise DataError(f"Could not read {source} past event {number}: {error}.") from error
    if number == 0:
        return
    if not is_closed:
        raise DataError(
            f"{source} is cut off in event {number}: the end of its listing is missing."
        )


def _is_closed(source: Path) -> bool:
    with source.open("rb") as file:
        is_compressed = file.read(2) == b"\x1f\x8b"
        if not is_compressed:
            file.seek(max(source.stat().st_size - _TAIL, 0))
            return _LISTING in file.read()
    tail = b""
    try:
        with gzip.open(source, "rb") as file:
            while block := file.read(1 << 20):
                tail = (tail + block)[-_TAIL:]
    except (EOFError, gzip.BadGzipFile):
        return False
    return _LISTING in tail


def _read(event: Any, source: Path, number: int) -> tuple[Event, dict[str, float]]:
    """Final particles in GeV, and weights by name."""
    values = list(event.weights)
    names = list(event.run_info.weight_names) if event.run_info is not None else []
    names = names or [str(index) for index in range(len(values))]
    if len(names) != len(values):
        raise DataError(
            f"{source.name}: event {number} has {len(values)} weights for {len(names)} names."
        )
    particles = event.numpy.particles
    final = np.asarray(particles.status) == _FINAL
    scale = 1e-3 if event.momentum_unit.name == "MEV" else 1.0
    momenta = np.stack([particles.px, particles.py, particles.pz, particles.e], axis=1)[final]
    ids = np.asarray(particles.pid)[final]
    return (ids, charges(ids), scale * momenta), dict(zip(names, values, strict=True))
