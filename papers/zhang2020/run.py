"""PhyLSTM on a hysteretic oscillator: few measured records, many of the ground's motion alone."""

import itertools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.magnet import (
    BoucWen,
    PhyLSTM,
    Window,
    Windows,
    data_loss,
    fit_forecaster,
    physics_loss,
)
from papers.zhang2020.config import NETWORKS, PRESETS, Config
from papers.zhang2020.oscillator import SPRING, Records, records

__all__ = ["PRESETS", "Config", "run"]

GAIN = -1.0
"""The mass moves against its ground."""

KINDS: dict[str, int] = dict(zip(NETWORKS[:3], (3, 2, 1), strict=True))

PLAIN, WIDE = NETWORKS[3:]

PUBLISHED_CORRELATION = 0.9
"""arXiv:2002.10253: coefficients of correlation on records not learned from lie above."""


class Found(NamedTuple):
    """What networks of one kind found on the test records.

    Attributes:
        motion: Displacement, velocity and force, each with leading axes seed and record.
        error: Root mean square error of the displacement over its root mean square, each seed.
    """

    motion: dict[str, np.ndarray]
    error: np.ndarray


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Integrate the records, train the networks side by side, compare them.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    sizes = (config.n_labelled, config.n_held_out, config.n_unlabelled, config.n_test)
    all_records = _integrated(config, sum(sizes), config.n_substeps, key=key)
    cuts = list(itertools.pairwise(np.cumsum((0, *sizes))))
    parts = [Records(*(row[a:b] for row in all_records)) for a, b in cuts]
    claims = _truth_claims(config, all_records, key=key)
    found = {}
    for name in config.networks:
        found[name] = _trained(config, name, parts, directory, key=key_for(key, "networks"))
        directory.log(name, config.n_steps, error=float(found[name].error.mean()))
    _save(config, directory, parts[-1], found)
    return [*claims, *_claims(parts[-1], found)]


def _integrated(
    config: Config, n: int, n_substeps: int, *, key: Key, spring: BoucWen = SPRING
) -> Records:
    ground = key_for(key, "ground")
    return records(n, config.n_samples, config.dt_s, n_substeps, key=ground, spring=spring)


def _truth_claims(config: Config, found: Records, *, key: Key) -> list[Claim]:
    """Half the step leads to the same motion; the samples obey the equation; memory matters."""
    n = found.x.shape[0]
    finer = _integrated(config, n, 2 * config.n_substeps, key=key)
    linear = BoucWen(SPRING.a, 0.0, 0.0, 1.0, SPRING.elastic, SPRING.hysteretic)
    without = _integrated(config, n, config.n_substeps, key=key, spring=linear)
    v, dt = found.v, config.dt_s
    slope = (v[:, :-4] - 8 * v[:, 1:-3] + 8 * v[:, 3:-1] - v[:, 4:]) / (12 * dt)
    residual = slope + (found.force + found.ground)[:, 2:-2]
    samples = float(jnp.sqrt(jnp.mean(residual**2) / jnp.mean(found.ground**2)))
    change = _nrmse(finer.x, found.x)
    return [
        Claim("truth: change at half the step", change, None, 1e-3, "exact", "<="),
        Claim("truth: equation of motion on the samples", samples, None, 0.02, "exact", "<="),
        Claim("spring without memory: error", _nrmse(without.x, found.x), None, 0.3, "exact", ">="),
    ]


