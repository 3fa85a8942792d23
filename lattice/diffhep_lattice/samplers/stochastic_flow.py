r"""Stochastic normalizing flows: maps and Markov-chain updates along a schedule of actions.

From a configuration of a prior $e^{-S_0}$, for n = 1..N: a bijection $f_n$, then updates that leave
$e^{-S_n}$ invariant. The work
$W = \sum_n [S_n(f_n(U_{n-1})) - S_{n-1}(U_{n-1}) - \log|\det f_n'|]$ obeys
$\langle e^{-W}\rangle = Z_N/Z_0$, and $e^{-W}$ reweights the ends of the trajectories to
$e^{-S_N}$. Without bijections this is annealed importance sampling.

Reference:
    C. Jarzynski, arXiv:cond-mat/9610209; H. Wu, J. Köhler, F. Noé, arXiv:2002.06707; M. Caselle,
    E. Cellini, A. Nada, M. Panero, arXiv:2201.08862.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped
from scipy.optimize import root_scalar

from diffhep.core.checks import as_integer, require, require_shape, require_type, require_x64
from diffhep.core.citations import cites
from diffhep.core.errors import ConfigError
from diffhep.core.rng import key_at, keys_for_chains
from diffhep.core.stats import log_mean_weight
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import stack
from diffhep_lattice.samplers.schedule import require_algorithms, require_one_form

__citations__ = ("arXiv:cond-mat/9610209", "arXiv:2002.06707", "arXiv:2201.08862")


class WorkSample(NamedTuple):
    """Ends of trajectories and the work done on the way.

    Attributes:
        position: The gauge fields, the trajectory as the first axis.
        work: $W$ of each trajectory, dimensionless, float64; the log-weight is $-W$.
        steps: The part of every step of the schedule in the work.
    """

    position: Shaped[Array, "trajectory mu ..."]
    work: Float[Array, " trajectory"]
    steps: Float[Array, "trajectory step"]


class StochasticFlow(eqx.Module):
    r"""A schedule of bijections and updates, run by a scan: compiled once.

    Attributes:
        prior: The action $S_0$ of the configurations it starts from.
        updates: The sampling algorithms of $S_1 \dots S_N$ as one, with a leading axis on every
            array; each has an `action`.
        bijections: The maps $f_1 \dots f_N$ as one, with the same leading axis; None for none.
    """

    prior: AbstractAction
    updates: Any
    bijections: AbstractBijection | None

    def sample(self, starts: Shaped[Array, "trajectory mu ..."], *, key: Key) -> WorkSample:
        """Run one trajectory from every configuration of the prior.

        Args:
            starts: Independent configurations of the prior, the trajectory as the first axis.
            key: Random key.

        Returns:
            Configurations at the end, to be weighted by $e^{-W}$.

        Raises:
            ShapeError: There is no trajectory, or a field is none of the actions'.
        """
        _require_trajectories(starts, "starts")
        keys = keys_for_chains(key, starts.shape[0])
        return WorkSample(*jax.vmap(self._forward)(keys, starts))

    def sample_back(self, ends: Shaped[Array, "trajectory mu ..."], *, key: Key) -> WorkSample:
        r"""Run the schedule backwards from configurations of $e^{-S_N}$.

        Every step updates with $S_n$ and then inverts $f_n$, the mirror image of the forward
        process for updates that obey detailed balance; the work is that of the reverse process,
        with $\langle e^{-W}\rangle = Z_0/Z_N$.

        Args:
            ends: Independent configurations of the last action, the trajectory as the first axis.
            key: Random key.

        Returns:
            Configurations at the beginning of the schedule, and the reverse work.

        Raises:
            ShapeError: There is no trajectory, or a field is none of the actions'.
            ConfigError: The prior is not of the same form as the other actions.
        """
        _require_trajectories(ends, "ends")
        forms = [jax.tree.structure(x) for x in (self.prior, self.updates.action)]
        if forms[0] != forms[1]:
            raise ConfigError(
                "Argument `prior` must be of the same form as the actions of the updates for the "
                f"reverse process, but it is of type {type(self.prior).__name__}."
            )
        keys = keys_for_chains(key, ends.shape[0])
        return WorkSample(*jax.vmap(self._backward)(keys, ends))

    @property
    def n_steps(self) -> int:
        """Number N of steps of the schedule."""
        return jax.tree.leaves(eqx.filter(self.updates, eqx.is_array))[0].shape[0]

    def scan(self, body: Callable[..., Any], start: Any, key: Key) -> tuple[Any, Any]:
        """Run through the schedule.

        Args:
            body: Called as `body(carry, key, update, bijection)` in every step; returns the carry
                and what to collect.
            start: The first carry.
            key: Random key.

        Returns:
            The last carry, and what was collected with the step as the first axis.
        """
        arrays, static = eqx.partition((self.updates, self.bijections), eqx.is_array)

        def step(carry: Any, x: tuple) -> tuple[Any, Any]:
            index, slices = x
            update, bijection = eqx.combine(slices, static)
            return body(carry, key_at(key, index), update, bijection)

        return jax.lax.scan(step, start, (jnp.arange(self.n_steps), arrays))

    def _forward(self, key: Key, U: Array) -> tuple[Array, Scalar, Array]:
        def body(
            carry: tuple[Array, Scalar], key: Key, update: Any, bijection: AbstractBijection | None
        ) -> tuple[tuple[Array, Scalar], Scalar]:
            U, before = carry
            U, work = work_of_step(U, before, update, bijection)
            state, _ = update.step(key, update.init(U))
            return (state.position, update.action(state.position)), work

        (U, _), work = self.scan(body, (U, self.prior(U)), key)
        return U, jnp.sum(work), work

    def _backward(self, key: Key, U: Array) -> tuple[Array, Scalar, Array]:
        # Going back, step n needs S_{n-1} where step n ends: the actions shifted by one.
        actions = _shifted_actions(self.prior, self.updates.action)
        arrays, static = eqx.partition((self.updates, self.bijections, actions), eqx.is_array)

        def step(U: Array, x: tuple) -> tuple[Array, Scalar]:
            index, slices = x
            update, bijection, before = eqx.combine(slices, static)
            state, _ = update.step(key_at(key, index), update.init(U))
            here = update.action(state.position)
            U, log_det = state.position, jnp.zeros((), float)
            if bijection is not None:
                U, log_det = bijection.inverse_and_log_det(U)
            return U, before(U) - here - log_det

        U, work = jax.lax.scan(step, U, (jnp.arange(self.n_steps), arrays), reverse=True)
        return U, jnp.sum(work), work


def work_of_step(
    U: Array, before: Scalar, update: Any, bijection: AbstractBijection | None
) -> tuple[Array, Scalar]:
    """The mapped field, and the work of one step from a field of given action."""
    log_det = jnp.zeros((), float)
    if bijection is not None:
        U, log_det = bijection.forward_and_log_det(U)
    return U, update.action(U) - before - log_det


def _require_trajectories(fields: Any, name: str) -> None:
    """Raise an error unless there is an array with a leading axis of trajectories."""
    require_type(fields, (jax.Array, np.ndarray), name, "be an array")
    good = fields.ndim >= 1 and fields.shape[0] >= 1
    require_shape(good, name, "hold at least one field", f"shape {fields.shape}")


def _shifted_actions(prior: AbstractAction, stacked: AbstractAction) -> AbstractAction:
    def shift(first: Array, rest: Array) -> Array:
        if not eqx.is_array(rest):
            return rest
        return jnp.concatenate([jnp.asarray(first, rest.dtype)[None], rest[:-1]])

    return jax.tree.map(shift, prior, stacked)


def stochastic_flow(
    prior: AbstractAction,
    updates: Sequence[Any],
    bijections: Sequence[AbstractBijection] | None = None,
) -> StochasticFlow:
    r"""A stochastic normalizing flow along a schedule of actions.

    Args:
        prior: The action of the configurations it starts from.
        updates: One sampling algorithm per step, all of one form, with the actions of the
            schedule: `[hmc(WilsonAction(beta, SU3())) for beta in betas]`.
        bijections: One map per step, all of one form; None anneals without maps.

    Returns:
        The flow.

    Raises:
        ConfigError: There is no step, the numbers differ, updates or bijections are something
            else or not all of one form, the groups differ, or the couplings of the schedule are
            not monotone.
    """
    require_x64("the work")
    require_action(prior, "prior")
    require_algorithms(updates, "updates", low=1)
    group = updates[0].action.group
    rule = f"be {prior.group}, as the prior's"
    require(group == prior.group, "updates[...].action.group", rule, group)
    if bijections is not None:
        require_type(bijections, Sequence, "bijections", "be a list of bijections")
        same = len(bijections) == len(updates)
        require(same, "bijections", f"be {len(updates)}, as the updates", len(bijections))
        for bijection in bijections:
            require_type(bijection, AbstractBijection, "bijections", "hold bijections")
        require_one_form(bijections, "bijections")
    actions: list[Any] = [prior, *(update.action for update in updates)]
    if all(hasattr(action, "beta") for action in actions):
        values = np.array([float(action.beta) for action in actions])
        monotone = bool(np.all(np.diff(values) >= 0) or np.all(np.diff(values) <= 0))
        require(monotone, "updates", "have a monotone schedule of beta", values.tolist())
    return StochasticFlow(
        prior, stack(list(updates)), None if bijections is None else stack(list(bijections))
    )


class StepwiseWork(eqx.Module):
    r"""The loss that trains the maps of a stochastic flow: the mean work, each step by itself.

    The gradient of every step's work is taken with respect to that step's map alone, at fields held
    fixed: no derivative passes through an update, and the memory does not grow with the schedule.
    It lowers the divergence of every $f_n$'s image from $e^{-S_n}$.

    Attributes:
        configurations: Configurations of the prior, batch axis first.
        batch: Trajectories per step of the optimiser.
    """

    configurations: Shaped[Array, "config mu ..."]
    batch: int = eqx.field(
        static=True, converter=partial(as_integer, name="batch", low=1), default=8
    )

    def __check_init__(self) -> None:
        _require_trajectories(self.configurations, "configurations")

    def __call__(self, flow: StochasticFlow, key: Key, step: Array) -> tuple[Scalar, dict]:
        """The mean work of a batch; only the maps' parameters have a gradient."""
        choice_key, chain_key = jax.random.split(key)
        chosen = jax.random.randint(choice_key, (self.batch,), 0, self.configurations.shape[0])
        keys = keys_for_chains(chain_key, self.batch)
        rest = jax.lax.stop_gradient((flow.prior, flow.updates))
        work = jax.vmap(lambda k, U: _stepwise(flow, rest, k, U))(keys, self.configurations[chosen])
        total = jnp.sum(work, axis=1)
        return jnp.mean(total), {"work_spread": jnp.std(total)}


