"""Ensembles killed without warning: resumed, they end in the bits of one left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest

from diffhep.core.config import to_json
from diffhep.core.run import load_data
from diffhep_lattice.ensemble import Schedule
from diffhep_lattice.ensemble.__main__ import main
from diffhep_lattice.ensemble.settings import Settings
from diffhep_lattice.io import EnsembleFile

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = Settings(
    lattice=(4, 4),
    beta=2.0,
    group="u1",
    integrator="leapfrog",
    n_steps=4,
    start="hot",
    n_streams=2,
    n_configurations=30,
    schedule=Schedule(n_warmup=4, measure_every=1, save_every=2),
    observe=("plaquette", "action", "topological_charge"),
    checkpoint_every_s=0.0,
    seed=11,
)

# The child dies in front of its n-th operation on files, or some seconds behind it.
CHILD = """
    import os, signal, sys, threading
    import jax
    jax.config.update("jax_enable_x64", True)
    from diffhep_lattice.ensemble.__main__ import main

    n, seconds = int(sys.argv[1]), float(sys.argv[2])

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    count = 0
    def watched(function):
        def call(*words, **named):
            global count
            count += 1
            if count != n:
                return function(*words, **named)
            if seconds < 0:
                die()
            try:
                return function(*words, **named)
            finally:  # Removing a file that is not there fails, and counts.
                if seconds == 0:
                    die()
                threading.Timer(seconds, die).start()
        return call

    for name in ("fsync", "replace", "pwrite", "ftruncate", "unlink"):
        setattr(os, name, watched(getattr(os, name)))
    status = main(sys.argv[3:])
    os._exit(status)
"""


def write_settings(folder):
    path = folder / "settings.json"
    path.write_text(to_json(SETTINGS))
    return str(path)


def start(settings, out, operation=0, seconds=0.0):
    """Run until the end or the kill; the exit status, negative for a signal."""
    words = [sys.executable, "-c", textwrap.dedent(CHILD), str(operation), str(seconds)]
    words += [settings, "--out", str(out), "--resume"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "lattice"), *sys.path]),
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    }
    finished = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode in (0, -signal.SIGKILL), finished.stderr
    return finished.returncode


def content(out):
    """Everything a run leaves that is not about time."""
    arrays = load_data(out / "data.h5")
    configurations = {
        path.name: [(c.trajectory, c.sha256, c.attributes) for c in EnsembleFile(path)]
        for path in sorted((out / "configurations").glob("*.h5"))
    }
    table = json.loads((out / "results.json").read_text())["table"]
    lines = (out / "metrics.jsonl").read_text()
    return arrays, configurations, table, lines, (out / "table.txt").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert main([write_settings(folder), "--out", str(folder / "run")]) == 0
    return content(folder / "run")


def kill_and_resume(n_kills, whole, folder, seed):
    """Kill at random moments, let the rest run, and compare everything."""
    settings, out = write_settings(folder), folder / "run"
    rng = random.Random(seed)
    statuses = []
    while statuses.count(-signal.SIGKILL) < n_kills and 0 not in statuses:
        # A run left alone has 1210 operations on files in 3 s, some twenty before its first step;
        # the operations, not the machine's speed, bound how far a run comes before it dies.
        operation = rng.randint(1, 20 + 600 // n_kills)
        seconds = rng.choice((-1.0, 0.0, rng.uniform(0.0, 0.02)))
        statuses.append(start(settings, out, operation, seconds))
    assert statuses == [-signal.SIGKILL] * n_kills
    assert start(settings, out) == 0
    arrays, *rest = content(out)
    assert arrays.keys() == whole[0].keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, whole[0][name], err_msg=name)
    assert rest == list(whole[1:])


@pytest.mark.fast
def test_killed_three_times(whole, tmp_path, request):
    kill_and_resume(3, whole, tmp_path, zlib.crc32(request.node.nodeid.encode()))


@pytest.mark.slow
def test_killed_fifty_times(whole, tmp_path, request):
    kill_and_resume(50, whole, tmp_path, zlib.crc32(request.node.nodeid.encode()))
