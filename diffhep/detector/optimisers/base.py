"""One verb for every search: a design, checked by fresh simulations, and how it was found."""

import abc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import ConvergenceError
from diffhep.core.rng import check_key
from diffhep.core.typing import Key
from diffhep.detector.design import Design
from diffhep.detector.problem import VIOLATION, DesignProblem, value_and_error
from diffhep.detector.simulations import BudgetSpentError, Simulations


class Step(NamedTuple):
    """What a search reports whenever it has a design.

    Attributes:
        free: The design as `Design.to_free` makes it.
        value: Of the objective, by the simulator.
        error: Its standard error.
        accepted: Whether the search goes on from it.
        predicted_gain: By a surrogate, over the design before; NaN where there is none.
        ratio: Of the actual gain to the predicted one.
        radius: Of the trust region that it was sought in.
    """

    free: Float[np.ndarray, " param"]
    value: float
    error: float
    accepted: bool = True
    predicted_gain: float = np.nan
    ratio: float = np.nan
    radius: float = np.nan


class Trace(NamedTuple):
    """A search.

    Attributes:
        design: The best design found.
        value: Its objective, from simulations that had no part in choosing it.
        error: Standard error of the value.
        designs: Values of all designs that were reported, in their units.
        values: Their objectives, as they were seen during the search.
        errors: Standard errors of these.
        accepted: Whether the search went on from each.
        predicted_gain: See `Step`.
        ratio: See `Step`.
        radius: See `Step`.
        calls: Simulated events by then.
        n_calls: Simulated events in all, the final check included.
        n_fresh: Of these, those that were not found on disk.
        finished: Whether the search ended by itself; False where the budget ended it.
    """

    design: Design
    value: float
    error: float
    designs: Float[np.ndarray, "step param"]
    values: Float[np.ndarray, " step"]
    errors: Float[np.ndarray, " step"]
    accepted: Bool[np.ndarray, " step"]
    predicted_gain: Float[np.ndarray, " step"]
    ratio: Float[np.ndarray, " step"]
    radius: Float[np.ndarray, " step"]
    calls: Int[np.ndarray, " step"]
    n_calls: int
    n_fresh: int
    finished: bool


class AbstractOptimiser(eqx.Module):
    """A way to search."""

    @abc.abstractmethod
    def search(
        self, problem: DesignProblem, simulations: Simulations, rng: np.random.Generator
    ) -> Iterator[Step]:
        """Search from the problem's start.

        Args:
            problem: What is minimised.
            simulations: The simulator; it raises once the budget is spent.
            rng: All randomness of the search.

        Yields:
            Designs with their simulated objectives.
        """


def optimise(
    problem: DesignProblem,
    *,
    budget: int,
    method: AbstractOptimiser | None = None,
    n_verify: int = 1000,
    directory: Path | str | None = None,
    key: Key,
) -> Trace:
    """Search for the best design within a number of simulated events, and verify it.

    The accepted design whose objective and two standard errors are least (of those within the
    constraint, if any is) is simulated afresh, so that the value returned is free of the luck by
    which it was chosen.

    Args:
        problem: What is minimised.
        budget: Simulated events, those of the final check included.
        method: How; a local surrogate of moments in a trust region if not given.
        n_verify: Events of the final check.
        directory: Where the simulator's answers are kept. A search that was killed and is started
            again with the same arguments ends in the same bits, without simulating twice.
        key: Random key.

    Returns:
        The trace. Where no design meets the constraint it has the one nearest to it, and a
        `RuntimeWarning` says by how much it fails.

    Raises:
        ConfigError: The budget does not hold the final check.
        ConvergenceError: The budget was spent before there was a design.

    Example:
        ```python
        trace = optimise(problem, budget=20_000, key=jax.random.key(0))
        trace.design["absorber"], trace.value, trace.error
        ```
    """
    from diffhep.detector.optimisers.local_surrogate import LocalSurrogate

    check_key(key)
    n_verify = as_integer(n_verify, "n_verify", low=2)
    budget = as_integer(budget, "budget", low=1)
    require(budget > n_verify, "budget", f"be above n_verify = {n_verify}", budget)
    method = LocalSurrogate() if method is None else method
    rng = generator(key)
    simulations = Simulations(problem, budget - n_verify, directory)
    verify_seed = new_seed(rng)
    steps: list[Step] = []
    calls: list[int] = []
    finished = True
    try:
        for step in method.search(problem, simulations, rng):
            steps.append(step)
            calls.append(simulations.n_calls)
    except BudgetSpentError:
        finished = False
    taken = [step for step in steps if step.accepted]
    if not taken:
        raise ConvergenceError(
            f"A budget of {budget} simulated events was spent before there was a design: "
            f"{type(method).__name__} needs more."
        )
    over = [problem.violation(step.free) for step in taken]
    held = [step for step, one in zip(taken, over, strict=True) if one <= VIOLATION]
    best = min(held, key=_at_worst) if held else taken[int(np.argmin(over))]
    if not held:
        warnings.warn(
            "No design of the search meets the constraint: the one returned is over it by "
            f"{min(over):.3g}.",
            RuntimeWarning,
            stacklevel=2,
        )
    simulations.budget = budget
    value, error = value_and_error(problem.objective, simulations(best.free, n_verify, verify_seed))
    start = problem.start
    vectors = [start.from_free(jnp.asarray(step.free)).to_vector() for step in steps]
    columns = zip(*(step[1:] for step in steps), strict=True)
    values, errors, accepted, gain, ratio, radius = (np.asarray(column) for column in columns)
    return Trace(
        start.from_free(jnp.asarray(best.free)), value, error,
        np.stack([np.asarray(vector) for vector in vectors]),
        values, errors, accepted, gain, ratio, radius, np.asarray(calls),
        simulations.n_calls, simulations.n_fresh, finished,
    )  # fmt: skip


def _at_worst(step: Step) -> float:
    """What an objective is in all likelihood below: few events can be lucky."""
    return step.value + (2.0 * step.error if np.isfinite(step.error) else 0.0)


def generator(key: Key) -> np.random.Generator:
    """NumPy's generator of a key.

    Args:
        key: Random key.

    Returns:
        The generator; the same for the same key.
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


def new_seed(rng: np.random.Generator) -> int:
    """A seed for a simulator.

    Args:
        rng: The generator.

    Returns:
        An integer below 2^31.
    """
    return int(rng.integers(2**31))
