r"""The density of events given parameters by flows: NLE, and SCANDAL with the joint score.

Reference:
    G. Papamakarios et al., arXiv:1805.07226 (NLE); J. Brehmer et al., arXiv:1805.12244 (SCANDAL).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import require
from diffhep.core.progress import Show
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.flows import (
    ConditionalFlow,
    FlowBuilder,
    as_type,
    autoregressive_flow,
    build_flow,
    draw_mixture,
    mixture_log_prob,
)
from diffhep_sbi.gold import Gold
from diffhep_sbi.losses import DENSITY_METHODS
from diffhep_sbi.pairs import prepare_pairs
from diffhep_sbi.standardisation import Standard, require_as_in_training, standardised
from diffhep_sbi.training import Objective, train_members

__citations__ = ("arXiv:1805.07226", "arXiv:1805.12244")


class EventDensity(eqx.Module):
    r"""$\log\hat p(x|\theta)$ of standardised events."""

    flow: ConditionalFlow

    def __call__(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of x."""
        return self.flow(x, theta)


class LikelihoodEnsemble(eqx.Module):
    r"""$\log\hat p(x|\theta)$, the equal mixture of flows that differ in start and batches.

    It stands wherever a learned ratio does: in `posterior`, `posteriors` and `UnbinnedChannel`.

    Attributes:
        members: The flows, with a leading member axis.
        features: Standardisation of x.
        params: Standardisation of theta.
        low: Smallest parameters of the training events.
        high: Largest ones.
        training_loss: Mean loss of every epoch and member.
        held_out_loss: The same on held-out events.
        method: Name of the loss.
    """

    members: EventDensity
    features: Standard
    params: Standard
    low: Float[Array, " param"]
    high: Float[Array, " param"]
    training_loss: Float[Array, "epoch member"]
    held_out_loss: Float[Array, "epoch member"]
    method: str = eqx.field(static=True)

    @property
    def n_members(self) -> int:
        """Number of flows."""
        return self.training_loss.shape[1]

    def log_prob(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The log-density of every event.

        Args:
            x: Events.
            theta: Parameters; one point for all events.

        Returns:
            Per unit of x, in double precision where that is on.

        Raises:
            ShapeError: Events or parameters have another shape than in training.
        """
        require_as_in_training(x[0], self.features, "x")
        require_as_in_training(theta, self.params, "theta")
        members = as_type(self.members, float)
        point = self.params(theta)
        volume = jnp.sum(jnp.log(self.features.scale))

        def of_one(event: Float[Array, " feature"]) -> Scalar:
            features = self.features(event)
            return mixture_log_prob(
                eqx.filter_vmap(lambda member: member(features, point))(members)
            )

        return jax.vmap(of_one)(x) - volume

    def log_ratio(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, " event"]:
        """The log-density: a log-ratio to the uniform density, which cancels in posteriors."""
        return self.log_prob(x, theta)

    def score(
        self, x: Float[Array, "event feature"], theta: Float[Array, " param"]
    ) -> Float[Array, "event param"]:
        r"""$\nabla_\theta\log\hat p(x|\theta)$ of every event, per unit of theta."""

        def of_one(event: Float[Array, " feature"]) -> Float[Array, " param"]:
            return jax.grad(lambda point: self.log_prob(event[None], point)[0])(theta)

        return jax.vmap(of_one)(x)

    def sample(
        self, theta: Float[Array, " param"], n_samples: int, *, key: Key
    ) -> Float[Array, "event feature"]:
        """Events under given parameters.

        Args:
            theta: Parameters.
            n_samples: Number of events.
            key: Random key.

        Returns:
            The events.
        """
        check_key(key)
        require_as_in_training(theta, self.params, "theta")
        flows = as_type(self.members.flow, float)
        drawn = draw_mixture(flows, self.params(theta), n_samples, self.n_members, key)
        return drawn * self.features.scale + self.features.shift


def fit_likelihood(
    gold: Gold,
    method: str = "nle",
    *,
    flow: FlowBuilder | None = None,
    n_members: int = 3,
    n_epochs: int = 50,
    batch: int = 256,
    learning_rate: float = 1e-3,
    alpha: float | None = None,
    held_out: float = 0.1,
    checkpoint: Checkpoint | None = None,
    progress: Show = True,
    key: Key,
) -> LikelihoodEnsemble:
    r"""Learn $\log p(x|\theta)$ from events drawn under `theta0`.

    "nle" minimises $-\log\hat p$; "scandal" adds $\alpha\,|\nabla_\theta\log\hat p - t|^2$ with the
    mined joint score t, so that fewer events are needed. Training is that of `fit_ratio`.

    Args:
        gold: Events with continuous features; those of label 1 are left out.
        method: "nle" or "scandal".
        flow: Builder of a member; `autoregressive_flow()` if not given.
        n_members: Flows.
        n_epochs: Times that as many events are drawn as there are to train on.
        batch: Events a step.
        learning_rate: The first learning rate.
        alpha: Weight of the score term, in units of standardised parameters.
        held_out: Fraction of the events that choose the epoch.
        checkpoint: Where training is saved and goes on from, to the same bits.
        progress: Whether to show a bar.
        key: Random key.

    Returns:
        The ensemble.

    Raises:
        ConfigError: The method is not known, gold lacks a score, or a number is out of range.
        ShapeError: Events are no vectors.
        DataError: Gold has values that are not finite, or no event of label 0.
        ConvergenceError: The loss is not finite; the state is saved.

    Reference:
        G. Papamakarios et al., arXiv:1805.07226; J. Brehmer et al., arXiv:1805.12244.
    """
    check_key(key)
    require(method in ("nle", "scandal"), "method", "be nle or scandal", method)
    rule = f"have a joint score, which method {method!r} learns from; mine it"
    require(method == "nle" or gold.score is not None, "gold", rule, gold.score)
    chosen = DENSITY_METHODS[method]
    parts = prepare_pairs(gold, held_out, key_for(key, "split"))
    train, other, features, params = standardised(parts, method)

    def start(key: Key) -> EventDensity:
        build = autoregressive_flow() if flow is None else flow
        return EventDensity(
            build_flow(build, np.asarray(train.x), np.asarray(train.theta0), key=key)
        )

    trained = train_members(
        start,
        Objective(train, other, chosen, chosen.alpha if alpha is None else float(alpha), batch),
        n_members=n_members,
        n_epochs=n_epochs,
        learning_rate=learning_rate,
        checkpoint=checkpoint,
        name=f"fit_likelihood {method}",
        progress=progress,
        key=key,
    )
    return LikelihoodEnsemble(
        members=trained.members,
        features=features,
        params=params,
        low=jnp.asarray(np.min(parts.train.theta0, axis=0)),
        high=jnp.asarray(np.max(parts.train.theta0, axis=0)),
        training_loss=trained.training_loss,
        held_out_loss=trained.held_out_loss,
        method=method,
    )
