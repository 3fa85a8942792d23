r"""How far two samples of events are from each other.

Reference:
    The CaloChallenge, arXiv:2410.21611, for the choice; J. A. Hanley and B. J. McNeil,
    Radiology 143, 29 (1982), for the error of the area.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.fit import fit
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Scalar

__citations__ = ("arXiv:2410.21611",)

N_FOLDS = 2
"""Events are judged by the classifier that has not seen them."""


class Area(NamedTuple):
    """Of the curve of a classifier: 0.5 where samples cannot be told apart.

    Attributes:
        auc: The area.
        error: Its standard error.
    """

    auc: float
    error: float


class Fidelity(NamedTuple):
    """A surrogate's events beside the simulator's.

    Attributes:
        area: Of a classifier between both.
        floor: The same between two halves of the simulator's events.
        frechet: See `frechet_distance`.
        frechet_floor: The same between the halves.
        separation: See `separation_power`, of each observable.
        separation_floor: The same between the halves.
    """

    area: Area
    floor: Area
    frechet: float
    frechet_floor: float
    separation: Float[np.ndarray, " observable"]
    separation_floor: Float[np.ndarray, " observable"]


def compare(
    simulated: Float[np.ndarray, "event observable"],
    surrogate: Float[np.ndarray, "other observable"],
    *,
    key: Key,
) -> Fidelity:
    """All metrics, each with the floor that two halves of the simulator's events give.

    Half of the simulator's events are held against as many of the surrogate's, and against the
    other half.

    Args:
        simulated: Events of the simulator.
        surrogate: Half as many of the surrogate, or more.
        key: Random key.

    Returns:
        The metrics.

    Raises:
        ShapeError: There are too few events, or the observables are not as many.
    """
    check_key(key)
    half = len(simulated) // 2
    good = half >= 20 and len(surrogate) >= half and simulated.shape[1:] == surrogate.shape[1:]
    rule = "hold at least 40 events, and surrogate half as many of the same observables"
    require_shape(good, "simulated", rule, f"{simulated.shape} and {surrogate.shape}")
    first, second, other = simulated[:half], simulated[half : 2 * half], surrogate[:half]
    key = key_for(key, "auc")
    return Fidelity(
        classifier_auc(first, other, key=key), classifier_auc(first, second, key=key),
        frechet_distance(first, other), frechet_distance(first, second),
        separation_power(first, other), separation_power(first, second),
    )  # fmt: skip


def frechet_distance(
    first: Float[np.ndarray, "event observable"], second: Float[np.ndarray, "other observable"]
) -> float:
    r"""$|\mu_1-\mu_2|^2+\mathrm{tr}[C_1+C_2-2(C_1^{1/2}C_2C_1^{1/2})^{1/2}]$.

    In units of the standard deviations of the first sample.

    Args:
        first: Events.
        second: Events.

    Returns:
        The squared distance; of order observables over events for samples of one distribution.
    """
    scale = np.where(first.std(axis=0) > 0.0, first.std(axis=0), 1.0)
    one, two = first / scale, second / scale
    covariances = [np.atleast_2d(np.cov(rows.T)) for rows in (one, two)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ covariances[1] @ root)
    trace = sum(np.trace(c) for c in covariances) - 2.0 * np.sqrt(np.clip(mixed, 0.0, None)).sum()
    return float(np.sum((one.mean(axis=0) - two.mean(axis=0)) ** 2) + trace)


def separation_power(
    first: Float[np.ndarray, "event observable"],
    second: Float[np.ndarray, "other observable"],
    n_bins: int = 20,
) -> Float[np.ndarray, " observable"]:
    r"""$\frac12\sum_b(p_b-q_b)^2/(p_b+q_b)$ of each observable: 0 for equal, 1 for apart.

    Bins hold equal shares of both samples together.

    Args:
        first: Events.
        second: Events.
        n_bins: Bins.

    Returns:
        One number an observable.
    """
    as_integer(n_bins, "n_bins", low=2)
    found = []
    for one, two in zip(first.T, second.T, strict=True):
        edges = np.unique(np.quantile(np.concatenate([one, two]), np.linspace(0, 1, n_bins + 1)))
        bins = [np.searchsorted(edges[1:-1], rows, side="right") for rows in (one, two)]
        p, q = (np.bincount(b, minlength=max(len(edges) - 1, 1)) / len(b) for b in bins)
        filled = p + q > 0.0
        found.append(0.5 * np.sum((p - q)[filled] ** 2 / (p + q)[filled]))
    return np.asarray(found)


def classifier_auc(
    first: Float[np.ndarray, "event observable"],
    second: Float[np.ndarray, "other observable"],
    *,
    width: int = 64,
    n_steps: int = 500,
    key: Key,
) -> Area:
    """Area under the curve of a network that tells two samples apart, on events it has not seen.

    Args:
        first: Events.
        second: As many.
        width: Units of its two hidden layers.
        n_steps: Of Adam, in batches of 256.
        key: Random key.

    Returns:
        The area; events of each half are judged by the network trained on the other.

    Raises:
        ConfigError: The samples are not equally long.
    """
    check_key(key)
    require(len(first) == len(second), "second", f"hold {len(first)} events", len(second))
    x = np.concatenate([first, second])
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0.0, x.std(axis=0), 1.0)
    label = np.repeat([0.0, 1.0], len(first))
    order = np.asarray(jax.random.permutation(key_for(key, "order"), len(x)))
    parts = np.array_split(order, N_FOLDS)
    areas = []
    for index, held in enumerate(parts):
        rows = np.concatenate([part for other, part in enumerate(parts) if other != index])
        loss = _Logistic(*(jnp.asarray(a[rows], jnp.float32) for a in (x, label)))
        fold = key_for(key, f"fold {index}")
        network = eqx.nn.MLP(
            x.shape[1], "scalar", width, 2, jax.nn.silu, dtype=jnp.float32, key=key_for(fold, "net")
        )
        found = fit(loss, network, n_steps, key=fold, learning_rate=2e-3, progress=False)
        score = np.asarray(_scores(found.model, jnp.asarray(x[held], jnp.float32)))
        areas.append(area_under_curve(score[label[held] == 0.0], score[label[held] == 1.0]))
    auc = float(np.mean([area.auc for area in areas]))
    return Area(auc, float(np.sqrt(np.sum([area.error**2 for area in areas])) / len(areas)))


def area_under_curve(low: Float[np.ndarray, " event"], high: Float[np.ndarray, " other"]) -> Area:
    r"""Probability that a score of the second sample is above one of the first.

    The error is Hanley and McNeil's, with $Q_1=A/(2-A)$ and $Q_2=2A^2/(1+A)$.

    Args:
        low: Scores.
        high: Scores.

    Returns:
        The area.
    """
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, side="left")
    equal = np.searchsorted(ordered, high, side="right") - below
    n, m = len(low), len(high)
    auc = float(np.mean(below + 0.5 * equal) / n)
    q1, q2 = auc / (2.0 - auc), 2.0 * auc**2 / (1.0 + auc)
    variance = auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)
    return Area(auc, float(np.sqrt(max(variance, 0.0) / (n * m))))


class _Logistic(eqx.Module):
    """Cross-entropy on events drawn at random."""

    x: Float[Array, "event observable"]
    label: Float[Array, " event"]

    def __call__(self, network: Any, key: Key, step: Array) -> Scalar:
        del step
        rows = jax.random.randint(key, (256,), 0, self.x.shape[0])
        score, label = jax.vmap(network)(self.x[rows]), self.label[rows]
        return jnp.mean(jax.nn.softplus(score) - label * score)


@eqx.filter_jit
def _scores(network: Any, x: Array) -> Float[Array, " event"]:
    return jax.vmap(network)(x)
