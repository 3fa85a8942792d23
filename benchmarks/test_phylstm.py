"""A training step of PhyLSTM beside PyTorch's LSTM, and the memory of a long history."""

import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep.magnet import PhyLSTM, Window, gru, lstm, physics_loss
from diffhep.magnet.forecasters import Example

_WIDTH, _RECORDS, _SAMPLES = 100, 10, 500
_DEPTH = 2
"""With the LSTM of r three LSTMs in all."""

_ORDER = ("ours", "torch", "torch", "ours") * 2
_STEPS = 3
_LEAST_SPEED = 5.0
_HISTORY, _HORIZON = 60_000, 1000
_MOST_MEMORY_MIB = 200.0


def weights_of(model):
    """Numbers of all networks, as the peer takes them."""

    def layers(stack):
        return [
            {
                "weight_ih": one.weight_input.tolist(),
                "weight_hh": one.weight_hidden.tolist(),
                "bias_ih": one.bias.tolist(),
            }
            for one in stack
        ]

    def linear(one):
        return {"weight": one.weight.tolist(), "bias": one.bias.tolist()}

    return {
        "response": {"layers": layers(model.response), "readout": linear(model.readout)},
        "change": {"layers": layers([model.change.layer]), "readout": linear(model.change.readout)},
        "force": [linear(one) for one in model.force.layers],
        "levels": list(model.levels),
    }


@pytest.mark.parametrize("onednn", [False, True])
def test_training_step_beside_pytorch(report, onednn):
    """The same weights, records and loss; the value and the whole gradient."""
    model = PhyLSTM(3, _WIDTH, depth=_DEPTH, key=jax.random.key(0))
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(_RECORDS, _SAMPLES, 2)).astype(np.float32)
    target = np.cumsum(inputs[..., 0], axis=1) / np.sqrt(_SAMPLES)
    batch = Example(jnp.asarray(inputs), jnp.zeros((_RECORDS, 0), jnp.float32), jnp.asarray(target))
    batch = batch._replace(labelled=jnp.ones(_RECORDS, jnp.float32))
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    @jax.jit
    @jax.value_and_grad
    def step(params):
        whole = eqx.combine(params, rest)
        return jnp.mean(jax.vmap(lambda one: physics_loss(whole, one))(batch))

    def ours():
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(_STEPS):
            value, gradient = jax.block_until_ready(step(params))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        slope = float(gradient.learned_gain)
        return {"wall": wall / _STEPS, "cpu": cpu / _STEPS, "loss": float(value), "slope": slope}

    setting = {"width": _WIDTH, "depth": _DEPTH, "n_threads": 1, "onednn": onednn}
    found = {"ours": [], "torch": []}
    ours()
    with Peer("torch", "phylstm.py", setting) as peer:
        given = {"inputs": inputs.tolist(), "target": target.tolist()}
        peer.round({**weights_of(model), **given})
        peer.round({"n_steps": 1})
        for name in _ORDER:
            answer = ours() if name == "ours" else peer.round({"n_steps": _STEPS})
            found[name].append(answer)
    for field in ("loss", "slope"):
        one, other = (found[name][0][field] for name in ("ours", "torch"))
        assert abs(one - other) < 1e-3 * max(1.0, abs(other)), f"{field}: {one} and {other}"
    cpu, wall = (
        {name: statistics.median(one[kind] for one in all_) for name, all_ in found.items()}
        for kind in ("cpu", "wall")
    )
    detail = (
        f"{1e3 * cpu['ours']:.0f} against {1e3 * cpu['torch']:.0f} ms of processor time, "
        f"{1e3 * wall['ours']:.0f} against {1e3 * wall['torch']:.0f} ms on the clock"
    )
    loop = "" if onednn else ", its own loop over the samples"
    what = (
        f"training step of PhyLSTM 3, {_RECORDS} x {_SAMPLES}, three LSTMs of {_WIDTH}: time of "
        f"PyTorch on one thread{loop}, over ours"
    )
    bar = _LEAST_SPEED if onednn else None
    report(Row(what, cpu["torch"] / cpu["ours"], "", bar, detail=detail))


@pytest.mark.parametrize("name", ["GRU", "LSTM", "PhyLSTM"])
def test_memory_of_a_long_history(report, name):
    """Of the compiled programs: a forecast, and its gradient in all weights."""
    build = {"GRU": gru, "LSTM": lstm, "PhyLSTM": lambda width, key: PhyLSTM(3, width, key=key)}
    model = build[name](32, key=jax.random.key(0))
    window = Window(jnp.zeros(_HISTORY), jnp.zeros(_HISTORY - _HORIZON), 0.1)
    params, rest = eqx.partition(model, eqx.is_inexact_array)

    def mean(params, window):
        return eqx.combine(params, rest).predict(window).mean

    programs = {"forecast": mean, "gradient": jax.grad(lambda *at: jnp.sum(mean(*at) ** 2))}
    for what, program in programs.items():
        used = jax.jit(program).lower(params, window).compile().memory_analysis()
        held = used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes
        row = f"{name} of width 32, {_HISTORY} samples, {what}: memory"
        report(Row(row, held / 2**20, "MiB", _MOST_MEMORY_MIB, True))
