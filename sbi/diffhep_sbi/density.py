r"""Learned densities: of events given parameters (NLE, SCANDAL), of parameters given events (NPE).

Reference:
    G. Papamakarios et al., arXiv:1805.07226 (NLE); J. Brehmer et al., arXiv:1805.12244 (SCANDAL);
    D. Greenberg et al., arXiv:1905.07488 (NPE).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require, require_real, require_shape
from diffhep.core.errors import DataError
from diffhep.core.progress import Show
from diffhep.core.rng import check_key, key_for, keys_for_chains
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.flows import (
    ConditionalFlow,
    FlowBuilder,
    as_type,
    autoregressive_flow,
    build_flow,
)
from diffhep_sbi.gold import Gold, Split, require_finite_events
from diffhep_sbi.losses import DENSITY_METHODS
from diffhep_sbi.standardisation import Standard, standardise, standards
from diffhep_sbi.training import Objective, Trained, train_members

__citations__ = ("arXiv:1805.07226", "arXiv:1805.12244", "arXiv:1905.07488")


class EventDensity(eqx.Module):
    r"""$\log\hat p(x|\theta)$ of standardised events."""

    flow: ConditionalFlow

    def __call__(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of x."""
        return self.flow(x, theta)


class ParameterDensity(eqx.Module):
    r"""$\log\hat p(\theta|x)$ of standardised parameters."""

    flow: ConditionalFlow

    def __call__(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        """The log-density of theta."""
        return self.flow(theta, x)


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
        _require_shape(x[0], self.features, "x")
        _require_shape(theta, self.params, "theta")
        members = as_type(self.members, float)
        point = self.params(theta)
        volume = jnp.sum(jnp.log(self.features.scale))

        def of_one(event: Float[Array, " feature"]) -> Scalar:
            features = self.features(event)
            return _mixture(eqx.filter_vmap(lambda member: member(features, point))(members))

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
        _require_shape(theta, self.params, "theta")
        flows = as_type(self.members.flow, float)
        drawn = _draw(flows, self.params(theta), n_samples, self.n_members, key)
        return drawn * self.features.scale + self.features.shift


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
        _require_shape(x, self.features, "x")
        _require_shape(theta[0], self.params, "theta")
        members, condition = as_type(self.members, float), self.features(x)

        def of_one(z: Float[Array, " param"]) -> Scalar:
            return _mixture(eqx.filter_vmap(lambda member: member(condition, z))(members))

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
        _require_shape(x, self.features, "x")
        flows = as_type(self.members.flow, float)
        drawn = _draw(flows, self.features(x), n_samples, self.n_members, key)
        return constrain(drawn, self.prior, self.params)


def _mixture(log_probs: Float[Array, " member"]) -> Scalar:
    return jax.nn.logsumexp(log_probs) - jnp.log(log_probs.shape[0])


def _draw(flows: ConditionalFlow, condition: Array, n_samples: int, n_members: int, key: Key):
    """Standardised draws from the mixture: each from a member chosen at random."""
    keys = jax.random.split(key_for(key, "draws"), n_samples)

    def of_member(flow: ConditionalFlow) -> Array:
        return jax.vmap(lambda key: flow.sample(condition, key=key))(keys)

    drawn = eqx.filter_vmap(of_member)(flows)
    chosen = jax.random.randint(key_for(key, "members"), (n_samples,), 0, n_members)
    return drawn[chosen, jnp.arange(n_samples)]


def constrain(z: Float[Array, "sample param"], prior: Any, params: Standard) -> Array:
    """Parameters within the support of the prior, from standardised unconstrained coordinates.

    Args:
        z: The coordinates.
        prior: The prior.
        params: Their standardisation.

    Returns:
        The parameters.
    """
    from numpyro.distributions import biject_to

    return jax.vmap(biject_to(prior.support))(z * params.scale + params.shift)


def unconstrain(theta: Any, prior: Any) -> np.ndarray:
    """Unconstrained coordinates of training parameters.

    Args:
        theta: The parameters, shape (event, param).
        prior: The prior.

    Returns:
        The coordinates.

    Raises:
        DataError: A parameter lies outside the support of the prior or on its boundary.
    """
    from numpyro.distributions import biject_to

    theta = jnp.asarray(theta, float)
    z = np.asarray(jax.vmap(biject_to(prior.support).inv)(theta))
    bad = ~np.asarray(jax.vmap(prior.support.check)(theta)) | ~np.isfinite(z).all(axis=1)
    if bad.any():
        event = int(np.argmax(bad))
        raise DataError(
            f"Argument `gold.theta0` must lie inside the support of the prior, but event {event} "
            f"has {np.asarray(theta)[event].tolist()}; {int(bad.sum())} events are affected."
        )
    return z


def constrained_log_prob(
    log_prob: Any, prior: Any, params: Standard, theta: Float[Array, "sample param"]
) -> Float[Array, " sample"]:
    """Log-densities per unit of theta, from one of standardised unconstrained coordinates.

    Args:
        log_prob: Log-density of one point.
        prior: The prior, which gives the support.
        params: Standardisation of the coordinates.
        theta: The parameters.

    Returns:
        The log-densities; minus infinity outside the support.
    """
    from numpyro.distributions import biject_to

    transform = biject_to(prior.support)
    inside = transform(jnp.zeros(theta.shape[1]))

    def of_one(theta: Float[Array, " param"]) -> Scalar:
        z = transform.inv(theta)
        good = prior.support.check(theta) & jnp.all(jnp.isfinite(z))
        safe = jnp.where(good, theta, inside)
        z = transform.inv(safe)
        volume = jnp.sum(transform.log_abs_det_jacobian(z, safe)) + jnp.sum(jnp.log(params.scale))
        return jnp.where(good, log_prob(params(z)) - volume, -jnp.inf)

    return jax.vmap(of_one)(theta)


def _require_shape(value: Array, standard: Standard, name: str) -> None:
    expected, found = standard.shift.shape, value.shape
    require_shape(found == expected, name, f"have shape {expected}, as in training", f"{found}")


def prepare_pairs(gold: Gold, held_out: float, key: Key) -> Split:
    """The events drawn under `theta0`, in parts to train on and to hold out.

    Args:
        gold: The events.
        held_out: Fraction held out, by event number.
        key: Random key.

    Returns:
        Both parts, as NumPy arrays.

    Raises:
        DataError: A feature is not finite, or there is no event of label 0.
        ShapeError: Events are no vectors.
    """
    gold = jax.tree.map(np.asarray, gold)
    require_shape(gold.x.ndim == 2, "gold.x", "be of shape (event, feature)", f"{gold.x.shape}")
    require_finite_events(gold.x)
    require_finite_events(gold.theta0, "theta0")
    joint = gold.take(gold.label == 0)
    if joint.n_events == 0:
        raise DataError("Argument `gold` must have events of class 0, but it has none.")
    return joint.split(held_out, key=key)


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
    train, other, features, params = _standardised(parts)

    def start(key: Key) -> EventDensity:
        build = autoregressive_flow() if flow is None else flow
        return EventDensity(
            build_flow(build, np.asarray(train.x), np.asarray(train.theta0), key=key)
        )

    trained = _train(
        Objective(train, other, chosen, chosen.alpha if alpha is None else float(alpha), batch),
        start,
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
    train, other, features, params = _standardised(parts)

    def start(key: Key) -> ParameterDensity:
        build = autoregressive_flow() if flow is None else flow
        y, condition = np.asarray(train.theta0), np.asarray(train.x)
        return ParameterDensity(build_flow(build, y, condition, key=key))

    trained = _train(
        Objective(train, other, DENSITY_METHODS["npe"], 0.0, batch),
        start,
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


def unconstrained(parts: Split, prior: Any) -> Split:
    """The parts with parameters in coordinates without a boundary; scores are left out.

    Args:
        parts: The parts.
        prior: The prior.

    Returns:
        Both parts.

    Raises:
        DataError: Parameters lie outside the prior.
    """
    rows = (unconstrain(part.theta0, prior) for part in parts)
    return Split(
        *(
            eqx.tree_at(
                lambda gold: (gold.theta0, gold.score),
                part,
                (z, None),
                is_leaf=lambda leaf: leaf is None,
            )
            for part, z in zip(parts, rows, strict=True)
        )
    )


def _standardised(parts: Split) -> tuple[Gold, Gold, Standard, Standard]:
    """Both parts by means and deviations of the first, in single precision."""
    features, params = standards(parts.train, "density")
    weight = float(np.mean(parts.train.weight))
    train, other = (standardise(part, features, params, weight) for part in parts)
    return train, other, *jax.tree.map(jnp.asarray, (features, params))


def _train(
    objective: Any, start: Any, *, n_members: int, n_epochs: int, learning_rate: float, **rest: Any
) -> Trained:
    """All members side by side, after a check of the numbers."""
    n_epochs = as_integer(n_epochs, "n_epochs", low=1)
    n_members = as_integer(n_members, "n_members", low=1)
    batch = as_integer(objective.batch, "batch", low=2)
    require_real(learning_rate, "learning_rate", "be finite and not negative", low=0.0)
    key = rest.pop("key")
    # Not under jit: flowjax keeps arrays in closures, which would hold on to tracers.
    models = eqx.filter_vmap(start)(keys_for_chains(key_for(key, "networks"), n_members))
    return train_members(
        objective,
        models,
        n_events=objective.train.n_events,
        n_epochs=n_epochs,
        batch=batch,
        learning_rate=learning_rate,
        key=key_for(key, "fit"),
        **rest,
    )
