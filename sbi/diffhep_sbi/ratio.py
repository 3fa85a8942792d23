"""Learned likelihood ratios: an ensemble of networks trained as one program."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import concrete, require, require_shape
from diffhep.core.errors import DataError
from diffhep.core.progress import Show
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.gold import Gold, Split, check_gold, require_finite_events
from diffhep_sbi.losses import METHODS, Method
from diffhep_sbi.networks import AbstractNetwork, NetworkBuilder, mlp
from diffhep_sbi.standardisation import Standard, balanced_weights, standardised
from diffhep_sbi.training import Objective, train_members

__citations__ = ("arXiv:1805.00020", "arXiv:1808.00973", "arXiv:2412.01548")

MARGIN = 0.01
"""Widths beyond the outermost training events that still count as within their range."""

_BATCH = 65_536
"""Events evaluated at once, to bound memory."""


class ParameterisedRatio(eqx.Module):
    r"""$\log\hat r(x|\theta)$ as one output of a network of both."""

    network: AbstractNetwork

    def __call__(self, x: Float[Array, "*feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-ratio, of standardised arguments."""
        return self.network(x, theta)[0]


class LocalRatio(eqx.Module):
    r"""$\hat t(x)\cdot\theta - \frac12\theta^T I\,\theta$: a family that is exact at its reference.

    The second term normalises it to second order in $\theta$, the distance from the reference.
    """

    network: AbstractNetwork
    information: Float[Array, "param param"]

    def __call__(self, x: Float[Array, "*feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-ratio, of standardised arguments."""
        score = self.network(x, theta[:0])
        return score @ theta - 0.5 * theta @ jax.lax.stop_gradient(self.information) @ theta


class RatioEnsemble(eqx.Module):
    r"""$\log\hat r(x|\theta)$, the mean over networks that differ in start and batches.

    Attributes:
        members: The networks, with a leading member axis.
        features: Standardisation of x.
        params: Standardisation of theta.
        theta1: Denominator; None where it is the marginal of x.
        low: Smallest parameters of the training events.
        high: Largest ones.
        training_loss: Mean loss of every epoch and member.
        held_out_loss: The same on held-out events.
        method: Name of the loss.
    """

    members: ParameterisedRatio | LocalRatio
    features: Standard
    params: Standard
    theta1: Float[Array, " param"] | None
    low: Float[Array, " param"]
    high: Float[Array, " param"]
    training_loss: Float[Array, "epoch member"]
    held_out_loss: Float[Array, "epoch member"]
    method: str = eqx.field(static=True)

    @property
    def n_members(self) -> int:
        """Number of networks."""
        return self.training_loss.shape[1]

    def member(self, index: int) -> "RatioEnsemble":
        """One network alone, as an ensemble of one."""
        chosen = slice(index, index + 1)
        members = jax.tree.map(
            lambda leaf: leaf[chosen] if eqx.is_array(leaf) else leaf, self.members
        )
        losses = (self.training_loss[:, chosen], self.held_out_loss[:, chosen])
        return eqx.tree_at(
            lambda e: (e.members, e.training_loss, e.held_out_loss), self, (members, *losses)
        )

    def log_ratio(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """Mean over the members; a warning where theta lies outside the trained range.

        Args:
            x: Features.
            theta: Numerator; one for all events.

        Returns:
            The log-ratio of every event, in double precision where that is on. Outside the trained
            range there is a warning with the distance, unless theta is traced.

        Raises:
            ShapeError: Features or parameters have another shape than in training.
            DataError: A feature is not finite.
        """
        self._require_shapes(x, theta)
        if concrete(x) is not None:
            require_finite_events(x)
        mean = jnp.mean(self.member_log_ratios(x, theta), axis=0)
        known = all(concrete(value) is not None for value in (theta, self.low, self.high))
        # A local ratio was trained at one point on purpose.
        if known and self.method != "sally":
            self.warn_outside(theta)
        return mean

    def spread(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """Standard deviation of the members about their mean, per event."""
        return jnp.std(self.member_log_ratios(x, theta), axis=0)

    def score(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        r"""$\nabla_\theta\log\hat r(x|\theta)$, mean over the members.

        Args:
            x: Features.
            theta: Where the score is taken.

        Returns:
            The score of every event, per unit of theta.

        Raises:
            ShapeError: As for `log_ratio`.
        """
        self._require_shapes(x, theta)

        def of_one(event: Float[Array, "*feature"]) -> Float[Array, " param"]:
            return jax.grad(lambda point: self.log_ratio(event[None], point)[0])(theta)

        return jax.lax.map(of_one, x, batch_size=min(_BATCH, max(x.shape[0], 1)))

    def member_log_ratios(
        self, x: Float[Array, "event *feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "member event"]:
        """The log-ratio of every member.

        Args:
            x: Features.
            theta: Numerator.

        Returns:
            One row a member.

        Raises:
            ShapeError: As for `log_ratio`.
        """
        self._require_shapes(x, theta)
        point = self.params(theta)
        # Trained in single precision; fits of a likelihood need its derivatives to more digits.
        members = jax.tree.map(
            lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, self.members
        )

        def of_one(event: Float[Array, "*feature"]) -> Float[Array, " member"]:
            features = self.features(event)
            return eqx.filter_vmap(lambda member: member(features, point))(members)

        if x.shape[0] <= _BATCH:
            rows = jax.vmap(of_one)(x)
        else:
            rows = jax.lax.map(of_one, x, batch_size=_BATCH)
        return rows.T

    def distance_outside(self, theta: Any) -> float:
        """How far theta lies outside the trained range, in units of that range; 0 inside.

        Args:
            theta: Parameters, shape (param,).

        Returns:
            The largest distance of a parameter; infinite where the range is a point.
        """
        point, low, high = (np.asarray(value, float) for value in (theta, self.low, self.high))
        beyond = np.maximum(low - point, point - high)
        width = high - low
        outside = beyond > 1e-9 * (np.abs(low) + np.abs(high))
        ratio = np.divide(beyond, width, out=np.full_like(beyond, np.inf), where=width > 0)
        return float(np.max(np.where(outside, ratio, 0.0)))

    def warn_outside(self, theta: Any) -> None:
        """Warn where theta lies outside the trained range, with the distance.

        Args:
            theta: Parameters, shape (param,).
        """
        distance = self.distance_outside(theta)
        if distance > MARGIN:
            warnings.warn(
                f"theta = {np.asarray(theta).tolist()} lies {distance:.3g} widths outside the "
                f"trained range from {np.asarray(self.low).tolist()} to "
                f"{np.asarray(self.high).tolist()}: the learned ratio means nothing there.",
                stacklevel=3,
            )

    def _require_shapes(self, x: Any, theta: Any) -> None:
        expected, found = self.features.shift.shape, jnp.shape(x)[1:]
        rule = f"have events of shape {expected}, as in training"
        require_shape(found == expected, "x", rule, f"events of shape {found}")
        expected, found = self.low.shape, jnp.shape(theta)
        require_shape(found == expected, "theta", f"have shape {expected}", f"shape {found}")


def fit_ratio(
    gold: Gold,
    method: str = "alice",
    *,
    network: NetworkBuilder | None = None,
    n_members: int = 5,
    n_epochs: int = 50,
    batch: int = 256,
    learning_rate: float = 1e-3,
    alpha: float | None = None,
    held_out: float = 0.2,
    checkpoint: Checkpoint | None = None,
    progress: Show = True,
    key: Key,
) -> RatioEnsemble:
    r"""Learn $\log r(x|\theta_0)$ from gold.

    Adam with a cosine decay to a hundredth of the learning rate; the networks kept are those of the
    epoch with the lowest loss on held-out events. All members train side by side in one program.
    Classes of different size or sum of weights are scaled to weigh the same.

    | method | learns from | loss |
    |---|---|---|
    | carl | labels | cross-entropy |
    | alice | joint ratio | cross-entropy with soft labels |
    | rolr | joint ratio | squared deviation |
    | cascal, alices, rascal | the same and the joint score | the same + alpha (score)^2 |
    | sally | joint score at one point | squared deviation; the ratio is local |
    | nre_a, nre_b, nre_c, bnre | pairs (theta0, x), label 0 | contrasts with other thetas |

    Args:
        gold: Events, as `mine` returns them. Those of shape (particle, feature) are clouds: their
            last feature is 1 for a particle and 0 for padding, which is left out of all means.
        method: Name of the loss.
        network: Builder of a member; `mlp()` if not given.
        n_members: Networks.
        n_epochs: Times that as many events are drawn as there are to train on.
        batch: Events a step.
        learning_rate: The first learning rate.
        alpha: Weight of the loss's second term, in units of standardised parameters; the method's
            own if not given. For nre_c it is the odds of one of the parameters against none.
        held_out: Fraction of the events that choose the epoch.
        checkpoint: Where training is saved and goes on from, to the same bits.
        progress: Whether to show a bar.
        key: Random key.

    Returns:
        The ensemble.

    Raises:
        ConfigError: The method is not known, gold lacks what it needs, theta1 is not the same in
            all events, or a number is out of range.
        ShapeError: Arrays of gold differ in length.
        DataError: Gold has values that are not finite, or an empty class.
        ConvergenceError: The loss is not finite; the state is saved.

    Reference:
        J. Brehmer et al., arXiv:1805.00020; M. Stoye et al., arXiv:1808.00973.
    """
    check_key(key)
    require(method in METHODS, "method", f"be one of {', '.join(METHODS)}", method)
    chosen = METHODS[method]
    # On the host: every new shape would compile a dozen small programs.
    prepared, theta1 = _prepare(jax.tree.map(np.asarray, gold), method, chosen)
    parts = _balanced(prepared.split(held_out, key=key_for(key, "split")), method, chosen)
    build = mlp() if network is None else network
    train, other, features, params = standardised(parts, method)
    trained = train_members(
        lambda key: _member(gold, method, build, key),
        Objective(train, other, chosen, chosen.alpha if alpha is None else float(alpha), batch),
        n_members=n_members,
        n_epochs=n_epochs,
        learning_rate=learning_rate,
        checkpoint=checkpoint,
        name=f"fit_ratio {method}",
        progress=progress,
        key=key,
    )
    members = trained.members
    if method == "sally":
        members = _normalise(members, train)
    return RatioEnsemble(
        members=members,
        features=features,
        params=params,
        theta1=None if theta1 is None else jnp.asarray(theta1),
        low=jnp.asarray(prepared.theta0.min(axis=0)),
        high=jnp.asarray(prepared.theta0.max(axis=0)),
        training_loss=trained.training_loss,
        held_out_loss=trained.held_out_loss,
        method=method,
    )


def _prepare(gold: Gold, name: str, method: Method) -> tuple[Gold, Any]:
    """Gold with what the method uses, and the denominator."""
    if method.is_contrastive:
        require_finite_events(gold.x)
        joint = gold.take(np.asarray(gold.label) == 0)
        if joint.n_events == 0:
            raise DataError("Argument `gold` must have events of class 0, but it has none.")
        return joint, None
    check_gold(gold)
    for needed, attribute in (
        (method.needs_ratio, "log_ratio"),
        (method.needs_score, "score"),
    ):
        value = getattr(gold, attribute)
        rule = f"have a joint {attribute}, which method {name!r} learns from; mine it"
        require(not needed or value is not None, "gold", rule, value)
    theta1 = gold.theta1[0]
    same = bool(np.all(gold.theta1 == theta1))
    require(same, "gold.theta1", "be the same in all events", "several points")
    if name == "sally":
        at_one = bool(np.all(gold.theta0 == theta1))
        require(at_one, "gold.theta0", "be theta1 in all events for sally", "another point")
        gold = eqx.tree_at(lambda g: g.label, gold, np.zeros_like(gold.label))
    return gold, theta1


def _balanced(parts: Split, name: str, method: Method) -> Split:
    """The same with classes of equal weight, where a method has two."""
    if method.is_contrastive or name == "sally":
        return parts
    for part in parts:
        check_gold(part)
    return Split(*(eqx.tree_at(lambda g: g.weight, part, balanced_weights(part)) for part in parts))


def _member(
    gold: Gold, method: str, build: NetworkBuilder, key: Key
) -> ParameterisedRatio | LocalRatio:
    """An untrained network."""
    shape, n_params = gold.x.shape[1:], gold.n_params
    if method == "sally":
        zero = jnp.zeros((n_params, n_params), jnp.float32)
        return LocalRatio(build(shape, 0, n_params, key), zero)
    return ParameterisedRatio(build(shape, n_params, 1, key))


def _normalise(members: LocalRatio, train: Gold) -> LocalRatio:
    """The information of every member's score, by which it is normalised to second order."""

    def information(member: LocalRatio) -> Float[Array, "param param"]:
        nothing = jnp.zeros(0, jnp.float32)
        score = jax.lax.map(
            lambda x: member.network(x, nothing), train.x, batch_size=min(_BATCH, train.n_events)
        )
        return (train.weight[:, None] * score).T @ score / train.n_events

    found = eqx.filter_vmap(information)(members)
    return eqx.tree_at(lambda member: member.information, members, found)
