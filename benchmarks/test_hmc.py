"""HMC of 2D U(1): against PyTorch in the same run, many chains, and its scaling with the volume."""

import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep_lattice import exact
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.observables import plaquette
from diffhep_lattice.samplers.heatbath import heatbath
from diffhep_lattice.samplers.hmc import hmc

_BETA = 6.0
_LENGTH = 2.0
_N_STEPS = 50
_TRAJECTORIES = 20
"""Trajectories per round."""

_ROUNDS = 15
_LEAST_RATIO = 4.0

_WARM_UP = 200
"""Trajectories before the first round: the field starts ordered and must be in equilibrium."""


@eqx.filter_jit
def advance(algorithm, key, state, n):
    """`n` transitions of one chain: the last state and the mean acceptance."""

    def body(state, key):
        state, info = algorithm.step(key, state)
        return state, info.acceptance_probability

    state, probability = jax.lax.scan(body, state, jax.random.split(key, n))
    return state, jnp.mean(probability)


def build():
    return hmc(WilsonAction(_BETA), step_size=_LENGTH / _N_STEPS, n_steps=_N_STEPS)


def seconds_per_step(algorithm, shape, n=_TRAJECTORIES, rounds=7):
    """Median seconds of one transition of all chains of `shape`, compilation apart."""
    keys = jax.random.split(jax.random.key(0), shape[0])
    states = jax.vmap(algorithm.init)(jnp.zeros(shape))
    run = jax.jit(jax.vmap(lambda key, state: advance(algorithm, key, state, n)[0]))
    jax.block_until_ready(run(keys, states))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        states = jax.block_until_ready(run(keys, states))
        times.append((time.perf_counter() - start) / n)
    return statistics.median(times)


@pytest.mark.parametrize("n_threads", [None, 1], ids=["default_threads", "one_thread"])
def test_hmc_beside_pytorch(benchmark, report, n_threads):
    """L = 64, beta = 6, trajectories of length 2 in 50 leapfrog steps, all in double precision.

    PyTorch runs as it comes, with a thread per core, which is what the bar is for; and with one
    thread, which on so small a field is often its faster way.
    """
    L = 64
    algorithm = build()
    keys = iter(jax.random.split(jax.random.key(0), 2 + _ROUNDS))
    state, _ = advance(algorithm, next(keys), algorithm.init(jnp.zeros((2, L, L))), _WARM_UP)
    state, _ = advance(algorithm, next(keys), state, _TRAJECTORIES)
    acceptance, plaquettes, answers = [], [], []

    def ours():
        nonlocal state
        state, probability = jax.block_until_ready(
            advance(algorithm, next(keys), state, _TRAJECTORIES)
        )
        acceptance.append(float(probability))

    setting = {
        "L": L,
        "beta": _BETA,
        "trajectory_length": _LENGTH,
        "n_steps": _N_STEPS,
        "n_threads": n_threads,
    }
    with Peer("torch", "u1_hmc.py", setting) as peer:
        peer.round({"n_trajectories": _WARM_UP})

        def theirs():
            plaquettes.append(float(plaquette(state.position)))
            answers.append(peer.round({"n_trajectories": _TRAJECTORIES}))

        # The peer's round is the set-up of ours, so the two take turns.
        benchmark.pedantic(ours, setup=theirs, rounds=_ROUNDS, iterations=1)

    # Both sample the same density: their plaquettes are those of the exact solution.
    reference = exact.u1_plaquette(_BETA, L * L)
    for values in (plaquettes, [answer["plaquette"] for answer in answers]):
        assert abs(np.mean(values) - reference) < 6 * np.std(values) / np.sqrt(len(values))
    ours_s = benchmark.stats.stats.median / _TRAJECTORIES
    theirs_s = statistics.median(answer["seconds"] for answer in answers) / _TRAJECTORIES
    benchmark.extra_info.update(ours_s=ours_s, theirs_s=theirs_s, ratio=theirs_s / ours_s)
    threads = "its default threads" if n_threads is None else "one thread"
    peer_acceptance = np.mean([answer["acceptance"] for answer in answers])
    detail = (
        f"{1 / ours_s:.0f} against {1 / theirs_s:.0f} trajectories/s, "
        f"acceptance {np.mean(acceptance):.2f} and {peer_acceptance:.2f}"
    )
    what = f"HMC, L=64: time of PyTorch on {threads} over ours"
    bar = _LEAST_RATIO if n_threads is None else None
    report(Row(what, theirs_s / ours_s, "", bar, detail=detail))
    step_us = ours_s / _N_STEPS * 1e6
    report(Row("HMC, L=64: a trajectory per leapfrog step", step_us, "us", 60.0, True))


def test_many_chains(report):
    """A chain alone has all its fields in the first-level cache, many chains have not."""
    algorithm = build()
    alone = seconds_per_step(algorithm, (1, 2, 16, 16))
    together = seconds_per_step(algorithm, (64, 2, 16, 16)) / 64
    report(
        Row(
            "HMC, L=16: time of a chain alone over one of 64",
            alone / together,
            "",
            detail=f"{alone * 1e6:.0f} and {together * 1e6:.0f} us a trajectory",
        )
    )


def test_cost_is_linear_in_the_volume(report):
    """Log-log slope of the time of one transition from L = 16 to 256."""
    lengths = (16, 32, 64, 128, 256)
    for name, algorithm in (("HMC", build()), ("heatbath", heatbath(WilsonAction(_BETA)))):
        seconds = [
            seconds_per_step(algorithm, (1, 2, L, L), n=max(1, 2048 // L**2), rounds=5)
            for L in lengths
        ]
        slope = np.polyfit(np.log(np.square(lengths)), np.log(seconds), 1)[0]
        detail = ", ".join(f"{L}: {s * 1e3:.3g}" for L, s in zip(lengths, seconds, strict=True))
        report(Row(f"{name}: slope of time in volume", slope, "", 1.1, True, f"ms at L = {detail}"))
