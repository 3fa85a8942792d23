"""One Geant4 process under watch: whole events are read back, a crash or a hang is told apart."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WORKER_PROGRAM = (sys.executable, str(Path(__file__).with_name("worker.py")))
"""The command that is given a job's file."""

_POLL_S = 0.05
_LAST_LINES = 8


class Outcome(NamedTuple):
    """What a process left.

    Attributes:
        rows: One row a finished event.
        failure: How it ended before its time, or empty.
        last_lines: The last of what it printed.
    """

    rows: np.ndarray
    failure: str
    last_lines: tuple[str, ...]


def run_worker(
    job: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    program: Sequence[str] = WORKER_PROGRAM,
) -> Outcome:
    """Run one process for as many events as there are seeds.

    Args:
        job: What the worker builds and shoots; `width` numbers an event come back.
        seeds: One for each event.
        environment: Variables added to those of this process.
        timeout_s: How long no event may end, the start included, before the process is killed.
        program: The command that is given the job's file.

    Returns:
        The finished events and how it ended.
    """
    with tempfile.TemporaryDirectory(prefix="diffhep-geant4-") as name:
        folder = Path(name)
        rows, log, file = folder / "rows", folder / "log", folder / "job.json"
        rows.touch()
        text = {**job, "rows": str(rows), "n_events": len(seeds), "seeds": list(map(int, seeds))}
        file.write_text(json.dumps(text))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*program, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=folder,
            )
            try:
                failure = _watch(process, rows, timeout_s)
            finally:
                # An interrupted caller must not leave a simulation behind.
                if process.poll() is None:
                    process.kill()
                    process.wait()
        done = _whole_rows(rows, job["width"])[: len(seeds)]
        if not failure and len(done) < len(seeds):
            failure = f"ended after {len(done)} of {len(seeds)} events"
        return Outcome(done, failure, _tail(log))


def _watch(process: "subprocess.Popen[bytes]", rows: Path, timeout_s: float) -> str:
    """Wait for the end; the failure in words, or nothing."""
    size, since = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_S)
        now = rows.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > timeout_s:
            process.kill()
            process.wait()
            return f"hung: no event ended for {timeout_s:g} s"
    code = process.returncode
    if code < 0:
        return f"crashed by signal {-code}"
    return f"crashed with exit status {code}" if code else ""


def _whole_rows(path: Path, width: int) -> np.ndarray:
    """The rows that are complete; the last may be cut off."""
    values = np.fromfile(path, dtype="<f4")
    return values[: values.size // width * width].reshape(-1, width)


def _tail(log: Path) -> tuple[str, ...]:
    """The last lines that say something."""
    lines = log.read_text(errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())[-_LAST_LINES:]