def _trained(
    config: Config, name: str, parts: list[Records], directory: RunDir, *, key: Key
) -> Found:
    """Networks of one kind, one for each seed, as one program."""
    keys = jax.random.split(key, config.n_seeds)
    physics = name in KINDS
    kind, width = KINDS.get(name, 1), config.width
    if name == WIDE:
        width = _width_of(_size_at(3, config.width))
    networks = eqx.filter_vmap(_build(kind, width))(keys)
    directory.log(f"{name}: parameters", 0, n=_size(networks) // config.n_seeds)
    labelled, held_out, unlabelled, test = (_windows(part, config.dt_s) for part in parts)
    fitted = fit_forecaster(
        networks,
        labelled,
        held_out,
        key=key_for(key, name),
        n_steps=config.n_steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        loss=physics_loss if physics else data_loss,
        unlabelled=unlabelled.known if physics else None,
        ensemble=True,
        checkpoint=directory.checkpoint(name.replace(", ", "-").replace(" ", "-")),
    )

    @eqx.filter_jit
    def motions(forecasters: PhyLSTM, known: Window) -> Any:
        return eqx.filter_vmap(lambda one: jax.vmap(one.motion)(known))(forecasters)

    found = motions(fitted.forecaster, test.known)
    motion = {"x": found.y} | ({"v": found.rate, "force": found.force} if physics else {})
    error = np.array([_nrmse(x, parts[-1].x) for x in found.y])
    return Found({name: np.asarray(rows) for name, rows in motion.items()}, error)


def _build(kind: int, width: int) -> Any:
    return lambda key: PhyLSTM(kind, width, gain=GAIN, key=key)


def _size(network: Any) -> int:
    """Trained numbers of a network, or of its shapes."""
    trained = jax.tree.leaves(eqx.tree_at(lambda one: one.scaling, network, None))
    return sum(math.prod(leaf.shape) for leaf in trained if hasattr(leaf, "shape"))


def _size_at(kind: int, width: int) -> int:
    """Without making the network."""
    return _size(eqx.filter_eval_shape(_build(kind, width), jax.random.key(0)))


def _width_of(size: int) -> int:
    """The narrowest plain network of at least so many parameters."""
    return next(width for width in itertools.count(1) if _size_at(1, width) >= size)


def _windows(part: Records, dt_s: float) -> Windows:
    """Records as windows of horizon alone: nothing but the ground's motion is known."""
    n = part.x.shape[0]
    none, rows = jnp.zeros((n, 0)), jnp.arange(n)
    return Windows(Window(part.ground, none, jnp.full(n, dt_s), none), part.x, rows, 0 * rows)


def _nrmse(found: Float[Array, "record time"], expected: Float[Array, "record time"]) -> float:
    return float(jnp.sqrt(jnp.mean((found - expected) ** 2) / jnp.mean(expected**2)))


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean over seeds and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def _correlation(found: np.ndarray, expected: Any) -> np.ndarray:
    """Coefficients of correlation along time, mean over records, for each seed."""
    expected = np.asarray(expected)
    a = found - found.mean(axis=-1, keepdims=True)
    b = expected - expected.mean(axis=-1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return ((a * b).sum(axis=-1) / norm).mean(axis=-1)


def _claims(test: Records, found: dict[str, Found]) -> list[Claim]:
    """Errors over those of networks that know no physics, and correlations."""
    source, claims = "arXiv:2002.10253", []
    if PLAIN not in found:
        error = _mean(found["PhyLSTM 3"].error)
        return [Claim("PhyLSTM 3: error of the displacement", *error, 0.8, "target", "<=")]
    for name, other in itertools.product(KINDS, (PLAIN, WIDE)):
        ratio = _mean(found[name].error / found[other].error)
        claims.append(Claim(f"error of {name} / {other}", *ratio, 1.0, "peer", "<"))
    names = {"x": "displacement", "v": "velocity", "force": "force"}
    for kind, field in itertools.product(("PhyLSTM 3", "PhyLSTM 2"), names):
        value = _mean(_correlation(found[kind].motion[field], getattr(test, field)))
        what = f"{kind}: correlation of the {names[field]}"
        claims.append(Claim(what, *value, PUBLISHED_CORRELATION, source, ">="))
    return claims


def _save(config: Config, directory: RunDir, test: Records, found: dict[str, Found]) -> None:
    arrays: dict[str, Any] = {"dt_s": config.dt_s}
    arrays |= {f"truth/{name}": np.asarray(row) for name, row in test._asdict().items()}
    for name, one in found.items():
        arrays[f"error/{name}"] = one.error
        arrays |= {f"{field}/{name}": rows[0] for field, rows in one.motion.items()}
    directory.save_data(arrays)
