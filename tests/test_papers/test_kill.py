"""The smoke preset of every paper, killed at random moments and resumed, ends in the same bits."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.paper

ROOT = Path(__file__).resolve().parents[2]
PAPERS = sorted(path.parent.name for path in (ROOT / "papers").glob("*/run.py"))
N_KILLS = 20


def start(paper, folder):
    """The smoke preset in a process of its own."""
    words = ["run", paper, "--preset", "smoke", "--out", str(folder), "--resume"]
    return subprocess.Popen(
        [sys.executable, "-m", "papers", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr


@pytest.mark.parametrize("paper", PAPERS)
def test_killed_and_resumed(paper, tmp_path, request, assert_same_run):
    finish(start(paper, tmp_path / "warm"))
    began = time.monotonic()
    finish(start(paper, tmp_path / "whole"))
    seconds = time.monotonic() - began
    # Two runs left alone must agree before a resumed one can.
    assert_same_run(tmp_path / "warm", tmp_path / "whole")
    moments = random.Random(request.node.nodeid)
    n_cut = 0
    for kill in range(N_KILLS):
        folder = tmp_path / f"killed-{kill}"
        process = start(paper, folder)
        time.sleep(moments.uniform(0.0, seconds))
        process.kill()
        process.communicate()
        n_cut += not (folder / "results.json").exists()
        finish(start(paper, folder))
        assert_same_run(tmp_path / "whole", folder)
    assert n_cut >= N_KILLS // 2
