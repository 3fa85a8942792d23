"""Training of stripe couplings: against PyTorch in the same run, compilation, and memory."""

import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.flows.coupling import stripe_flow
from diffhep_lattice.flows.kernels import CircularSpline
from diffhep_lattice.geometry import Lattice
from diffhep_lattice.training import ReverseKL, cast

_L = 8
_BETA = 2.0
_N_LAYERS = 16
_BATCH = 256
_HIDDEN = (16, 16)
_WIDTH = 3
_LEARNING_RATE = 1e-3

_STEPS = 3
"""Optimiser steps per round."""

_ROUNDS = 9
_LEAST_RATIO = 5.0
_MOST_COMPILE_S = 15.0
_TOLERANCE = 1e-4


def build(n_layers=_N_LAYERS, *, rematerialise=True):
    """A single-precision flow some way off the identity, and its trainable half."""
    flow = stripe_flow(
        Lattice((_L, _L)),
        key=jax.random.key(0),
        n_layers=n_layers,
        kernel=CircularSpline(),
        hidden=_HIDDEN,
        width=_WIDTH,
        rematerialise=rematerialise,
    )
    params, rest = eqx.partition(cast(flow, jnp.float32), eqx.is_inexact_array)
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)))
    keys = jax.tree.unflatten(jax.tree.structure(params), list(keys))
    noisy = jax.tree.map(
        lambda x, k: x + 0.05 * jax.random.normal(k, x.shape, x.dtype), params, keys
    )
    return noisy, rest


def build_step(rest, gradient="reparameterised", batch=_BATCH):
    """One step of Adam on the reverse divergence: (params, state, key) to the next and the loss."""
    loss = ReverseKL(WilsonAction(_BETA), batch=batch, gradient=gradient)
    optimizer = optax.adam(_LEARNING_RATE)

    def value(params, key):
        return loss(eqx.combine(params, rest), key, jnp.asarray(0))[0]

    def step(params, state, key):
        divergence, slope = jax.value_and_grad(value)(params, key)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state, divergence

    return optimizer, jax.jit(step, donate_argnums=(0, 1))


def compile_step(n_layers=_N_LAYERS, batch=_BATCH, gradient="reparameterised", **options):
    """The compiled training step, and the seconds that tracing and compiling took."""
    params, rest = build(n_layers, **options)
    optimizer, step = build_step(rest, gradient, batch)
    state = optimizer.init(params)
    start = time.perf_counter()
    compiled = step.lower(params, state, jax.random.key(0)).compile()
    return compiled, params, state, time.perf_counter() - start


def _push_forward(flow, z):
    return flow.push_forward(z)


