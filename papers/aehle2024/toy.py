r"""A toy shower whose mean is known: particles lose energy, and split or not in every absorber.

In each layer a particle loses ionisation in the absorber, then splits with the probability
$(1-e^{-a/X_0})(1-E_c/E)$, its energy shared uniformly, then deposits ionisation in the gap, which
is what is seen. Decisions are discrete, everything else is continuous in the thickness.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector import (
    AbstractGradientEstimator,
    AbstractScoredObjective,
    Branching,
    CommonRandomNumbers,
    Design,
    Hybrid,
    Parameter,
    Pathwise,
    ScoreFunction,
    decide,
)

N_LAYERS = 5
N_DECISIONS = 2**N_LAYERS - 1
BEAM_MeV = 100.0
X0_mm = 8.9
CRITICAL_MeV = 10.0
LOSS_MeV_mm = 1.02
GAP_MeV = 1.2
"""Radiation length, critical energy and loss of PbWO4; loss in a gap of liquid argon."""

THICKNESS_mm = 4.6
N_FORCED = 4
STEP = 0.02

N_GRID = 40_001
"""Energies at which the exact mean is kept: its derivative is off by less than 1e-5 MeV/mm."""


def design() -> Design:
    """The absorber of the toy.

    Returns:
        The design.
    """
    return Design(absorber_mm=Parameter(THICKNESS_mm, "mm", 0.0))


def _after_absorber(energy: Array, absorber_mm: Array) -> tuple[Array, Array]:
    """Energy behind an absorber, and the probability to split there."""
    left = jnp.maximum(energy - LOSS_MeV_mm * absorber_mm, 0.0)
    may = jnp.maximum(1.0 - CRITICAL_MeV / jnp.maximum(left, CRITICAL_MeV), 0.0)
    return left, -jnp.expm1(-absorber_mm / X0_mm) * may


def shower(
    design: Design, key: Key, forced: Float[Array, " decision"]
) -> tuple[Scalar, Float[Array, " decision"]]:
    """One shower.

    Args:
        design: With `absorber_mm`.
        key: Random key.
        forced: As `decide` takes it.

    Returns:
        Energy in the gaps in MeV, and the probabilities of all decisions.
    """
    uniform, shares = jax.random.uniform(key, (2, N_DECISIONS))
    energy, seen, probabilities, used = jnp.full((1,), BEAM_MeV), 0.0, [], 0
    for layer in range(N_LAYERS):
        part = slice(used, used + 2**layer)
        left, probability = _after_absorber(energy, design["absorber_mm"])
        split = decide(probability, uniform[part], forced[part])
        first = left * jnp.where(split > 0.5, shares[part], 1.0)
        energy = jnp.concatenate([first, left - first])
        lost = jnp.minimum(energy, GAP_MeV)
        seen, energy = seen + jnp.sum(lost), energy - lost
        probabilities.append(probability)
        used += 2**layer
    return jnp.asarray(seen), jnp.concatenate(probabilities)


def plain(design: Design, key: Key) -> Scalar:
    """One shower that takes its decisions itself.

    Args:
        design: With `absorber_mm`.
        key: Random key.

    Returns:
        Energy in the gaps in MeV.
    """
    return shower(design, key, -jnp.ones(N_DECISIONS))[0]


class Scored(AbstractScoredObjective):
    """The same by the probability of its decisions; an outcome is the decisions and the key."""

    def draw(self, design: Design, key: Key) -> tuple[Array, Key]:
        """See `AbstractScoredObjective.draw`."""
        _, probability = shower(design, key, -jnp.ones(N_DECISIONS))
        uniform = jax.random.uniform(key, (2, N_DECISIONS))[0]
        return (uniform < probability).astype(float), key

    def log_prob(self, design: Design, outcome: tuple[Array, Key]) -> Scalar:
        """See `AbstractScoredObjective.log_prob`."""
        decisions, key = outcome
        _, p = shower(design, key, decisions)
        # Where nothing is to be decided the probability is zero and has no logarithm.
        may = p > 0.0
        safe = jnp.where(may, p, 0.5)
        each = jnp.where(decisions > 0.5, jnp.log(safe), jnp.log1p(-safe))
        return jnp.sum(jnp.where(may, each, 0.0))

    def value(self, design: Design, outcome: tuple[Array, Key]) -> Scalar:
        """See `AbstractScoredObjective.value`."""
        decisions, key = outcome
        return shower(design, key, decisions)[0]


def estimators(n_samples: int, n_hybrid: int) -> dict[str, AbstractGradientEstimator]:
    """All that fit the toy.

    Args:
        n_samples: Of each.
        n_hybrid: Of the hybrid; zero for none.

    Returns:
        By name.
    """
    branching = Branching(shower, N_DECISIONS, N_FORCED, n_samples)
    score = ScoreFunction(Scored(), n_samples)
    found: dict[str, AbstractGradientEstimator] = {
        "pathwise": Pathwise(plain, n_samples),
        "branching": branching,
        "score function": score,
        "common random numbers": CommonRandomNumbers(plain, step=STEP, n_samples=n_samples),
    }
    if n_hybrid:
        # Its `objective` is a property, which pyright takes for a field.
        found["hybrid"] = Hybrid(branching, score, n_hybrid)  # pyright: ignore[reportCallIssue]
    return found


def exact(absorber_mm: Scalar) -> Scalar:
    """Mean energy in the gaps, by recursion over layers from the last to the first.

    Args:
        absorber_mm: Thickness of an absorber.

    Returns:
        MeV.
    """
    grid = jnp.linspace(0.0, BEAM_MeV, N_GRID)
    left, probability = _after_absorber(grid, absorber_mm)
    lost = jnp.minimum(grid, GAP_MeV)

    def layer(later: Array, _: None) -> tuple[Array, None]:
        past_gap = lost + jnp.interp(grid - lost, grid, later)
        # Both halves have the same law, uniform from nothing to all of the energy.
        steps = 0.5 * (grid[1] - grid[0]) * (past_gap[1:] + past_gap[:-1])
        before = jnp.append(0.0, jnp.cumsum(steps))
        two = 2.0 * jnp.interp(left, grid, before) / jnp.maximum(left, CRITICAL_MeV)
        one = jnp.interp(left, grid, past_gap)
        return (1.0 - probability) * one + probability * two, None

    first, _ = jax.lax.scan(layer, jnp.zeros(N_GRID), length=N_LAYERS)
    return first[-1]


@eqx.filter_jit
def exact_derivative(absorber_mm: float, step: float = 1e-3) -> Scalar:
    """The derivative of `exact`, by a central difference.

    Args:
        absorber_mm: Thickness of an absorber.
        step: Of the difference.

    Returns:
        MeV/mm.
    """
    at = jnp.asarray(absorber_mm) + step * jnp.array([1.0, -1.0])
    up, down = jax.lax.map(exact, at)
    return (up - down) / (2.0 * step)


def toy_key(key: Key, name: str) -> Key:
    """The stream of one estimator.

    Args:
        key: Of the run.
        name: Of the estimator.

    Returns:
        A key.
    """
    return key_for(key, f"toy {name}")
