"""A forecast of one window on one core, compiled; a process that answers rounds."""

import json
import os
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp

from diffhep.magnet import TemporalFusionTransformer, Transformer, Window
from diffhep.magnet.forecasters.base import AbstractNeuralForecaster

KINDS = {"transformer": Transformer, "temporal_fusion": TemporalFusionTransformer}


def parameters_of(forecaster: AbstractNeuralForecaster) -> dict[str, list]:
    """The network's arrays by the names of the attributes that hold them."""
    network = eqx.filter(
        eqx.tree_at(lambda model: model.scaling, forecaster, None), eqx.is_inexact_array
    )
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(network):
        name = jax.tree_util.keystr(path).replace("[", ".").replace("]", "").lstrip(".")
        found[name] = leaf.tolist()
    return found


def main() -> None:
    """Answer with parameters, channels and a forecast, then with the time of forecasts."""
    setting = json.loads(sys.argv[1])
    # Before JAX starts and counts the cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)
    n_context, n_horizon = setting["n_context"], setting["n_horizon"]
    forecaster = KINDS[setting["kind"]](n_context, n_horizon, key=jax.random.key(0))
    t = jnp.arange(n_context + n_horizon) * 0.05
    u = jnp.sin(t) + 0.3 * jnp.cos(2.3 * t)
    window = Window(u, u[:n_context] - 0.2 * jnp.sin(2 * t[:n_context]), 0.05)
    start = time.perf_counter(), time.process_time()
    predict = jax.jit(lambda window: forecaster.predict(window)).lower(window).compile()
    compiling = time.perf_counter() - start[0], time.process_time() - start[1]
    for line in sys.stdin:
        request = json.loads(line)
        if "n" in request:
            walls, begin = [], time.process_time()
            for _ in range(request["n"]):
                at = time.perf_counter()
                jax.block_until_ready(predict(window))
                walls.append(time.perf_counter() - at)
            cpu = (time.process_time() - begin) / request["n"]
            answer = {"cpu": cpu, "wall": sorted(walls)[len(walls) // 2], "least": min(walls)}
        else:
            forecast = predict(window)
            answer = {
                "parameters": parameters_of(forecaster),
                "inputs": forecaster.scaling.inputs(window).tolist(),
                "past": forecaster.scaling.past(window).tolist(),
                "mean": forecast.mean.tolist(),
                "quantiles": forecast.quantiles.tolist(),
                "compiling": compiling,
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
