"""Gates: tests on held-out events that a learned ratio must pass before limits are set with it."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from diffhep.core.checks import require_real
from diffhep.core.rng import check_key, key_at, key_for
from diffhep.core.typing import Key
from diffhep_sbi.calibration import (
    effective_sample_size,
    normalisation,
    require_denominator,
)
from diffhep_sbi.gold import Gold, check_gold, contrast
from diffhep_sbi.networks import mlp
from diffhep_sbi.ratio import fit_ratio

__citations__ = ("arXiv:1805.00020", "arXiv:2412.01548")

_N_SIGMA = 4.0
"""Standard errors by which a gate may be missed: a false alarm in 16,000."""

_CLOSURE_EPOCHS = 10


class Gate(NamedTuple):
    """One test at one point."""

    name: str
    theta: tuple[float, ...]
    value: float
    error: float
    rule: str
    passed: bool


class Report(NamedTuple):
    """All gates of a ratio, and the verdict."""

    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate is passed."""
        return all(gate.passed for gate in self.gates)

    @property
    def failures(self) -> tuple[str, ...]:
        """One line for every gate that is not."""
        return tuple(_describe(gate) for gate in self.gates if not gate.passed)

    def __str__(self) -> str:
        """A table, the verdict last."""
        lines = [f"{_describe(gate)}  {'pass' if gate.passed else 'FAIL'}" for gate in self.gates]
        n_failed = len(self.failures)
        verdict = "passed" if self.passed else f"failed {n_failed} of {len(self.gates)} gates"
        return "\n".join([*lines, f"verdict: {verdict}"])


def _describe(gate: Gate) -> str:
    theta = ", ".join(f"{value:g}" for value in gate.theta)
    return f"{gate.name} at theta = ({theta}): {gate.value:.4g} +- {gate.error:.2g}, {gate.rule}"


def report(
    ratio: Any,
    gold: Gold,
    *,
    tolerance: float = 0.02,
    largest_spread: float = 0.1,
    least_ess: float = 100.0,
    closure: bool = True,
    key: Key,
) -> Report:
    r"""Judge a learned ratio on held-out events, at every distinct theta0 of theirs.

    | gate | passes if |
    |---|---|
    | normalisation | $E_{\theta_1}[\hat r]$ is 1 within the tolerance and four standard errors, and known to the tolerance |
    | closure | a classifier trained to tell events of theta1 with the weights $\hat r$ from those of theta0 has an area under its curve of 1/2 within the tolerance and four errors |
    | spread | the members' standard deviation of $\log\hat r$, mean over events of theta0, is small |
    | effective size | events of theta1 with the weights $\hat r$ are worth enough events |

    Args:
        ratio: A learned or calibrated ratio.
        gold: Events that neither training nor calibration have seen: label 0 at a few points,
            label 1 at the reference.
        tolerance: Deviation of normalisation from 1, and of the area from 1/2, that is allowed.
            Errors per event add up: N events shift a log-likelihood by N times as much.
        largest_spread: Largest mean spread.
        least_ess: Least effective sample size.
        closure: Whether to train the classifier, some seconds a point.
        key: Random key.

    Returns:
        The gates and their verdict.

    Raises:
        DataError: Gold is not finite, or a class is empty.
        ConfigError: A setting is not finite, or the ratio has another denominator than gold.
    """  # noqa: E501 (rows of the table)
    check_key(key)
    require_real(tolerance, "tolerance", "be finite and at least 0", low=0.0)
    check_gold(gold)
    require_denominator(ratio, gold)
    thetas = np.unique(np.asarray(gold.theta0), axis=0)
    reference = gold.take(np.asarray(gold.label) == 1)
    log_ratio = eqx.filter_jit(ratio.log_ratio)
    gates: list[Gate] = []
    for index, theta in enumerate(thetas):
        mask = (np.asarray(gold.theta0) == theta).all(axis=1) & (np.asarray(gold.label) == 0)
        target, point, place = gold.take(mask), jnp.asarray(theta), tuple(theta.tolist())
        log_r = np.asarray(log_ratio(reference.x, point))
        gates.append(_normalisation_gate(log_r, reference, place, tolerance))
        size = effective_sample_size(log_r, np.asarray(reference.weight))
        rule = f"at least {least_ess:g}"
        gates.append(Gate("effective size", place, size, 0.0, rule, size >= least_ess))
        if hasattr(ratio, "spread") and target.n_events:
            spread = float(jnp.mean(ratio.spread(target.x, point)))
            rule = f"at most {largest_spread:g}"
            gates.append(Gate("spread", place, spread, 0.0, rule, spread <= largest_spread))
        if closure and target.n_events:
            closure_key = key_at(key_for(key, "closure"), index)
            gates.append(_closure_gate(target, reference, log_r, place, tolerance, closure_key))
    return Report(tuple(gates))


