"""Posteriors learned from the same thousand simulations by us and by PyTorch's sbi."""

import jax
import numpy as np
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep.core.rng import key_at, key_for
from diffhep_sbi import c2st
from papers.lueckmann2021 import stages, tasks
from papers.lueckmann2021.config import PRESETS

_OBSERVATIONS = 3
_SIMULATIONS = 1000
_DRAWS = 10_000
_LARGEST_EXCESS = 2.0


@pytest.mark.parametrize("method", ["nre", "npe"])
def test_c2st_against_sbi(report, tmp_path, method):
    """Exact posteriors of two moons; errors are those of the paired difference."""
    key, config = jax.random.key(0), PRESETS["full"]
    task = tasks.build_task("two_moons", _OBSERVATIONS, _DRAWS, True, key_for(key, "task"))
    gold = stages.gold_for(task, _SIMULATIONS, key)
    file = tmp_path / "simulations.npz"
    np.savez(file, theta=gold.theta0, x=gold.x, observed=task.x)
    answer = tmp_path / "draws.npz"
    with Peer("sbi", "posteriors.py", {"file": str(file), "draws": _DRAWS}) as peer:
        peer.round({"method": method, "file": str(answer)})
    fit_key, draws_key = key_for(key, f"fit {method}"), key_for(key, f"draws {method}")
    fitted = stages.trained(config, task.name, method, gold, task.prior, None, fit_key)
    draws = stages.draw(method, fitted, task.prior, task.x, _DRAWS, draws_key)
    ours = _accuracies(task, draws, key_for(key, f"test {method}"))
    theirs = _accuracies(task, np.load(answer)["draws"], key_for(key, f"test {method}"))
    difference = ours - theirs
    error = difference.std(ddof=1) / _OBSERVATIONS**0.5
    detail = (
        f"{_mean(ours)} against {_mean(theirs)}, {_OBSERVATIONS} observations; difference "
        f"{difference.mean():.3f} +- {error:.3f}"
    )
    what = f"C2ST on two moons, 1000 simulations, {method}: ours above sbi's"
    excess = difference.mean() / error
    report(Row(what, excess, "errors", _LARGEST_EXCESS, at_most=True, detail=detail))


def _accuracies(task, draws, key):
    return np.array(
        [
            c2st(reference, sample, key=key_at(key, number)).accuracy
            for number, (reference, sample) in enumerate(zip(task.references, draws, strict=True))
        ]
    )


def _mean(accuracy):
    return f"{accuracy.mean():.3f} +- {accuracy.std(ddof=1) / accuracy.size**0.5:.3f}"
