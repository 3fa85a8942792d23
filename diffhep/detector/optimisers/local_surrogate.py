r"""Descent on a surrogate of the simulator that is fitted anew around every design.

Reference:
    S. Shirobokov et al., arXiv:2002.04632, for local surrogates; A. R. Conn, N. I. M. Gould and
    P. L. Toint, Trust-Region Methods (SIAM, 2000), for the region.
"""

from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require, require_counts, require_positive
from diffhep.core.typing import Scalar
from diffhep.detector.optimisers.augmented import minimise
from diffhep.detector.optimisers.base import AbstractOptimiser, Step, new_seed
from diffhep.detector.optimisers.trust_region import TrustRegion
from diffhep.detector.problem import (
    VIOLATION,
    DesignProblem,
    SampleObjective,
    value_and_error,
)
from diffhep.detector.simulations import Simulations
from diffhep.detector.surrogates.base import AbstractSurrogate
from diffhep.detector.surrogates.moments import MomentRegression

__citations__ = ("arXiv:2002.04632",)

REACH = 2.5
"""Older events as far as so many typical distances of new ones are used again."""

PRECISION = 0.4
"""Standard error of an actual gain, over the predicted one, at which it is judged in any case."""

TINY = 1e-300

MOST = 16
"""Times the designs of a step, scattered after many refusals."""

N_STARTS = 2
"""Of the search on the surrogate."""


class _Region(NamedTuple):
    """Where a surrogate is fitted: coordinates are x = (free - centre) / spread."""

    centre: np.ndarray
    spread: float
    limit: float