def _normalisation_gate(
    log_r: np.ndarray, reference: Gold, place: tuple[float, ...], tolerance: float
) -> Gate:
    mean, error = normalisation(log_r, np.asarray(reference.weight))
    rule = f"1 within {tolerance:g} and {_N_SIGMA:g} errors, known to {tolerance:g}"
    good = abs(mean - 1.0) <= tolerance + _N_SIGMA * error and error <= tolerance
    return Gate("normalisation", place, mean, error, rule, bool(good))


def _closure_gate(
    target: Gold,
    reference: Gold,
    log_r: np.ndarray,
    place: tuple[float, ...],
    tolerance: float,
    key: Key,
) -> Gate:
    """Of a classifier trained on one half of the events and judged on the other."""
    reweighted = np.asarray(reference.weight) * np.exp(log_r)
    both = contrast(target.x, reference.x, weights=(target.weight, reweighted))
    train, judge = both.split(0.5, key=key_for(key, "halves"))
    classifier = fit_ratio(
        train,
        "carl",
        network=mlp(32, 2),
        n_members=1,
        n_epochs=_CLOSURE_EPOCHS,
        progress=False,
        key=key_for(key, "classifier"),
    )
    found = np.asarray(classifier.log_ratio(judge.x, jnp.ones(1)))
    area, error = area_under_curve(found, np.asarray(judge.label) == 0, np.asarray(judge.weight))
    rule = f"1/2 within {tolerance:g} and {_N_SIGMA:g} errors"
    good = abs(area - 0.5) <= tolerance + _N_SIGMA * error
    return Gate("closure", place, area, error, rule, bool(good))


def area_under_curve(
    score: np.ndarray, is_first: np.ndarray, weight: np.ndarray
) -> tuple[float, float]:
    """The probability that an event of the first class scores higher than one of the second.

    Args:
        score: What a classifier says of each event; ties count half.
        is_first: Whether it is of the first class.
        weight: Weights.

    Returns:
        The area under the receiver operating characteristic, and its standard error by the
        method of E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44 (1988) 837, with
        weights.
    """
    placements, weights = [], []
    for own in (is_first, ~is_first):
        placements.append(_fraction_below(score[own], score[~own], weight[~own]))
        weights.append(weight[own] / weight[own].sum())
    means = [float(w @ p) for w, p in zip(weights, placements, strict=True)]
    variance = sum(
        float(np.sum((w * (p - mean)) ** 2))
        for w, p, mean in zip(weights, placements, means, strict=True)
    )
    return means[0], float(np.sqrt(variance))


def _fraction_below(score: np.ndarray, others: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted fraction of others below each score, ties by half."""
    order = np.argsort(others, kind="stable")
    ends = np.concatenate([[0.0], np.cumsum(weight[order])])
    below = ends[np.searchsorted(others[order], score, side="left")]
    up_to = ends[np.searchsorted(others[order], score, side="right")]
    return 0.5 * (below + up_to) / ends[-1]
