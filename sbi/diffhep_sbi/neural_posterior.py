r"""The density of parameters given an event by flows: NPE.

Reference:
    G. Papamakarios, I. Murray, arXiv:1605.06376; D. Greenberg et al., arXiv:1905.07488.
"""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
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
from diffhep_sbi.pairs import prepare_pairs, standardised_pairs
from diffhep_sbi.standardisation import Standard, require_as_in_training
from diffhep_sbi.support import constrain, constrained_log_prob, unconstrained
from diffhep_sbi.training import Objective, train_from

__citations__ = ("arXiv:1905.07488",)


class ParameterDensity(eqx.Module):
    r"""$\log\hat p(\theta|x)$ of standardised parameters."""

    flow: ConditionalFlow

    def __call__(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of theta."""
        return self.flow(theta, x)


class PosteriorEnsemble(eqx.Module):
    r"""$\log\hat p(\theta|x)$, the equal mixture of flows that differ in start and batches.

    Flows live on unconstrained coordinates, so that no draw is outside the support of the prior.

    Attributes:
        members: The flows, with a leading member axis.
        features: Standardisation of x.
        params: Standardisation of the unconstrained coordinates.
        prior: The prior that the training parameters came from.
        training_loss: Mean loss of every epoch and member.
        held_out_loss: The same on held-out events.
    """

    members: ParameterDensity
    features: Standard
    params: Standard
    prior: Any
    training_loss: Float[Array, "epoch member"]
    held_out_loss: Float[Array, "epoch member"]

    @property
    def n_members(self) -> int:
        """Number of flows."""
        return self.training_loss.shape[1]

    def log_prob(
        self, theta: Float[Array, "sample param"], x: Float[Array, " feature"]
    ) -> Float[Array, " sample"]:
        """The log-density of parameters after one event.

        Args:
            theta: Parameters.
            x: The event.

        Returns:
            Per unit of theta; minus infinity outside the support of the prior.

        Raises:
            ShapeError: The event or the parameters have another shape than in training.
        """
        require_as_in_training(x, self.features, "x")
        require_as_in_training(theta[0], self.params, "theta")
        members, condition = as_type(self.members, float), self.features(x)

        def of_one(z: Float[Array, " param"]) -> Scalar:
            return mixture_log_prob(eqx.filter_vmap(lambda member: member(condition, z))(members))

        return constrained_log_prob(of_one, self.prior, self.params, theta)

    def sample(
        self, x: Float[Array, " feature"], n_samples: int, *, key: Key
    ) -> Float[Array, "sample param"]:
        """Independent draws from the posterior of one event.

        Args:
            x: The event.
            n_samples: Number of draws.
            key: Random key.

        Returns:
            The draws, within the support of the prior.

        Raises:
            ShapeError: The event has another shape than in training.
        """
        check_key(key)
        require_as_in_training(x, self.features, "x")
        flows = as_type(self.members.flow, float)
        drawn = draw_mixture(flows, self.features(x), n_samples, self.n_members, key)
        return constrain(drawn, self.prior, self.params)


def fit_posterior(
    gold: Gold,
    prior: Any,
    *,
    flow: FlowBuilder | None = None,
    n_members: int = 3,
    n_epochs: int = 50,
    batch: int = 256,
    learning_rate: float = 1e-3,
    held_out: float = 0.1,
    checkpoint: Checkpoint | None = None,
    progress: Show = True,
    key: Key,
) -> PosteriorEnsemble:
    r"""Learn $\log p(\theta|x)$, the posterior of any one event, from pairs under a prior.

    Training is that of `fit_ratio`; the loss is $-\log\hat p(\theta|x)$ in coordinates in which
    the support of the prior has no boundary.

    Args:
        gold: Pairs whose `theta0` were drawn from the prior; events of label 1 are left out.
        prior: A numpyro distribution of vectors, such as `Uniform(low, high).to_event(1)`.
        flow: Builder of a member; `autoregressive_flow()` if not given.
        n_members: Flows.
        n_epochs: Times that as many events are drawn as there are to train on.
        batch: Events a step.
        learning_rate: The first learning rate.
        held_out: Fraction of the events that choose the epoch.
        checkpoint: Where training is saved and goes on from, to the same bits.
        progress: Whether to show a bar.
        key: Random key.

    Returns:
        The ensemble.

    Raises:
        ConfigError: A number is out of range.
        ShapeError: Events are no vectors.
        DataError: Gold has values that are not finite, parameters outside the prior, or no event
            of label 0.
        ConvergenceError: The loss is not finite; the state is saved.

    Reference:
        G. Papamakarios, I. Murray, arXiv:1605.06376; D. Greenberg et al., arXiv:1905.07488.
    """
    check_key(key)
    parts = unconstrained(prepare_pairs(gold, held_out, key_for(key, "split")), prior)
    train, other, features, params = standardised_pairs(parts)

    def start(key: Key) -> ParameterDensity:
        build = autoregressive_flow() if flow is None else flow
        y, condition = np.asarray(train.theta0), np.asarray(train.x)
        return ParameterDensity(build_flow(build, y, condition, key=key))

    trained = train_from(
        start,
        Objective(train, other, DENSITY_METHODS["npe"], 0.0, batch),
        n_members=n_members,
        n_epochs=n_epochs,
        learning_rate=learning_rate,
        checkpoint=checkpoint,
        name="fit_posterior",
        progress=progress,
        key=key,
    )
    return PosteriorEnsemble(
        members=trained.members,
        features=features,
        params=params,
        prior=prior,
        training_loss=trained.training_loss,
        held_out_loss=trained.held_out_loss,
    )
