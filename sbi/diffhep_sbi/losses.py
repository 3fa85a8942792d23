r"""What is minimised by each way of learning a ratio.

$r = p(x|\theta_0)/p(x|\theta_1)$ and $s = 1/(1+r)$; y is 1 for events drawn under $\theta_1$. All
events share one batch; each loss is a mean over them with their weights, which may be negative.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.typing import Scalar
from diffhep_sbi.gold import Gold

__citations__ = ("arXiv:1805.00020", "arXiv:1808.00973")

LogRatio = Callable[[Float[Array, "*feature"], Float[Array, " param"]], Scalar]
r"""The model: $\log\hat r(x|\theta)$ of one event."""

_LARGEST_LOG = 30.0
"""Ratios are cut off at exp of this before they are squared in single precision."""


class Method(NamedTuple):
    """A loss, and what it asks of gold."""

    loss: Callable[[LogRatio, Gold, float], Scalar]
    needs_ratio: bool = False
    needs_score: bool = False
    is_contrastive: bool = False
    """Learns the ratio to the marginal of x, from events under `theta0` alone."""
    alpha: float = 0.0
    """Weight of the second term by default."""


def _mean(per_event: Float[Array, " event"], gold: Gold) -> Scalar:
    return jnp.mean(gold.weight * per_event)


def _predict(model: LogRatio, gold: Gold) -> Float[Array, " event"]:
    return jax.vmap(model)(gold.x, gold.theta0)


def _predict_with_score(
    model: LogRatio, gold: Gold
) -> tuple[Float[Array, " event"], Float[Array, "event param"]]:
    return jax.vmap(jax.value_and_grad(model, argnums=1))(gold.x, gold.theta0)


def _cross_entropy(log_r: Float[Array, " event"], y: Float[Array, " event"]) -> Array:
    r"""$-y\ln s - (1-y)\ln(1-s)$."""
    return y * jax.nn.softplus(log_r) + (1.0 - y) * jax.nn.softplus(-log_r)


def _squared_ratios(log_r: Float[Array, " event"], gold: Gold) -> Array:
    """Deviations of r where events are drawn under theta1, of 1/r where under theta0."""
    sign = jnp.where(gold.label == 1, 1.0, -1.0)

    def power(log: Array) -> Array:
        return jnp.exp(jnp.clip(sign * log, -_LARGEST_LOG, _LARGEST_LOG))

    return (power(log_r) - power(gold.log_ratio)) ** 2  # pyright: ignore[reportArgumentType]


def _score_error(score: Float[Array, "event param"], gold: Gold) -> Array:
    """Only histories drawn under theta0 have the score of x as their mean."""
    return (gold.label == 0) * jnp.sum((score - gold.score) ** 2, axis=-1)  # pyright: ignore[reportOperatorIssue]


def _label(gold: Gold) -> Float[Array, " event"]:
    return gold.label.astype(gold.weight.dtype)


def _joint_class(gold: Gold) -> Float[Array, " event"]:
    """The probability of label 1 given the history."""
    return jax.nn.sigmoid(-gold.log_ratio)  # pyright: ignore[reportOptionalOperand]


def carl(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """Binary cross-entropy of the labels."""
    return _mean(_cross_entropy(_predict(model, gold), _label(gold)), gold)


def alice(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """Cross-entropy with the joint ratio's class probabilities in place of labels."""
    return _mean(_cross_entropy(_predict(model, gold), _joint_class(gold)), gold)


