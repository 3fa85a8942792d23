"""Profiled toys of a HistFactory workspace: one vectorised call against a loop of pyhf."""

import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep_sbi import sample_toys
from diffhep_sbi.io import read_workspace
from diffhep_sbi.profile_statistics import evaluate_statistic
from tests.systems.histfactory import workspaces

_VALUE = 1.0
_TOYS = 1000
_PEER_TOYS = 20
"""Toys of the peer's rounds: its time is proportional to their number."""

_ROUNDS = 3
_LEAST_RATIO = 50.0
_LARGEST_DIFFERENCE = 1e-3
"""Of a statistic: where iminuit ends by default."""


@eqx.filter_jit
def tested(likelihood, toys):
    def one(toy):
        return evaluate_statistic("q_tilde", likelihood, jnp.asarray(_VALUE), toy).statistic

    return jax.vmap(one)(toys)


def test_profiled_toys_against_pyhf(report):
    workspace = workspaces()["correlated"]
    likelihood = read_workspace(workspace)
    theta = likelihood.replace(likelihood.start, {"mu": _VALUE})
    toys = sample_toys(likelihood, theta, _TOYS, key=jax.random.key(0))
    rows = np.concatenate([toys.channels[0], toys.auxiliary[0]], axis=1)[:_PEER_TOYS]
    ours = np.asarray(tested(likelihood, toys))
    setting = {"workspace": workspace, "value": _VALUE, "toys": rows.tolist()}
    times, peer_times = [], []
    with Peer("pyhf", "toys.py", setting) as peer:
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            tested(likelihood, toys).block_until_ready()
            times.append(time.perf_counter() - start)
            answer = peer.round({})
            peer_times.append(answer["seconds"] * _TOYS / _PEER_TOYS)
    difference = np.max(np.abs(ours[:_PEER_TOYS] - answer["statistics"]))
    assert difference < _LARGEST_DIFFERENCE
    seconds, peer_seconds = statistics.median(times), statistics.median(peer_times)
    report(
        Row(
            "1000 profiled toys: pyhf's time over ours",
            peer_seconds / seconds,
            "x",
            _LEAST_RATIO,
            detail=f"{1e3 * seconds:.3g} ms against {peer_seconds:.3g} s",
        )
    )
