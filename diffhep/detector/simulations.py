"""Calls of a simulator: counted, held to a budget, and kept on disk."""

import hashlib
import json
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer
from diffhep.core.errors import ConvergenceError, DataError
from diffhep.detector.design import Design
from diffhep.detector.problem import DesignProblem


class BudgetSpentError(ConvergenceError):
    """A call was asked for that the budget does not hold."""


class Simulations:
    """The one way by which a search reaches its simulator.

    One call is one simulated event. With a folder every answer is written there at once, beside
    and renamed, with a checksum; a search that is started again with the same key asks the same
    questions, gets these answers, and goes on from where it was killed to the same end.

    Attributes:
        n_calls: Events asked for so far, those that were found on disk included.
        n_fresh: Events that were simulated now.

    Raises:
        ConfigError: The budget is no positive integer.
    """

    n_calls: int
    n_fresh: int

    def __init__(
        self, problem: DesignProblem, budget: int, directory: Path | str | None = None
    ) -> None:
        self.problem = problem
        self.budget = as_integer(budget, "budget", low=1)
        self.directory = None if directory is None else Path(directory)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
        self.n_calls = self.n_fresh = 0

    def __call__(
        self, free: Float[np.ndarray, " param"], n_events: int, seed: int
    ) -> Float[np.ndarray, "event observable"]:
        """Events at one design.

        Args:
            free: The design as `Design.to_free` makes it.
            n_events: How many.
            seed: Of the simulator's random numbers.

        Returns:
            Their observables.

        Raises:
            BudgetSpentError: The budget does not hold them.
            DataError: The simulator returned something else, or numbers that are not finite.
        """
        if self.n_calls + n_events > self.budget:
            raise BudgetSpentError(
                f"The budget of {self.budget} simulated events is spent: {self.n_calls} were "
                f"used and {n_events} more are asked for."
            )
        self.n_calls += n_events
        design = _design(self.problem.start, jnp.asarray(free))
        kept = self._kept(design, n_events, seed)
        if kept is not None and kept.exists():
            return kept.restore_with(_like)[0]
        outcomes = self._checked(self.problem.simulate(design, n_events, seed), n_events)
        self.n_fresh += n_events
        if kept is not None:
            kept.save(outcomes, {"shape": list(outcomes.shape)})
        return outcomes

    def _kept(self, design: Design, n_events: int, seed: int) -> Checkpoint | None:
        if self.directory is None:
            return None
        values = {name: np.asarray(design[name]).tolist() for name in design.names}
        question = [self.problem.name, values, design.units, n_events, seed]
        digest = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        return Checkpoint(self.directory / f"{digest[:32]}.ckpt")

    def _checked(self, found: object, n_events: int) -> np.ndarray:
        outcomes = np.asarray(found, dtype=float)
        if outcomes.ndim != 2 or outcomes.shape[0] != n_events:
            raise DataError(
                f"Simulator {self.problem.name!r} must return an array (event, observable) of "
                f"{n_events} events, but it has shape {outcomes.shape}."
            )
        if not np.all(np.isfinite(outcomes)):
            row = int(np.argmin(np.isfinite(outcomes).all(axis=1)))
            raise DataError(
                f"Simulator {self.problem.name!r} must return finite numbers, but event {row} is "
                f"{outcomes[row].tolist()}."
            )
        return outcomes


@eqx.filter_jit
def _design(start: Design, free: Array) -> Design:
    return start.from_free(free)


def _like(metadata: dict) -> np.ndarray:
    return np.zeros(tuple(metadata["shape"]))