def _stepwise(flow: StochasticFlow, rest: tuple, key: Key, U: Array) -> Array:
    prior, updates = rest
    held = StochasticFlow(prior, updates, flow.bijections)

    def body(carry: tuple, key: Key, update: Any, bijection: Any) -> tuple[tuple, Scalar]:
        U, before = jax.lax.stop_gradient(carry)
        U, work = work_of_step(U, before, update, bijection)
        state, _ = update.step(key, update.init(jax.lax.stop_gradient(U)))
        position = jax.lax.stop_gradient(state.position)
        return (position, update.action(position)), work

    return held.scan(body, (U, prior(U)), key)[1]


class FreeEnergy(NamedTuple):
    r"""$\log(Z_N/Z_0)$ and its error."""

    value: float
    error: float


@cites("arXiv:cond-mat/9610209")
def jarzynski(work: Float[Array, " trajectory"] | Float[np.ndarray, " trajectory"]) -> FreeEnergy:
    r"""$\log(Z_N/Z_0) = \log\langle e^{-W}\rangle$ of independent trajectories.

    Args:
        work: Work of the forward trajectories.

    Returns:
        The logarithm of the ratio of partition functions and its standard error. Few trajectories
        with a wide spread of work bias it low.

    Reference:
        C. Jarzynski, arXiv:cond-mat/9610209.
    """
    value, error = log_mean_weight(-jnp.asarray(work))
    return FreeEnergy(float(value), float(error))


