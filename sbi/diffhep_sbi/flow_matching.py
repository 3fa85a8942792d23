r"""Flow matching posteriors: a velocity that carries a normal to the posterior of any event.

$E\,|v(t, z_t, x) - (z_1 - z_0)|^2$ is least, with $z_t = (1-t)z_0 + t z_1$ from a normal $z_0$ to
the parameters $z_1$ of a pair, where v is the velocity of a flow from one to the other. Draws and
densities are solutions of its differential equation; densities take the trace of its Jacobian.

Reference:
    Y. Lipman et al., arXiv:2210.02747; J. Wildberger et al., arXiv:2305.17161.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.progress import Show
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.flows import as_type
from diffhep_sbi.gold import Gold
from diffhep_sbi.networks import AbstractNetwork, NetworkBuilder, mlp
from diffhep_sbi.pairs import prepare_pairs
from diffhep_sbi.standardisation import Standard, require_as_in_training, standardised
from diffhep_sbi.support import constrain, constrained_log_prob, coordinates_of, unconstrained
from diffhep_sbi.training import draw_rows, train_members

__citations__ = ("arXiv:2210.02747", "arXiv:2305.17161")

TOLERANCE = 1e-5
"""Of the solver, per step, in standard deviations of a parameter."""

N_STEPS = 4096
"""Of the solver at most."""


class FlowMatchingPosterior(eqx.Module):
    r"""$p(\theta|x)$ by the mean velocity of networks that differ in start and batches.

    The flow lives on unconstrained coordinates, so that no draw is outside the support of the
    prior.

    Attributes:
        members: The networks, with a leading member axis.
        features: Standardisation of x.
        params: Standardisation of the unconstrained coordinates.
        prior: The prior that the training parameters came from.
        training_loss: Mean loss of every epoch and member.
        held_out_loss: The same on held-out events.
    """

    members: AbstractNetwork
    features: Standard
    params: Standard
    prior: Any
    training_loss: Float[Array, "epoch member"]
    held_out_loss: Float[Array, "epoch member"]

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
        velocity = self._velocity(x)
        start = jax.random.normal(key, (n_samples, *self.params.shift.shape))
        z = jax.vmap(lambda z: _solve(velocity, z, 0.0, 1.0))(start)
        return constrain(z, coordinates_of(self.prior, "unconstrained"), self.params)

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
        velocity = self._velocity(x)

        def with_trace(t: Scalar, state: tuple) -> tuple[Array, Scalar]:
            z, _ = state
            return velocity(t, z), jnp.trace(jax.jacfwd(velocity, argnums=1)(t, z))

        def of_one(z: Float[Array, " param"]) -> Scalar:
            # Backwards in time, the integral of the trace comes with a minus sign.
            start, change = _solve(with_trace, (z, jnp.zeros(())), 1.0, 0.0)
            normal = -0.5 * jnp.sum(start**2) - 0.5 * start.size * jnp.log(2.0 * jnp.pi)
            return normal + change

        transform = coordinates_of(self.prior, "unconstrained")
        return constrained_log_prob(of_one, self.prior, transform, self.params, theta)

    def _velocity(self, x: Float[Array, " feature"]) -> Any:
        members, condition = as_type(self.members, float), self.features(x)

        def velocity(t: Scalar, z: Float[Array, " param"]) -> Float[Array, " param"]:
            each = eqx.filter_vmap(lambda member: _evaluate(member, condition, t, z))(members)
            return jnp.mean(each, axis=0)

        return velocity


def _evaluate(network: AbstractNetwork, x: Array, t: Scalar, z: Array) -> Float[Array, " param"]:
    """The velocity; the time goes with the parameters."""
    return network(x, jnp.concatenate([z, t[None]]))


def _solve(slope: Any, start: Any, begin: float, end: float) -> Any:
    """The solution at the end."""
    import diffrax

    return jax.tree.map(
        lambda path: path[0],
        diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, state, _: slope(jnp.asarray(t, float), state)),
            diffrax.Tsit5(),
            begin,
            end,
            None,
            start,
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
            max_steps=N_STEPS,
        ).ys,
    )


class _Matching(eqx.Module):
    """The loss on random batches of training events, and on held-out ones beside."""

    train: Gold
    held_out: Gold
    batch: int = eqx.field(static=True)

    def __call__(self, model: Any, key: Key, step: Array) -> tuple[Scalar, dict[str, Scalar]]:
        losses = [
            self._loss(model, part, key_for(key, name))
            for name, part in (("train", self.train), ("held-out", self.held_out))
        ]
        return losses[0], {"held_out": jax.lax.stop_gradient(losses[1])}

    def _loss(self, model: Any, part: Gold, key: Key) -> Scalar:
        rows = part.take(draw_rows(part, self.batch, key_for(key, "rows")))
        z1 = rows.theta0
        z0 = jax.random.normal(key_for(key, "start"), z1.shape, z1.dtype)
        t = jax.random.uniform(key_for(key, "time"), (self.batch,), z1.dtype)
        z = (1.0 - t[:, None]) * z0 + t[:, None] * z1
        found = jax.vmap(_evaluate, (None, 0, 0, 0))(model, rows.x, t, z)
        return jnp.mean(rows.weight * jnp.sum((found - (z1 - z0)) ** 2, axis=-1))


def fit_flow_matching(
    gold: Gold,
    prior: Any,
    *,
    network: NetworkBuilder | None = None,
    n_members: int = 3,
    n_epochs: int = 100,
    batch: int = 256,
    learning_rate: float = 2e-3,
    held_out: float = 0.1,
    checkpoint: Checkpoint | None = None,
    progress: Show = True,
    key: Key,
) -> FlowMatchingPosterior:
    r"""Learn the posterior of any one event from pairs under a prior, by flow matching.

    Training is that of `fit_ratio`, and cheap: no density is needed. Draws and densities cost the
    solution of a differential equation each.

    Args:
        gold: Pairs whose `theta0` were drawn from the prior; events of label 1 are left out.
        prior: A numpyro distribution of vectors, such as `Uniform(low, high).to_event(1)`.
        network: Builder of a member; `mlp()` if not given.
        n_members: Networks.
        n_epochs: Times that as many events are drawn as there are to train on.
        batch: Events a step.
        learning_rate: The first learning rate.
        held_out: Fraction of the events that choose the epoch.
        checkpoint: Where training is saved and goes on from, to the same bits.
        progress: Whether to show a bar.
        key: Random key.

    Returns:
        The posterior.

    Raises:
        ConfigError: A number is out of range.
        ShapeError: Events are no vectors.
        DataError: Gold has values that are not finite, parameters outside the prior, or no event
            of label 0.
        ConvergenceError: The loss is not finite; the state is saved.

    Reference:
        J. Wildberger et al., arXiv:2305.17161.
    """
    check_key(key)
    transform = coordinates_of(prior, "unconstrained")
    parts = unconstrained(prepare_pairs(gold, held_out, key_for(key, "split")), prior, transform)
    train, other, features, params = standardised(parts, "flow matching")
    build = mlp() if network is None else network
    n_params, shape = gold.n_params, gold.x.shape[1:]
    trained = train_members(
        lambda key: build(shape, n_params + 1, n_params, key),
        _Matching(train, other, batch),
        n_members=n_members,
        n_epochs=n_epochs,
        learning_rate=learning_rate,
        checkpoint=checkpoint,
        name="fit_flow_matching",
        progress=progress,
        key=key,
    )
    return FlowMatchingPosterior(
        members=trained.members,
        features=features,
        params=params,
        prior=prior,
        training_loss=trained.training_loss,
        held_out_loss=trained.held_out_loss,
    )