def rolr(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """Squared deviation from the joint ratio."""
    return _mean(_squared_ratios(_predict(model, gold), gold), gold)


def cascal(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """CARL and the squared deviation from the joint score."""
    log_r, score = _predict_with_score(model, gold)
    return _mean(_cross_entropy(log_r, _label(gold)) + alpha * _score_error(score, gold), gold)


def alices(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """ALICE and the squared deviation from the joint score."""
    log_r, score = _predict_with_score(model, gold)
    per_event = _cross_entropy(log_r, _joint_class(gold)) + alpha * _score_error(score, gold)
    return _mean(per_event, gold)


def rascal(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """ROLR and the squared deviation from the joint score."""
    log_r, score = _predict_with_score(model, gold)
    return _mean(_squared_ratios(log_r, gold) + alpha * _score_error(score, gold), gold)


def sally(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """Squared deviation from the joint score at the reference."""
    score = jax.vmap(jax.grad(model, argnums=1))(gold.x, gold.theta0)
    return _mean(_score_error(score, gold), gold)


def negative_log_density(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    r"""$-\log\hat p$, where the model is a normalised log-density of x or of theta."""
    return -_mean(_predict(model, gold), gold)


def scandal(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """The log-density of x and the squared deviation of its score from the joint score."""
    log_p, score = _predict_with_score(model, gold)
    return _mean(alpha * _score_error(score, gold) - log_p, gold)


def _contrasts(model: LogRatio, gold: Gold, n_others: int) -> Float[Array, "event contrast"]:
    """Log-ratios of every event with its own parameters, first, and those of its neighbours."""
    n_rows = n_others + 1
    thetas = jnp.concatenate([jnp.roll(gold.theta0, shift, axis=0) for shift in range(n_rows)])
    # One axis of pairs: with two, products of three axes and their transposes take longer.
    events = jnp.tile(gold.x, (n_rows, *(1,) * (gold.x.ndim - 1)))
    return jax.vmap(model)(events, thetas).reshape(n_rows, -1).T


def nre_a(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    """Cross-entropy of joint pairs against pairs with the parameters of another event."""
    joint, marginal = _contrasts(model, gold, 1).T
    return 0.5 * _mean(jax.nn.softplus(-joint) + jax.nn.softplus(marginal), gold)


def bnre(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    r"""NRE-A and $\lambda\,(E_{joint}[d] + E_{marginal}[d] - 1)^2$ with $d = r/(1+r)$."""
    joint, marginal = _contrasts(model, gold, 1).T
    entropy = 0.5 * _mean(jax.nn.softplus(-joint) + jax.nn.softplus(marginal), gold)
    balance = _mean(jax.nn.sigmoid(joint) + jax.nn.sigmoid(marginal), gold) - 1.0
    return entropy + alpha * balance**2


N_CONTRASTS = 9
"""Parameters of other events that NRE-B and NRE-C hold against an event's own."""


def nre_b(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    r"""Which of K parameters made the event; $\hat r$ is known up to a function of x."""
    log_r = _contrasts(model, gold, N_CONTRASTS)
    return _mean(jax.nn.logsumexp(log_r, axis=1) - log_r[:, 0], gold)


def nre_c(model: LogRatio, gold: Gold, alpha: float) -> Scalar:
    r"""Which of K parameters made the event, or none; $\alpha$ is the odds $\gamma$ of one."""
    log_r = _contrasts(model, gold, N_CONTRASTS + 1)
    joint, marginal = log_r[:, :-1], log_r[:, 1:]
    log_odds = jnp.log(alpha / N_CONTRASTS)

    def log_sum(rows: Float[Array, "event contrast"]) -> Float[Array, " event"]:
        some = jax.nn.logsumexp(rows[:, :N_CONTRASTS] + log_odds, axis=1)
        return jnp.logaddexp(some, 0.0)

    chosen = log_sum(joint) - (joint[:, 0] + log_odds)
    none = log_sum(marginal)
    return _mean((alpha * chosen + none) / (1.0 + alpha), gold)


METHODS = {
    "carl": Method(carl),
    "rolr": Method(rolr, needs_ratio=True),
    "alice": Method(alice, needs_ratio=True),
    "cascal": Method(cascal, needs_score=True, alpha=1.0),
    "rascal": Method(rascal, needs_ratio=True, needs_score=True, alpha=1.0),
    "alices": Method(alices, needs_ratio=True, needs_score=True, alpha=1.0),
    "sally": Method(sally, needs_score=True),
    "nre_a": Method(nre_a, is_contrastive=True),
    "nre_b": Method(nre_b, is_contrastive=True),
    "nre_c": Method(nre_c, is_contrastive=True, alpha=1.0),
    "bnre": Method(bnre, is_contrastive=True, alpha=100.0),
}
"""The methods of `fit_ratio` by name."""

DENSITY_METHODS = {
    "nle": Method(negative_log_density),
    "scandal": Method(scandal, needs_score=True, alpha=1.0),
    "npe": Method(negative_log_density),
}
"""The losses of densities: of x in `fit_likelihood`, of theta in `fit_posterior`."""
