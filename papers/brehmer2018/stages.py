"""Stages of a run: mine, train every method and seed, compare with the exact ratio."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import (
    ExactRatio,
    Gold,
    fit_ratio,
    mine,
    mlp,
    problems,
    sallino,
    simulate,
)
from papers.brehmer2018.config import Point, Training

TRIMMED = 0.05
"""Fraction of the largest squared errors left out of the trimmed mean, as in the paper."""


class Place(NamedTuple):
    """A problem in one run, and the events and parameters on which all methods are compared."""

    point: Point
    problem: problems.AbstractProblem
    theta1: Float[Array, " param"]
    x: Float[Array, "event feature"]
    thetas: Float[Array, "point param"]
    truth: Float[np.ndarray, "point event"]
    directory: RunDir
    key: Key


def build_problem(name: str) -> tuple[problems.AbstractProblem, Float[Array, " param"]]:
    """A problem of the paper and its reference point."""
    if name == "drell_yan":
        return problems.DrellYan(), jnp.zeros(2)
    if name == "ee_mumu":
        return problems.EeMuMu(), jnp.zeros(1)
    if name == "galton":
        return problems.GaltonBoard(), jnp.zeros(1)
    design = jnp.array([[1.0, 0.3], [0.0, 1.0], [0.5, -0.2]])
    return problems.LatentGaussian(design, 0.5 * jnp.eye(3), 0.3 * jnp.eye(3)), jnp.zeros(2)


def prepare(point: Point, test: tuple[int, int], directory: RunDir, key: Key) -> Place:
    """Events from the reference, parameters from the box, and the exact log-ratios.

    `test` are the numbers of events and of parameter points.
    """
    problem, theta1 = build_problem(point.problem)
    x = simulate(problem.simulator, theta1, n_events=test[0], key=key_for(key, "test"))
    shape = (test[1], theta1.size)
    thetas = point.half_width * jax.random.uniform(
        key_for(key, "thetas"), shape, float, minval=-0.9, maxval=0.9
    )
    truth = np.asarray(_log_ratios(ExactRatio(problem, theta1), x, thetas))
    return Place(point, problem, theta1, x, thetas, truth, directory, key)


@eqx.filter_jit
def _log_ratios(ratio: Any, x: Array, thetas: Array) -> Float[Array, "point event"]:
    return jax.lax.map(lambda theta: ratio.log_ratio(x, theta), thetas)


def gold_for(place: Place, method: str, n_events: int, seed: int) -> Gold:
    """Gold of one seed: numerators from the whole box, or the reference itself for SALLY.

    That of SALLINO's ratio shares no event with what its score was learned from.
    """
    name = f"gold sallino {n_events}" if method == "sallino" else f"gold {n_events}"
    key = key_at(key_for(place.key, name), seed)
    theta0 = place.theta1
    if method != "sally":
        shape = (n_events, place.theta1.size)
        box = jax.random.uniform(key_for(key, "theta0"), shape, float, minval=-1.0, maxval=1.0)
        theta0 = place.point.half_width * box
    return mine(place.problem.simulator, theta0, place.theta1, n_events=n_events, key=key)


def trained(place: Place, settings: Training, method: str, n_events: int, seed: int) -> Any:
    """The ratio of one method, number of events and seed."""
    if method == "sallino":
        local = trained(place, settings, "sally", n_events, seed)
        return sallino(local, gold_for(place, method, n_events, seed))
    name = f"{place.point.problem}-{method}-{n_events}-{seed}"
    fitted = fit_ratio(
        gold_for(place, method, n_events, seed),
        method,
        network=mlp(settings.width, settings.depth),
        n_members=1,
        n_epochs=settings.n_epochs,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        checkpoint=place.directory.checkpoint(name),
        key=key_at(key_for(place.key, name), seed),
    )
    place.directory.log(name, n_events, held_out_loss=float(fitted.held_out_loss[-1, 0]))
    return fitted


def squared_errors(place: Place, fitted: Any) -> tuple[float, float]:
    """Mean square error of the log-ratio on all points and events, and without the largest."""
    found = np.asarray(_log_ratios(fitted, place.x, place.thetas))
    errors = np.sort((found - place.truth).ravel() ** 2)
    kept = errors[: int((1.0 - TRIMMED) * errors.size)]
    return float(errors.mean()), float(kept.mean())


def learning_curve(
    place: Place, settings: Training, method: str
) -> tuple[Float[np.ndarray, "number seed two"], list[Any]]:
    """Mean square errors, plain and trimmed, and the ratios of the most events."""
    rows, fitted = [], []
    for n_events in settings.n_events:
        fitted = [
            trained(place, settings, method, n_events, seed) for seed in range(settings.n_seeds)
        ]
        rows.append([squared_errors(place, ratio) for ratio in fitted])
    return np.array(rows), fitted


def compare(
    place: Place, arrays: dict[str, Any], pair: tuple[str, str], bar: float, source: str
) -> Claim:
    """The ratio of the mean square errors of two methods, its error from the spread over seeds."""
    means, relative = [], 0.0
    for method in pair:
        errors = arrays[f"{method}/errors"][-1, :, 0]
        means.append(errors.mean())
        if errors.size > 1:
            relative += errors.var(ddof=1) / errors.size / errors.mean() ** 2
    value = float(means[0] / means[1])
    name = f"{place.point.problem}: MSE(log r) of {pair[0]} / {pair[1]}"
    return Claim(name, value, float(value * np.sqrt(relative)), bar, source, "<=")


def expected_curve(
    place: Place, ratio: Any, fractions: Float[np.ndarray, " point"]
) -> Float[np.ndarray, " point"]:
    """Minus twice the mean log-ratio per event along the first parameter, events of theta1."""
    first = jnp.zeros(place.theta1.size).at[0].set(place.point.half_width)
    thetas = jnp.asarray(fractions)[:, None] * first
    return -2.0 * np.asarray(_log_ratios(ratio, place.x, thetas)).mean(axis=1)


def information_of(scores: Float[np.ndarray, "event param"]) -> Float[np.ndarray, "param param"]:
    """The mean square of scores of events at the reference."""
    return scores.T @ scores / len(scores)


def exact_information(place: Place) -> Float[np.ndarray, "param param"]:
    """Closed where it is known, else from the exact scores of the test events."""
    if isinstance(place.problem, (problems.LatentGaussian, problems.EeMuMu)):
        return np.asarray(place.problem.information(place.theta1))
    return information_of(scores_of(place, ExactRatio(place.problem, place.theta1)))


def scores_of(place: Place, ratio: Any) -> Float[np.ndarray, "event param"]:
    """The scores of the test events at the reference."""
    return np.asarray(eqx.filter_jit(ratio.score)(place.x, place.theta1))
