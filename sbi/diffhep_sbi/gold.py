"""Gold: simulated events with the joint likelihood ratio and score mined from their histories."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from diffhep.core.checks import require, require_shape
from diffhep.core.errors import DataError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key

__citations__ = ("arXiv:1805.12244",)


class Split(NamedTuple):
    """Gold in parts that share no event."""

    train: "Gold"
    held_out: "Gold"


class Gold(eqx.Module):
    r"""Events x with $r(x,z) = p(x,z|\theta_0)/p(x,z|\theta_1)$ and the joint score at $\theta_0$.

    The expectation of r over the histories z of a given x, drawn under $\theta_1$, is the
    likelihood ratio $p(x|\theta_0)/p(x|\theta_1)$; that of the score
    $t = \nabla_\theta\log p(x,z|\theta)|_{\theta_0}$, drawn under $\theta_0$, is the score of x.

    Attributes:
        x: Observed features of each event.
        log_ratio: $\log r(x,z)$, or None where nothing was mined.
        score: Joint score at `theta0`, or None.
        weight: Weight of each event, of either sign; 1 for unweighted events.
        event_id: Events with one number are copies of one another and are never split.
        theta0: Numerator of the ratio.
        theta1: Denominator of the ratio.
        label: 0 for events drawn under `theta0`, 1 for those drawn under `theta1`.

    Reference:
        J. Brehmer, G. Louppe, J. Pavez, K. Cranmer, arXiv:1805.12244.
    """

    x: Float[Array, "event *feature"]
    log_ratio: Float[Array, " event"] | None
    score: Float[Array, "event param"] | None
    weight: Float[Array, " event"]
    event_id: Int[Array, " event"]
    theta0: Float[Array, "event param"]
    theta1: Float[Array, "event param"]
    label: Int[Array, " event"]

    @property
    def n_events(self) -> int:
        """Number of rows."""
        return self.x.shape[0]

    @property
    def n_params(self) -> int:
        """Number of parameters of the theory."""
        return self.theta0.shape[1]

    def take(self, rows: Int[Array, " row"] | Bool[np.ndarray, " event"] | Any) -> "Gold":
        """The rows of an index or of a mask.

        Args:
            rows: Indices, a slice, or one truth value an event.

        Returns:
            Gold of these rows.
        """
        return jax.tree.map(lambda leaf: leaf[rows], self)

    def split(self, fraction: float = 0.2, *, key: Key) -> Split:
        """Hold out a fraction of the events, all copies of an event on one side.

        Args:
            fraction: Of the event numbers, to be held out; between 0 and 1.
            key: Random key.

        Returns:
            Gold to train on, and gold held out.

        Raises:
            ConfigError: `fraction` leaves one side empty.
        """
        check_key(key)
        ids, place = np.unique(np.asarray(self.event_id), return_inverse=True)
        n_held_out = round(fraction * ids.size)
        rule = f"leave events on both sides of {ids.size}"
        require(0 < n_held_out < ids.size, "fraction", rule, fraction)
        order = np.asarray(jax.random.permutation(key, ids.size))
        is_held_out = np.isin(place, order[:n_held_out])
        return Split(self.take(~is_held_out), self.take(is_held_out))


def join(*parts: Gold) -> Gold:
    """Gold of several runs in one; their event numbers are kept apart.

    Args:
        *parts: Gold of the same features and parameters.

    Returns:
        All rows, part after part.

    Raises:
        ShapeError: Features or parameters differ.
        ConfigError: There is no part, or only some have mined quantities.
    """
    require(len(parts) > 0, "parts", "hold gold", parts)
    shapes = {(part.x.shape[1:], part.n_params) for part in parts}
    require_shape(len(shapes) == 1, "parts", "share features and parameters", shapes)
    forms = {jax.tree.structure(part) for part in parts}
    require(len(forms) == 1, "parts", "all be mined, or none", len(forms))
    shifted, first = [], 0
    for part in parts:
        event_id = np.asarray(part.event_id)
        event_id = event_id - event_id.min() + first
        shifted.append(eqx.tree_at(lambda gold: gold.event_id, part, event_id))
        first = int(event_id.max()) + 1
    return jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *shifted)


def gold_from_pairs(x: Any, theta: Any) -> Gold:
    """Gold of pairs of parameters and events, where nothing is mined.

    It is what `fit_posterior`, `fit_likelihood` and the contrastive methods of `fit_ratio` learn
    from, whatever simulated the events.

    Args:
        x: Events, shape (event, *feature).
        theta: Parameters that each was simulated under, shape (event, param).

    Returns:
        Gold of label 0.

    Raises:
        ShapeError: There are not as many parameters as events.
        DataError: A feature or a parameter is not finite.
    """
    x, theta = jnp.asarray(x, float), jnp.asarray(theta, float)
    rule = "hold the parameters of each event, shape (event, param)"
    good = theta.ndim == 2 and theta.shape[0] == x.shape[0]
    require_shape(good, "theta", rule, f"shape {theta.shape} for x of shape {x.shape}")
    require_finite_events(x)
    require_finite_events(theta, "theta")
    n = x.shape[0]
    return Gold(
        x=x,
        log_ratio=None,
        score=None,
        weight=jnp.ones(n),
        event_id=jnp.arange(n),
        theta0=theta,
        theta1=theta,
        label=jnp.zeros(n, int),
    )


def contrast(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    weights: tuple[Any, Any] | None = None,
) -> Gold:
    r"""Gold of two samples, to learn $\log p_0(x)/p_1(x)$ from their labels.

    Its one parameter is 1 for the numerator and 0 for the denominator; a ratio learned from it is
    evaluated at `[1.0]`.

    Args:
        numerator: Events of $p_0$, shape (event, *feature).
        denominator: Events of $p_1$.
        weights: Those of both samples, of either sign; 1 where left out.

    Returns:
        Gold with labels and weights; both samples have the same sum of weights.

    Raises:
        ShapeError: The samples have different features, or weights are not one an event.
        DataError: A sample is empty, or its weights do not sum to something positive.
    """
    samples = [np.asarray(sample) for sample in (numerator, denominator)]
    shapes = [sample.shape[1:] for sample in samples]
    require_shape(shapes[0] == shapes[1], "denominator", f"have features {shapes[0]}", shapes[1])
    sizes = [len(sample) for sample in samples]
    given = [np.ones(n) for n in sizes] if weights is None else weights
    scaled = []
    for label, (weight, n) in enumerate(zip(given, sizes, strict=True)):
        each = np.asarray(weight, dtype=float)
        rule = f"hold one weight for each of the {n} events of class {label}"
        require_shape(each.shape == (n,), "weights", rule, f"shape {each.shape}")
        _require_class(label, each)
        scaled.append(each * (max(sizes) / each.sum()))
    n_events = sum(sizes)
    return Gold(
        x=jnp.asarray(np.concatenate(samples)),
        log_ratio=None,
        score=None,
        weight=jnp.asarray(np.concatenate(scaled)),
        event_id=jnp.arange(n_events),
        theta0=jnp.ones((n_events, 1)),
        theta1=jnp.zeros((n_events, 1)),
        label=jnp.asarray(np.repeat([0, 1], sizes)),
    )


def _require_class(label: int, weight: np.ndarray) -> None:
    """Raise a `DataError` where a class is empty, or its weights prevail on the wrong side."""
    if not weight.size:
        raise DataError(f"Argument `label` must have events of class {label}, but it has none.")
    if not weight.sum() > 0:
        raise DataError(
            f"Argument `weight` must sum to more than 0 in class {label}, but it is "
            f"{weight.sum():g}; {int(np.sum(weight > 0))} of {weight.size} weights are positive."
        )


def require_finite_events(x: Any, name: str = "x") -> None:
    """Raise a `DataError` that names the first event and feature which is no number.

    Args:
        x: Features, shape (event, *feature).
        name: What to call them.

    Raises:
        DataError: An entry is NaN or infinite.
    """
    bad = ~np.isfinite(np.asarray(x))
    if bad.any():
        event, *column = (int(index) for index in np.argwhere(bad)[0])
        where = f"column {column[0] if len(column) == 1 else tuple(column)}" if column else "it"
        value = np.asarray(x)[(event, *column)]
        raise DataError(
            f"Argument `{name}` must be finite, but in event {event} {where} is {value}; "
            f"{int(bad.reshape(bad.shape[0], -1).any(axis=1).sum())} events are affected."
        )


def check_gold(gold: Gold) -> None:
    """Raise an error unless gold can be trained on.

    Args:
        gold: The gold.

    Raises:
        ShapeError: Arrays differ in their number of events or parameters.
        DataError: A feature, ratio, score or weight is not finite; a label is neither 0 nor 1; a
            class is empty; the weights of a class do not sum to something positive.
    """
    n, n_params = gold.n_events, gold.n_params
    shapes = {
        "log_ratio": (None if gold.log_ratio is None else gold.log_ratio.shape, (n,)),
        "score": (None if gold.score is None else gold.score.shape, (n, n_params)),
        "weight": (gold.weight.shape, (n,)),
        "event_id": (gold.event_id.shape, (n,)),
        "theta0": (gold.theta0.shape, (n, n_params)),
        "theta1": (gold.theta1.shape, (n, n_params)),
        "label": (gold.label.shape, (n,)),
    }
    for name, (found, expected) in shapes.items():
        rule = f"have shape {expected} for {n} events"
        require_shape(found is None or found == expected, name, rule, f"shape {found}")
    for name in ("x", "log_ratio", "score", "weight", "theta0", "theta1"):
        if getattr(gold, name) is not None:
            require_finite_events(getattr(gold, name), name)
    label, weight = np.asarray(gold.label), np.asarray(gold.weight)
    strange = np.flatnonzero((label != 0) & (label != 1))
    if strange.size:
        event = int(strange[0])
        raise DataError(f"Argument `label` must be 0 or 1, but event {event} has {label[event]}.")
    for value in (0, 1):
        _require_class(value, weight[label == value])
