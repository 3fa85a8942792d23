"""Training of a gradient flow of Wilson loops of 2D SU(3): beside bijx, compilation, volume."""

import statistics
import subprocess
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer, environment
from diffhep_lattice.actions import WilsonAction
from diffhep_lattice.flows import trivializing_flow
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.groups import SUN
from diffhep_lattice.training import ReverseKL, cast

_L = 8
_BETA = 5.0
_BATCH = 16
_N_LOOPS = 7
_N_KNOTS = 2
_N_STEPS = 6
"""Steps of the integrators, both of second order."""

_LEARNING_RATE = 1e-3
_OPTIMIZER_STEPS = 2
"""Optimiser steps per round."""

_ROUNDS = 7
_LEAST_RATIO = 3.0
_MOST_COMPILE_S = 30.0
_TOLERANCE = 0.1
"""Largest difference of log q, over its spread: both integrate the same equation."""

_LENGTHS = (8, 16, 32, 64)
_VOLUME_BATCH = 8


def build(length=_L):
    """A flow some way off its start, in single precision, and its trainable half."""
    flow = trivializing_flow(
        Lattice((length, length)),
        3,
        beta=_BETA,
        n_knots=_N_KNOTS,
        n_loops=_N_LOOPS,
        n_steps=_N_STEPS,
    )
    params, rest = eqx.partition(cast(flow, jnp.float32), eqx.is_inexact_array)
    return jax.tree.map(lambda x: 1.1 * x + 0.01, params), rest


def compile_step(length=_L, batch=_BATCH):
    """The compiled step of Adam on the reverse divergence, and the seconds that it took."""
    params, rest = build(length)
    action = WilsonAction(beta=jnp.asarray(_BETA), group=SUN(3))
    loss = ReverseKL(action, batch=batch, gradient="reparameterised")
    optimizer = optax.adam(_LEARNING_RATE)

    def value(params, key):
        return loss(eqx.combine(params, rest), key, jnp.asarray(0))[0]

    def step(params, state, key):
        divergence, slope = jax.value_and_grad(value)(params, key)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state, divergence

    state = optimizer.init(params)
    start = time.perf_counter()
    compiled = jax.jit(step).lower(params, state, jax.random.key(0)).compile()
    return compiled, params, state, time.perf_counter() - start


def peer_environment():
    """Skip where the peer cannot be installed."""
    try:
        environment("bijx")
    except subprocess.CalledProcessError:
        pytest.skip("bijx is not installed here, and pip cannot install it")


def test_training_beside_bijx(benchmark, report):
    """One step: 8x8, batch 16, 14 parameters, 6 steps of second order, single precision."""
    peer_environment()
    params, rest = build()
    flow = eqx.combine(params, rest)
    z = flow.sample_latents(jax.random.key(1), _BATCH)
    _, log_q = eqx.filter_jit(lambda flow, z: flow.push_forward(z))(flow, z)
    step, params, state, compile_s = compile_step()
    coefficients = params.bijection.coefficients.tolist()
    keys = iter(jax.random.split(jax.random.key(2), (1 + _ROUNDS) * _OPTIMIZER_STEPS))
    answers = []

    def ours():
        nonlocal params, state
        for _ in range(_OPTIMIZER_STEPS):
            params, state, loss = step(params, state, next(keys))
        return float(loss)

    ours()
    setting = {
        "L": _L,
        "beta": _BETA,
        "batch": _BATCH,
        "n_steps": _N_STEPS,
        "learning_rate": _LEARNING_RATE,
        "coefficients": coefficients,
    }
    links = np.moveaxis(np.asarray(z), (5, 3, 4, 0, 1, 2), (0, 1, 2, 3, 4, 5))
    request = {"coefficients": coefficients, "links": [links.real.tolist(), links.imag.tolist()]}
    with Peer("bijx", "su3_flow.py", setting) as peer:
        same = peer.round(request)
        peer.round({"n_steps": _OPTIMIZER_STEPS})
        benchmark.pedantic(
            ours,
            setup=lambda: answers.append(peer.round({"n_steps": _OPTIMIZER_STEPS})),
            rounds=_ROUNDS,
            iterations=1,
        )
    spread = float(np.std(np.asarray(log_q)))
    difference = float(np.max(np.abs(np.asarray(same["log_q"]) - np.asarray(log_q)))) / spread
    assert difference < _TOLERANCE
    ours_s = benchmark.stats.stats.median / _OPTIMIZER_STEPS
    theirs_s = statistics.median(answer["seconds"] for answer in answers) / _OPTIMIZER_STEPS
    benchmark.extra_info.update(ours_s=ours_s, theirs_s=theirs_s, ratio=theirs_s / ours_s)
    what = "2D SU(3) loop flow, training step"
    detail = (
        f"{ours_s * 1e3:.0f} against {theirs_s * 1e3:.0f} ms a step, {_N_LOOPS * _N_KNOTS} "
        f"parameters, the same log q within {difference:.1%} of its spread"
    )
    compiled = f"bijx {same['compile_s']:.3g} s"
    report(
        Row(f"{what}: time of bijx over ours", theirs_s / ours_s, "", _LEAST_RATIO, detail=detail),
        Row(f"{what}: compilation", compile_s, "s", _MOST_COMPILE_S, True, compiled),
    )


def test_volume(report):
    """A training step from L = 8 to 64 at a fixed batch."""
    times = []
    for length in _LENGTHS:
        step, params, state, _ = compile_step(length, _VOLUME_BATCH)
        jax.block_until_ready(step(params, state, jax.random.key(0)))
        rounds = []
        for key in jax.random.split(jax.random.key(1), 5):
            start = time.perf_counter()
            jax.block_until_ready(step(params, state, key))
            rounds.append(time.perf_counter() - start)
        times.append(statistics.median(rounds))
    slope = np.polyfit(np.log(np.square(_LENGTHS)), np.log(times), 1)[0]
    per_site = [
        f"{length}: {1e6 * seconds / (_VOLUME_BATCH * length**2):.3g}"
        for length, seconds in zip(_LENGTHS, times, strict=True)
    ]
    detail = "us per site and sample at L = " + ", ".join(per_site)
    what = "2D SU(3) loop flow, training step: slope of time in volume"
    report(Row(what, slope, "", 1.1, True, detail))