def layers_as_lists(params):
    """Weights and biases of every coupling in the order and the axes of `torch.nn.Conv2d`."""
    chain = params.bijection.stacked.bijections
    layers = []
    for index in range(_N_LAYERS):
        convolutions = []
        for convolution in chain[index % 2].network.layers:
            weight = np.asarray(convolution.weight[index // 2])
            width = convolution.width
            # Ours shift the field by a where PyTorch looks at the neighbour at -a.
            taps = weight.reshape(len(weight), width, width, -1)[:, ::-1, ::-1]
            weight = taps.transpose(0, 3, 2, 1)
            convolutions.append((weight.tolist(), convolution.bias[index // 2].tolist()))
        layers.append(convolutions)
    return layers


@pytest.mark.parametrize("n_threads", [None, 1], ids=["default_threads", "one_thread"])
def test_training_beside_pytorch(benchmark, report, n_threads):
    """One step: 8x8, 16 couplings, batch 256, single precision, the reparameterised gradient.

    PyTorch runs as it comes, with a thread per core, which is what the bar is for; and with one.
    """
    params, rest = build()
    z = np.random.default_rng(0).uniform(-np.pi, np.pi, (_BATCH, 2, _L, _L)).astype(np.float32)
    flow = eqx.combine(params, rest)
    U, log_q = eqx.filter_jit(_push_forward)(flow, jnp.moveaxis(z, 0, -1))
    layers = layers_as_lists(params)
    step, params, state, _ = compile_step()
    keys = iter(jax.random.split(jax.random.key(2), (1 + _ROUNDS) * _STEPS))
    answers = []

    def ours():
        nonlocal params, state
        for _ in range(_STEPS):
            params, state, loss = step(params, state, next(keys))
        return float(loss)

    ours()
    setting = {
        "L": _L,
        "beta": _BETA,
        "n_layers": _N_LAYERS,
        "batch": _BATCH,
        "hidden": _HIDDEN,
        "width": _WIDTH,
        "n_bins": CircularSpline().n_bins,
        "learning_rate": _LEARNING_RATE,
        "n_threads": n_threads,
    }
    with Peer("torch", "u1_flow.py", setting) as peer:
        same = peer.round({"layers": layers, "z": z.tolist()})
        peer.round({"n_steps": _STEPS})
        benchmark.pedantic(
            ours,
            setup=lambda: answers.append(peer.round({"n_steps": _STEPS})),
            rounds=_ROUNDS,
            iterations=1,
        )

    # Both are the same map: the same latent links go to the same field with the same density.
    turns = (np.asarray(same["U"]) - np.moveaxis(np.asarray(U), -1, 0)) / (2 * np.pi)
    assert np.max(np.abs(turns - np.round(turns))) < _TOLERANCE
    difference = np.max(np.abs(np.asarray(same["log_q"]) - np.asarray(log_q)))
    assert difference < _TOLERANCE
    assert np.std(np.asarray(log_q)) > 1e3 * _TOLERANCE
    ours_s = benchmark.stats.stats.median / _STEPS
    theirs_s = statistics.median(answer["seconds"] for answer in answers) / _STEPS
    benchmark.extra_info.update(ours_s=ours_s, theirs_s=theirs_s, ratio=theirs_s / ours_s)
    threads = "its default threads" if n_threads is None else "one thread"
    report(
        Row(
            f"training step of 16 couplings: time of PyTorch on {threads} over ours",
            theirs_s / ours_s,
            "",
            _LEAST_RATIO if n_threads is None else None,
            detail=f"{ours_s * 1e3:.0f} against {theirs_s * 1e3:.0f} ms a step, "
            f"the same log q within {difference:.0e}",
        )
    )


@pytest.mark.parametrize("gradient", ["reparameterised", "path"])
def test_compilation(report, gradient):
    """Tracing and compiling the training step, and a step's time."""
    step, params, state, compile_s = compile_step(gradient=gradient)
    times = []
    for key in jax.random.split(jax.random.key(0), 10):
        start = time.perf_counter()
        params, state, _ = jax.block_until_ready(step(params, state, key))
        times.append(time.perf_counter() - start)
    detail = f"{statistics.median(times) * 1e3:.0f} ms a step"
    what = f"training step, {gradient} gradient: compilation"
    report(Row(what, compile_s, "s", _MOST_COMPILE_S, True, detail))


def temporary_bytes(**options):
    return compile_step(**options)[0].memory_analysis().temp_size_in_bytes


def test_memory(report):
    """Temporary memory of the compiled step in the batch and in the number of layers."""
    batches = {n: temporary_bytes(batch=n, rematerialise=False) for n in (128, 512)}
    depths = {n: temporary_bytes(n_layers=n, rematerialise=False) for n in (16, 64)}
    flat = {n: temporary_bytes(n_layers=n, rematerialise=True) for n in (16, 64)}
    for what, sizes in (("batch", batches), ("number of layers", depths)):
        (small, least), (large, most) = sizes.items()
        slope = np.log(most / least) / np.log(large / small)
        detail = f"{least / 2**20:.1f} MiB at {small}, {most / 2**20:.1f} MiB at {large}"
        report(Row(f"memory of a training step: slope in the {what}", slope, "", 1.0, True, detail))
    # A scan has to keep the field between its steps, each of two couplings, and every coupling's
    # parameters have a gradient; Adam's updates are as large again, and so are its two moments.
    (small, least), (large, most) = flat.items()
    field = 2 * _L * _L * _BATCH * 4 / 2
    params = sum(x.size for x in jax.tree.leaves(build()[0])) * 4 / _N_LAYERS
    unavoidable = field + 4 * params
    report(
        Row(
            "memory of a training step, rematerialised: per layer, over field and parameters",
            (most - least) / (large - small) / unavoidable,
            "",
            1.0,
            True,
            f"{least / 2**20:.1f} MiB at {small}, {most / 2**20:.1f} MiB at {large} layers",
        )
    )