class LocalSurrogate(AbstractOptimiser):
    """Fit where the design is, step as far as the fit is trusted, simulate there, and judge.

    Designs are scattered around the current one and simulated; a surrogate is fitted to them and
    to all earlier events nearby, and minimised within the region, under the constraint. The design
    found is simulated, and the region judges the step by its gain and the gain's error: more events
    are taken only while these leave the verdict open. Those events are fitted too. After a step
    that is refused the next sample is larger.

    Attributes:
        surrogate: Unfitted.
        region: The trust region.
        spread: Of scattered designs in every free coordinate. It follows the root of the region's
            radius: in a cloud as small as a small step, slopes would drown in noise.
        n_designs: Scattered per step.
        n_events: At each of them.
        n_check: Events of a check, before they are doubled.
        most_check: Events of a check at most.
        n_draws: Draws from the surrogate, by which its objective is known; even.

    Raises:
        ConfigError: A number is out of its range.
    """

    surrogate: AbstractSurrogate = MomentRegression()
    region: TrustRegion = TrustRegion()
    spread: float = 0.4
    n_designs: int = eqx.field(static=True, default=10)
    n_events: int = eqx.field(static=True, default=1)
    n_check: int = eqx.field(static=True, default=5)
    most_check: int = eqx.field(static=True, default=10)
    n_draws: int = eqx.field(static=True, default=200)

    def __check_init__(self) -> None:
        require_counts(self, 1, "n_events")
        require_counts(self, 2, "n_check", "n_draws")
        require_counts(self, 4, "n_designs")
        require_positive(self, "spread")
        require(self.n_draws % 2 == 0, "n_draws", "be even", self.n_draws)
        enough = self.most_check >= self.n_check
        require(enough, "most_check", "be at least n_check", self.most_check)

    def search(
        self, problem: DesignProblem, simulations: Simulations, rng: np.random.Generator
    ) -> Iterator[Step]:
        """See `AbstractOptimiser.search`."""
        n_designs, radius, seen = self.n_designs, self.region.radius, _Seen(problem.n_params)
        here = _Checked(np.asarray(problem.start.to_free()), problem, simulations, rng)
        here.extend(self.n_check, seen)
        yield Step(here.free, *here.value_and_error(), radius=radius)
        while radius > self.region.least:
            where = self._around(here.free, radius)
            for free in _scatter(where, n_designs, rng):
                seen.add(free, simulations(free, self.n_events, new_seed(rng)))
            surrogate = seen.fit(self.surrogate, where, rng)
            free, predicted, slope = self._propose(problem, surrogate, where, rng)
            there = _Checked(free, problem, simulations, rng)
            actual, error = self._compare(here, there, predicted, seen)
            over = problem.violation(here.free)
            if over > VIOLATION:
                # No gain is to be had on the way to a design that is allowed.
                accepted = problem.violation(free) < 0.9 * over
            else:
                accepted = self.region.accepts(predicted, actual, error)
            ratio = actual / predicted if predicted > 0.0 else -np.inf
            yield Step(free, *there.value_and_error(), accepted, predicted, ratio, radius)
            if over <= VIOLATION or not accepted:
                length = float(np.linalg.norm(free - here.free) / np.sqrt(free.size))
                radius = self.region.next_radius(radius, length, slope, actual, error)
            here = there if accepted else here
            n_designs = self.n_designs if accepted else min(2 * n_designs, MOST * self.n_designs)

    def _around(self, free: np.ndarray, radius: float) -> _Region:
        spread = self.spread * np.sqrt(radius / self.region.radius)
        return _Region(free, spread, radius * np.sqrt(free.size) / spread)

    def _propose(
        self,
        problem: DesignProblem,
        surrogate: AbstractSurrogate,
        where: _Region,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, float, float]:
        """The best design by the surrogate, the gain that it promises, and the first-order gain."""
        n_observables = seen_observables(surrogate)
        noise = rng.normal(size=(self.n_draws // 2, n_observables))
        noise = jnp.asarray(np.concatenate([noise, -noise]))
        centre, spread, limit = (jnp.asarray(part) for part in where)

        def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _promised(jnp.asarray(w), surrogate, noise, limit, problem.objective)
            return float(value), np.asarray(slope)

        def constraint(w: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _violated(jnp.asarray(w), centre, spread, limit, problem)
            return float(value), np.asarray(slope)

        bound = None if problem.constraint is None else constraint
        starts = 0.3 * rng.normal(size=(N_STARTS, where.centre.size)) / np.sqrt(where.centre.size)
        rough = {"most_steps": 50, "tolerance": 1e-7, "settled": 0.05}
        found = [minimise(objective, start, bound, **rough) for start in starts]
        best = min(found, key=lambda one: one.value + 1e6 * one.violation)
        x = np.asarray(_into_ball(jnp.asarray(best.x), limit))
        here, slope = objective(np.zeros_like(best.x))
        # At the centre of the ball w and x differ by the limit alone.
        first = -float(slope @ x) / where.limit
        return where.centre + where.spread * x, here - best.value, first

    def _compare(
        self, here: "_Checked", there: "_Checked", predicted: float, seen: "_Seen"
    ) -> tuple[float, float]:
        """The actual gain and its error, from as many events as the verdict asks for."""
        there.extend(self.n_check, seen)
        while True:
            (old, old_error), (new, new_error) = here.value_and_error(), there.value_and_error()
            actual, error = old - new, float(np.hypot(old_error, new_error))
            # Of the gain that is expected once promise and simulations are weighed.
            margin = actual + error**2 / max(abs(predicted), TINY)
            more = [
                (one_error, one)
                for one_error, one in ((old_error, here), (new_error, there))
                if one.n_events < self.most_check
            ]
            if error <= PRECISION * abs(predicted) or abs(margin) > error or not more:
                return actual, error
            worse = max(more, key=lambda pair: pair[0])[1]
            worse.extend(worse.n_events, seen)


class _Checked:
    """A design with the events that judge it."""

    def __init__(
        self,
        free: np.ndarray,
        problem: DesignProblem,
        simulations: Simulations,
        rng: np.random.Generator,
    ) -> None:
        self.free, self.problem, self.simulations, self.rng = free, problem, simulations, rng
        self.parts: list[np.ndarray] = []

    @property
    def n_events(self) -> int:
        return sum(len(part) for part in self.parts)

    def extend(self, n_events: int, seen: "_Seen") -> None:
        found = self.simulations(self.free, n_events, new_seed(self.rng))
        self.parts.append(found)
        seen.add(self.free, found)

    def value_and_error(self) -> tuple[float, float]:
        return value_and_error(self.problem.objective, np.concatenate(self.parts))


class _Seen:
    """All events so far."""

    def __init__(self, size: int) -> None:
        self.designs, self.outcomes = np.zeros((0, size)), None

    def add(self, free: np.ndarray, outcomes: np.ndarray) -> None:
        self.designs = np.concatenate([self.designs, np.tile(free, (len(outcomes), 1))])
        before = [] if self.outcomes is None else [self.outcomes]
        self.outcomes = np.concatenate([*before, outcomes])

    def fit(
        self, surrogate: AbstractSurrogate, where: _Region, rng: np.random.Generator
    ) -> AbstractSurrogate:
        """A surrogate of the events nearby, in the coordinates of the region."""
        x = (self.designs - where.centre) / where.spread
        near = np.linalg.norm(x, axis=1) <= REACH * np.sqrt(x.shape[1])
        key = jax.random.key(new_seed(rng))
        return surrogate.fit(x[near], np.asarray(self.outcomes)[near], key=key)


def _scatter(
    where: _Region, n_designs: int, rng: np.random.Generator
) -> Float[np.ndarray, "design param"]:
    """Normal designs in pairs on opposite sides: slopes then do not see the curvature."""
    half = rng.normal(size=((n_designs + 1) // 2, where.centre.size))
    return where.centre + where.spread * np.concatenate([half, -half])[:n_designs]


def seen_observables(surrogate: AbstractSurrogate) -> int:
    """Observables of a fitted surrogate."""
    domain = surrogate.domain
    return 1 if domain is None else domain.shift.size


def _into_ball(w: Float[Array, " param"], limit: Scalar) -> Float[Array, " param"]:
    """From all vectors to those shorter than a limit."""
    return limit * w / jnp.sqrt(1.0 + jnp.sum(w**2))


@eqx.filter_jit
def _promised(
    w: Array, surrogate: AbstractSurrogate, noise: Array, limit: Scalar, objective: SampleObjective
) -> tuple[Scalar, Array]:
    def value(w: Array) -> Scalar:
        x = _into_ball(w, limit)
        return objective(jax.vmap(lambda z: surrogate.draw(x, z))(noise))

    return jax.value_and_grad(value)(w)


@eqx.filter_jit
def _violated(
    w: Array, centre: Array, spread: Scalar, limit: Scalar, problem: DesignProblem
) -> tuple[Scalar, Array]:
    def value(w: Array) -> Scalar:
        free = centre + spread * _into_ball(w, limit)
        constraint = problem.constraint
        return jnp.zeros(()) if constraint is None else constraint(problem.start.from_free(free))

    return jax.value_and_grad(value)(w)