@cites("arXiv:cond-mat/9901352", "doi:10.1016/0021-9991(76)90078-4")
def crooks(
    work: Float[Array, " trajectory"] | Float[np.ndarray, " trajectory"],
    work_back: Float[Array, " reverse"] | Float[np.ndarray, " reverse"],
) -> FreeEnergy:
    r"""$\log(Z_N/Z_0)$ from both directions, by Bennett's acceptance ratio.

    Crooks's theorem $P(W)/P_{\mathrm{back}}(-W) = e^{W}Z_N/Z_0$ makes
    $\sum f(M + W_i + l) = \sum f(-M + W_j^{\mathrm{back}} - l)$ with $f(x) = 1/(1+e^x)$,
    $M = \log(n/n_{\mathrm{back}})$ the likeliest $l = \log(Z_N/Z_0)$.

    Args:
        work: Work of independent forward trajectories.
        work_back: Work of independent reverse trajectories, from `sample_back`.

    Returns:
        The logarithm of the ratio of partition functions and its asymptotic standard error.

    Raises:
        ShapeError: There are less than 2 trajectories of one kind.
        ConfigError: Some work is not finite.

    Reference:
        C. H. Bennett, J. Comput. Phys. 22 (1976) 245; G. E. Crooks, arXiv:cond-mat/9901352;
        M. R. Shirts et al., Phys. Rev. Lett. 91 (2003) 140601 (the error).
    """
    forward, back = np.asarray(work, float), np.asarray(work_back, float)
    require_shape(
        forward.ndim == back.ndim == 1 and forward.size > 1 and back.size > 1,
        "work",
        "and `work_back` hold at least 2 trajectories each",
        f"shapes {forward.shape} and {back.shape}",
    )
    for name, values in (("work", forward), ("work_back", back)):
        wild = values[~np.isfinite(values)]
        require(wild.size == 0, name, "be finite", float(wild[0]) if wild.size else 0.0)
    shift = np.log(forward.size / back.size)

    def occupied(x: np.ndarray) -> np.ndarray:
        return 0.5 * (1.0 - np.tanh(0.5 * x))

    def excess(log_ratio: float) -> float:
        there = occupied(shift + forward + log_ratio)
        return float(np.sum(there) - np.sum(occupied(-shift + back - log_ratio)))

    both = np.concatenate([-forward, back])
    low, high = both.min() - 50.0, both.max() + 50.0
    found = float(root_scalar(excess, bracket=(low, high), xtol=1e-12).root)
    n = forward.size + back.size
    x = np.concatenate([shift + forward + found, shift - back + found])
    information = float(np.mean(0.5 / (1.0 + np.cosh(x))))
    fractions = n / forward.size + n / back.size
    return FreeEnergy(found, float(np.sqrt(max(1.0 / information - fractions, 0.0) / n)))
