"""An ensemble on two processes, as on two hosts: the bits of one process, also after a kill."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffhep.core import distributed
from diffhep.core.config import to_json
from diffhep.core.run import load_data
from diffhep_lattice.ensemble import Schedule
from diffhep_lattice.ensemble.settings import Settings
from diffhep_lattice.io import EnsembleFile

pytestmark = pytest.mark.multihost

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = (distributed.ADDRESS, distributed.COUNT, distributed.INDEX)
TIMEOUT_S = 300

SETTINGS = Settings(
    lattice=(8, 8),
    beta=2.0,
    group="u1",
    n_steps=4,
    start="hot",
    n_configurations=5,
    schedule=Schedule(save_every=1),
    mesh={"x": 2, "t": 2},
    checkpoint_every_s=0.0,
)


def launch(settings, out, n_processes, *words):
    """Start the command line in some processes with four devices in all."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "diffhep_lattice.ensemble", str(settings)]
    processes = []
    for index in range(n_processes):
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={4 // n_processes}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "lattice"), *sys.path]),
        }
        if n_processes > 1:
            environment |= dict(
                zip(VARIABLES, (address, str(n_processes), str(index)), strict=True)
            )
        processes.append(
            subprocess.Popen(
                [*command, "--out", str(out), *words],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def finish(processes):
    """Exit statuses and what each process said."""
    said = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    return [process.returncode for process in processes], said


def write_settings(folder, **changes):
    path = folder / f"settings{len(list(folder.glob('settings*')))}.json"
    path.write_text(to_json(replace(SETTINGS, **changes)))
    return path


def links(out):
    return [
        configuration.field for configuration in EnsembleFile(out / "configurations/stream0.h5")
    ]


def assert_same(out, alone):
    for a, b in zip(links(out), links(alone), strict=True):
        np.testing.assert_array_equal(a, b)
    many, one = (load_data(folder / "data.h5") for folder in (out, alone))
    assert many.keys() == one.keys()
    for name in one:
        # Sums over sites are added in another order; an action is of the order of a hundred.
        np.testing.assert_allclose(many[name], one[name], rtol=1e-13, atol=1e-11, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with one device."""
    folder = tmp_path_factory.mktemp("alone")
    statuses, said = finish(launch(write_settings(folder, mesh={}), folder / "run", 1))
    assert statuses == [0], said
    return folder / "run"


def test_two_processes_make_the_links_of_one(alone, tmp_path):
    settings = write_settings(tmp_path)
    statuses, said = finish(launch(settings, tmp_path / "two", 2))
    assert statuses == [0, 0], said
    assert ["results: " in stdout for stdout, _ in said] == [True, False]
    assert_same(tmp_path / "two", alone)
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert (environment["device"]["processes"], environment["device"]["count"]) == (2, 4)
    statuses, said = finish(launch(settings, tmp_path / "one", 1))
    assert statuses == [0], said
    assert_same(tmp_path / "one", alone)


def test_killed_and_resumed_on_two_processes(alone, tmp_path):
    out = tmp_path / "run"
    processes = launch(write_settings(tmp_path), out, 2)
    stored = out / "configurations" / "stream0.h5"
    while processes[0].poll() is None:
        with contextlib.suppress(ValueError):
            if stored.exists() and len(EnsembleFile(stored)) >= 2:
                break
    for process in processes:
        process.send_signal(signal.SIGKILL)
    finish(processes)
    assert not (out / "results.json").exists()
    statuses, said = finish(launch(write_settings(tmp_path), out, 2, "--resume"))
    assert statuses == [0, 0], said
    assert_same(out, alone)


def test_all_processes_stop_when_one_is_asked_to(alone, tmp_path):
    out = tmp_path / "run"
    long = write_settings(tmp_path, n_configurations=100_000)
    processes = launch(long, out, 2)
    stored = out / "configurations" / "stream0.h5"
    while processes[0].poll() is None and not stored.exists():
        pass
    while processes[0].poll() is None and len(EnsembleFile(stored)) < 2:
        pass
    processes[1].terminate()
    statuses, said = finish(processes)
    assert statuses == [130, 130], said
    assert "resume: " in said[0][1]
    for a, b in zip(links(out), links(alone), strict=False):
        np.testing.assert_array_equal(a, b)


def test_what_process_0_finds_wrong_ends_both(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "foreign").write_text("")
    statuses, said = finish(launch(write_settings(tmp_path), tmp_path / "run", 2))
    assert statuses == [2, 2]
    assert "holds other files and no config.json" in said[0][1]
    assert "Process 0 could not go on" in said[1][1]
