"""A Gaussian random walk; the environment variable WALK_TROUBLE makes its middle go wrong."""

import errno
import os
import signal
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from diffhep.core.errors import DataError
from diffhep.core.loop import run_loop
from diffhep.core.rng import key_for
from diffhep.core.run import Claim

CHUNK = 50


@dataclass(frozen=True)
class Walk:
    """How far it goes."""

    n_steps: int = 400
    width: float = 1.0


@dataclass(frozen=True)
class Config:
    """The walk, and what is claimed of its spread."""

    walk: Walk = field(default_factory=Walk)
    bar: float = 0.5


PRESETS = {
    "smoke": Config(),
    "demo": Config(walk=Walk(n_steps=800)),
    "full": Config(walk=Walk(n_steps=1600), bar=2.0),
}


def trouble(done, metrics):
    """Whatever the environment asks for, once, after the third chunk."""
    del metrics
    kind = os.environ.get("WALK_TROUBLE") if done == 3 * CHUNK else None
    if kind == "interrupt":
        signal.raise_signal(signal.SIGINT)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "full disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.jsonl")
    elif kind == "bad data":
        raise DataError("Argument `x` must be finite, but\nit is nan.")
    elif kind == "defect":
        raise ZeroDivisionError("a defect")


def run(config, directory, *, key):
    """Walk, save the steps, claim their mean and spread."""

    def step(key, position):
        stride = config.walk.width * jax.random.normal(key)
        return position + stride, {"stride": stride}

    result = run_loop(
        step,
        jnp.zeros(()),
        config.walk.n_steps,
        key=key_for(key, "walk"),
        chunk=CHUNK,
        checkpoint=directory.checkpoint("walk"),
        checkpoint_every_s=0.0,
        on_chunk=trouble,
        progress=False,
    )
    strides = result.history["stride"]
    directory.save_data({"walk/stride": strides})
    mean, spread = float(strides.mean()), float(strides.std())
    stderr = spread / len(strides) ** 0.5
    return [
        Claim("mean stride", mean, stderr, 0.0, "exact", "pull<4"),
        Claim("spread", spread, None, config.bar, "exact", ">="),
    ]
