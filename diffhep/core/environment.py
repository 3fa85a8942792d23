"""Where and with what a run happened, and what it cost."""

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

PACKAGES = ("diffhep", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "h5py")
NOTE_EVERY_S = 1.0
"""Least time between two writes of what a run has cost so far."""


def _git(*words: str) -> str | None:
    """What git says in the folder of this package, or None where it is not a clone."""
    try:
        finished = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_environment(seed: int) -> dict[str, Any]:
    """Commit, versions, devices and flags, as environment.json has them.

    Args:
        seed: The run's seed.

    Returns:
        Entries that JSON can hold; null where something cannot be found out.
    """
    status = _git("status", "--porcelain")
    devices = jax.devices()
    return {
        "git": {
            "commit": _git("rev-parse", "HEAD"),
            "dirty": None if status is None else status != "",
        },
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "system": platform.platform(),
        "cpu_count": os.cpu_count(),
        "device": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "processes": jax.process_count(),
        },
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "x64": jnp.zeros(()).dtype.itemsize == 8,
        "seed": seed,
    }


class Usage:
    """Wall-clock time, processor time and peak memory of a run over all its resumptions.

    Args:
        path: A small file that keeps the sum, so that a killed run's cost is not lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: dict[str, float] = {"wall_s": 0.0, "cpu_s": 0.0, "peak_rss_mb": 0.0}
        with suppress(OSError, ValueError):
            self._before |= json.loads(path.read_text())
        self._wall = time.monotonic()
        self._cpu = sum(os.times()[:4])
        self._last = -NOTE_EVERY_S

    def total(self) -> dict[str, float]:
        """Seconds of wall clock and processor, and mebibytes at the peak."""
        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        return {
            "wall_s": round(self._before["wall_s"] + time.monotonic() - self._wall, 3),
            "cpu_s": round(self._before["cpu_s"] + sum(os.times()[:4]) - self._cpu, 3),
            "peak_rss_mb": round(max(self._before["peak_rss_mb"], peak), 1),
        }

    def note(self, *, now: bool = False) -> dict[str, float]:
        """The sum so far, written to the file unless that was done a moment ago."""
        total = self.total()
        if now or time.monotonic() - self._last >= NOTE_EVERY_S:
            self._last = time.monotonic()
            temporary = self._path.with_name(self._path.name + ".tmp")
            # A full disk is reported where data would be lost; this sum is only bookkeeping.
            with suppress(OSError):
                temporary.write_text(json.dumps(total))
                temporary.replace(self._path)
        return total
