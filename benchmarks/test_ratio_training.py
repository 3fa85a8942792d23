"""Training of ratios: PyTorch's sbi on the same simulations, ensembles, and a million events."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.conftest import Row
from benchmarks.peer import Peer

_SIMULATIONS = 10_000
_BATCHES = (200, 1000)
_ORDER = ("ours", "sbi", "sbi", "ours") * 2
_EPOCHS = 5
_LEAST_SPEED = 4.0
_LARGEST_ENSEMBLE = 3.0
_LARGEST_GIB = 4.0
_SETTING = {"width": 50, "contrasts": 10, "learning_rate": 5e-4, "held_out": 0.1}


def two_moons(file: Path) -> Path:
    """The two moons of arXiv:2101.04653: parameters from the box, one event each."""
    generator = np.random.default_rng(0)
    theta = generator.uniform(-1, 1, (_SIMULATIONS, 2))
    angle = np.pi * (generator.random(_SIMULATIONS) - 0.5)
    radius = 0.1 + 0.01 * generator.normal(size=_SIMULATIONS)
    moon = np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], axis=1)
    shift = np.stack([-np.abs(theta.sum(axis=1)), theta[:, 1] - theta[:, 0]], axis=1)
    np.savez(file, theta=theta, x=moon + shift / np.sqrt(2))
    return file


def test_epochs_against_sbi(report, tmp_path):
    file = two_moons(tmp_path / "two_moons.npz")
    setting = {**_SETTING, "file": str(file), "network": "residual", "method": "nre_b"}
    rows = []
    with Peer(None, "ratio_epochs.py", setting) as ours, Peer("sbi", "nre_b.py", setting) as peer:
        for batch in _BATCHES:
            found = {"ours": [], "sbi": []}
            for name in _ORDER:
                process = ours if name == "ours" else peer
                request = {"batch": batch, "epochs": _EPOCHS, "members": 1}
                found[name].append(process.round(request))
            cpu, wall = (
                {name: statistics.median(one[kind] for one in all_) for name, all_ in found.items()}
                for kind in ("cpu", "wall")
            )
            detail = (
                f"an epoch takes {cpu['ours']:.3f} against {cpu['sbi']:.3f} s of processor time, "
                f"{wall['ours']:.3f} against {wall['sbi']:.3f} s on the clock"
            )
            what = f"NRE-B on 10,000 two moons, batch {batch}: processor time of sbi over ours"
            rows.append(Row(what, cpu["sbi"] / cpu["ours"], "x", _LEAST_SPEED, detail=detail))
    report(*rows)


def test_an_ensemble_of_ten(report, tmp_path):
    file = two_moons(tmp_path / "two_moons.npz")
    rows = []
    for method, network, batch in (("nre_b", "residual", 200), ("nre_a", "mlp", 64)):
        setting = {**_SETTING, "file": str(file), "network": network, "method": method}
        found = {1: [], 10: []}
        with Peer(None, "ratio_epochs.py", setting) as ours:
            for members in (1, 10, 10, 1):
                request = {"batch": batch, "epochs": 2, "members": members}
                found[members].append(ours.round(request)["cpu"])
        one, ten = (statistics.median(found[members]) for members in (1, 10))
        what = f"{method}, batch {batch}: processor time of ten members over one"
        detail = f"{ten:.3f} against {one:.3f} s an epoch, one core"
        rows.append(Row(what, ten / one, "x", _LARGEST_ENSEMBLE, at_most=True, detail=detail))
    report(*rows)


def test_memory_of_a_million_events(report):
    command = [sys.executable, "-m", "benchmarks.ratio_memory"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    detail = f"{found['mined']:.2f} GiB once mined; {found['cpu']:.0f} s of processor time an epoch"
    what = "a million events of 40 features, mined and trained on: peak memory"
    report(Row(what, found["trained"], "GiB", _LARGEST_GIB, at_most=True, detail=detail))
