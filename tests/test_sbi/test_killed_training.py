"""A training killed by the system and resumed ends in the ensemble of one left alone."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep_sbi import contrast, fit_ratio, mlp

pytestmark = pytest.mark.fast

N_EPOCHS = 4
N_SAVES = 3
"""Checkpoints before the kill: one at the start, and one after each of two epochs."""


class Mortal(Checkpoint):
    """A checkpoint whose process is killed as soon as a few are saved."""

    n_saved = 0

    def save(self, tree, metadata=None):
        super().save(tree, metadata)
        self.n_saved += 1
        if self.n_saved == N_SAVES:
            os.kill(os.getpid(), signal.SIGKILL)


def train(checkpoint):
    key = jax.random.key(3)
    x = jax.random.normal(key, (2, 400, 2)) + jnp.array([[[0.5]], [[0.0]]])
    return fit_ratio(
        contrast(*x),
        "carl",
        network=mlp(4, 1),
        n_members=2,
        n_epochs=N_EPOCHS,
        batch=40,
        checkpoint=checkpoint,
        progress=False,
        key=key,
    )


def test_killed_training_resumes_to_the_same_bits(tmp_path):
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), str(root / "lattice"), str(root / "sbi"), os.environ.get("PYTHONPATH", "")]
    folder = tmp_path / "killed"
    process = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    checkpoint = Checkpoint(folder)
    assert checkpoint.exists()
    before = checkpoint.path.read_bytes()
    resumed = train(checkpoint)
    assert checkpoint.path.read_bytes() != before
    assert eqx.tree_equal(resumed, train(None))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    # Checkpoints are ten seconds apart, epochs are not: let hours pass between any two.
    hours = itertools.count(step=3600.0)
    time.monotonic = lambda: next(hours)
    train(Mortal(sys.argv[1]))
