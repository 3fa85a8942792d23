"""Standardisation of events, parameters and weights, from what is trained on alone."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_shape
from diffhep_sbi.gold import Gold, Split

__citations__ = ("arXiv:1805.00020",)

_LEAST_OF_CLASS = 100
"""Events of a class at a point whose sum of weights is known well enough to be divided by."""


class Standard(eqx.Module):
    """Shift and scale that give the training events mean 0 and variance 1."""

    shift: Float[Array, "..."] | Float[np.ndarray, "..."]
    scale: Float[Array, "..."] | Float[np.ndarray, "..."]

    def __call__(self, value: Any) -> Any:
        """Standardised values."""
        return (value - self.shift) / self.scale


def require_as_in_training(value: Array, standard: Standard, name: str) -> None:
    """Raise a `ShapeError` unless an event or a point has the shape of those trained on.

    Args:
        value: One event, or the parameters of one point.
        standard: Its standardisation.
        name: The argument's name.

    Raises:
        ShapeError: It has another shape.
    """
    expected, found = standard.shift.shape, value.shape
    require_shape(found == expected, name, f"have shape {expected}, as in training", f"{found}")


def standards(train: Gold, method: str) -> tuple[Standard, Standard]:
    """Standardisation of features and parameters, from training events alone.

    Args:
        train: The training events.
        method: Name of the loss; scores of sally have variance 1.

    Returns:
        That of x and that of theta.
    """
    x, theta = np.asarray(train.x), np.asarray(train.theta0)
    if x.ndim == 3:
        present = x[..., -1:]
        n = max(float(present.sum()), 1.0)
        mean = np.sum(present * x, axis=(0, 1)) / n
        variance = np.sum(present * (x - mean) ** 2, axis=(0, 1)) / n
        mean[-1], variance[-1] = 0.0, 1.0
        mean, variance = (np.broadcast_to(v, x.shape[1:]) for v in (mean, variance))
    else:
        mean, variance = x.mean(axis=0), x.var(axis=0)
    features = Standard(mean, _scale(variance))
    if method == "sally":
        # Standardised scores have variance 1, as the scale of theta is the inverse of theirs.
        return features, Standard(theta[0], 1.0 / _scale(np.var(np.asarray(train.score), axis=0)))
    return features, Standard(theta.mean(axis=0), _scale(theta.var(axis=0)))


def _scale(variance: np.ndarray) -> np.ndarray:
    """Standard deviations; 1 for what does not vary."""
    return np.where(variance > 0, np.sqrt(variance), 1.0)


def balanced_weights(gold: Gold) -> np.ndarray:
    """Weights with which both classes weigh the same.

    The losses take the classes to be equally likely. They are not where one has more events, or
    where signed weights leave a class less than its events.

    Args:
        gold: Events of both classes.

    Returns:
        The weights, scaled for each class: at each point where all points have enough events of
        both, in total otherwise.
    """
    weight, label = np.asarray(gold.weight, float), np.asarray(gold.label)
    points, place = np.unique(np.asarray(gold.theta0), axis=0, return_inverse=True)
    group = 2 * place.reshape(-1) + label
    counts = np.bincount(group, minlength=2 * len(points))
    sums = np.bincount(group, weight, minlength=2 * len(points))
    if counts.min() < _LEAST_OF_CLASS or sums.min() <= 0:
        group, sums = label, np.bincount(label, weight, minlength=2)
    totals = sums.reshape(-1, 2).mean(axis=1)
    return weight * np.repeat(totals, 2)[group] / sums[group]


def standardise(gold: Gold, features: Standard, params: Standard, weight: float) -> Gold:
    """Gold in single precision, as the networks are.

    Args:
        gold: The events.
        features: Standardisation of x.
        params: Standardisation of theta.
        weight: The mean weight of the training events.

    Returns:
        The events, their scores per unit of standardised theta, their weights of mean 1.
    """

    def narrow(value: Any) -> Array:
        return jnp.asarray(np.asarray(value, np.float32))

    return Gold(
        x=narrow(features(gold.x)),
        log_ratio=None if gold.log_ratio is None else narrow(gold.log_ratio),
        score=None if gold.score is None else narrow(gold.score * params.scale),
        weight=narrow(gold.weight / weight),
        event_id=jnp.asarray(gold.event_id),
        theta0=narrow(params(gold.theta0)),
        theta1=narrow(gold.theta1),
        label=jnp.asarray(gold.label),
    )


def standardised(parts: Split, method: str) -> tuple[Gold, Gold, Standard, Standard]:
    """Both parts by means and deviations of the first, in single precision.

    Args:
        parts: To train on, and held out.
        method: Name of the loss, as for `standards`.

    Returns:
        Both, and the standardisation of events and parameters.
    """
    features, params = standards(parts.train, method)
    weight = float(np.mean(parts.train.weight))
    train, other = (standardise(part, features, params, weight) for part in parts)
    return train, other, *jax.tree.map(jnp.asarray, (features, params))
