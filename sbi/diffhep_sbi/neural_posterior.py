r"""The density of parameters given an event by flows: NPE.

Reference:
    G. Papamakarios, I. Murray, arXiv:1605.06376; D. Greenberg et al., arXiv:1905.07488.
"""

from typing import Any

import equinox as eqx
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
from diffhep_sbi.support import (
    COORDINATES,
    constrain,
    constrained_log_prob,
    coordinates_of,
    draw_inside,
    unconstrained,
)
from diffhep_sbi.training import Objective, train_members

__citations__ = ("arXiv:1905.07488",)


class ParameterDensity(eqx.Module):
    r"""$\log\hat p(\theta|x)$ of standardised parameters."""

    flow: ConditionalFlow

    def __call__(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of theta."""
        return self.flow(theta, x)


class PosteriorEnsemble(eqx.Module):
    r"""$\log\hat p(\theta|x)$, the equal mixture of flows that differ in start and batches.

    No draw is outside the support of the prior: flows live on unconstrained coordinates, or their
    draws are drawn again.

    Attributes:
        members: The flows, with a leading member axis.
        features: Standardisation of x.
        params: Standardisation of the flows' coordinates.
        prior: The prior that the training parameters came from.
        training_loss: Mean loss of every epoch and member.
        held_out_loss: The same on held-out events.
        coordinates: What the flows are densities of.
    """

    members: ParameterDensity
    features: Standard
    params: Standard
    prior: Any
    training_loss: Float[Array, "epoch member"]
    held_out_loss: Float[Array, "epoch member"]
    coordinates: str = eqx.field(static=True)

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
            Per unit of theta; minus infinity outside the support of the prior. With coordinates
            "parameters" that of the flows, which is too small by what they leave outside.

        Raises:
            ShapeError: The event or the parameters have another shape than in training.
        """
        require_as_in_training(x, self.features, "x")
        require_as_in_training(theta[0], self.params, "theta")
        members, condition = as_type(self.members, float), self.features(x)

        def of_one(z: Float[Array, " param"]) -> Scalar:
            return mixture_log_prob(eqx.filter_vmap(lambda member: member(condition, z))(members))

        transform = coordinates_of(self.prior, self.coordinates)
        return constrained_log_prob(of_one, self.prior, transform, self.params, theta)

    def sample(
        self, x: Float[Array, " feature"], n_samples: int, *, key: Key
    ) -> Float[Array, "sample param"]:
        """Independent draws from the posterior of one event.

        Args:
            x: The event.
            n_samples: Number of draws.
            key: Random key.

        Returns:
            The draws, within the support of the prior; NaN where 500 in a row were outside.

        Raises:
            ShapeError: The event has another shape than in training.
        """
        check_key(key)
        require_as_in_training(x, self.features, "x")
        flows, condition = as_type(self.members.flow, float), self.features(x)
        transform = coordinates_of(self.prior, self.coordinates)

        def draw(key: Key) -> Float[Array, "sample param"]:
            drawn = draw_mixture(flows, condition, n_samples, self.n_members, key)
            return constrain(drawn, transform, self.params)

        return (
            draw(key) if self.coordinates == "unconstrained" else draw_inside(draw, self.prior, key)
        )


def fit_posterior(
    gold: Gold,
    prior: Any,
    *,
    flow: FlowBuilder | None = None,
    coordinates: str = "unconstrained",
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

    Training is that of `fit_ratio`; the loss is $-\log\hat p(\theta|x)$.

    Args:
        gold: Pairs whose `theta0` were drawn from the prior; events of label 1 are left out.
        prior: A numpyro distribution of vectors, such as `Uniform(low, high).to_event(1)`.
        flow: Builder of a member; `autoregressive_flow()` if not given.
        coordinates: "unconstrained", in which the support of the prior has no boundary, for
            posteriors that reach it; "parameters" for such that lie well inside a box, where a
            stretch towards its edges would make a simple dependence on x a complicated one.
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
        ConfigError: A number is out of range, or the coordinates are not known.
        ShapeError: Events are no vectors.
        DataError: Gold has values that are not finite, parameters outside the prior, or no event
            of label 0.
        ConvergenceError: The loss is not finite; the state is saved.

    Reference:
        G. Papamakarios, I. Murray, arXiv:1605.06376; D. Greenberg et al., arXiv:1905.07488.
    """
    check_key(key)
    rule = f"be one of {', '.join(COORDINATES)}"
    require(coordinates in COORDINATES, "coordinates", rule, coordinates)
    transform = coordinates_of(prior, coordinates)
    parts = unconstrained(prepare_pairs(gold, held_out, key_for(key, "split")), prior, transform)
    train, other, features, params = standardised(parts, "npe")

    def start(key: Key) -> ParameterDensity:
        build = autoregressive_flow() if flow is None else flow
        y, condition = np.asarray(train.theta0), np.asarray(train.x)
        return ParameterDensity(build_flow(build, y, condition, key=key))

    trained = train_members(
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
        coordinates=coordinates,
    )
