"""The front of two aims: the least objective at every cost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from diffhep.core.checks import require
from diffhep.core.rng import check_key, key_at
from diffhep.core.typing import Key, Scalar
from diffhep.detector.design import Design
from diffhep.detector.optimisers.base import AbstractOptimiser, optimise
from diffhep.detector.problem import DesignProblem


class Front(NamedTuple):
    """Designs along a front, the dearest first.

    Attributes:
        designs: One for every limit.
        limits: Of the cost.
        costs: What each design costs.
        values: Its objective, from fresh simulations.
        errors: Standard errors of the values.
        efficient: Whether no other design of the front is as cheap and better.
        n_calls: Simulated events in all.
    """

    designs: list[Design]
    limits: Float[np.ndarray, " limit"]
    costs: Float[np.ndarray, " limit"]
    values: Float[np.ndarray, " limit"]
    errors: Float[np.ndarray, " limit"]
    efficient: Bool[np.ndarray, " limit"]
    n_calls: int


def trade_off(
    problem: DesignProblem,
    cost: Callable[[Design], Scalar],
    limits: Sequence[float],
    *,
    budget: int,
    method: AbstractOptimiser | None = None,
    n_verify: int = 1000,
    directory: Path | str | None = None,
    key: Key,
) -> Front:
    r"""$\min R$ under $c\le c_k$ for every limit $c_k$: the front, concave parts included.

    By continuation: the search under a limit starts from the best design under the one before.

    Args:
        problem: Without a constraint of its own.
        cost: Of a design, differentiable.
        limits: Positive costs.
        budget: Simulated events for every limit.
        method: As in `optimise`.
        n_verify: As in `optimise`.
        directory: As in `optimise`.
        key: Random key.

    Returns:
        The front.

    Raises:
        ConfigError: A limit is not positive, or the problem has a constraint.
    """
    check_key(key)
    none = problem.constraint is None
    require(none, "problem", "have no constraint of its own", problem.name)
    falling = sorted((float(limit) for limit in limits), reverse=True)
    good = len(falling) > 0 and falling[-1] > 0.0
    require(good, "limits", "be positive and at least one", list(limits))
    start, traces = problem.start, []
    for index, limit in enumerate(falling):
        under = _limited(problem, start, cost, limit)
        traces.append(
            optimise(
                under, budget=budget, method=method, n_verify=n_verify, directory=directory,
                key=key_at(key, index),
            )
        )  # fmt: skip
        start = traces[-1].design
    costs = np.asarray([float(cost(trace.design)) for trace in traces])
    values = np.asarray([trace.value for trace in traces])
    beaten = [bool(np.any((costs <= c) & (values < v))) for c, v in zip(costs, values, strict=True)]
    return Front(
        [trace.design for trace in traces], np.asarray(falling), costs, values,
        np.asarray([trace.error for trace in traces]), ~np.asarray(beaten),
        sum(trace.n_calls for trace in traces),
    )  # fmt: skip


def _limited(
    problem: DesignProblem, start: Design, cost: Callable[[Design], Scalar], limit: float
) -> DesignProblem:
    """The problem under a limit, from another start; its optimum is another one."""

    def constraint(design: Design) -> Scalar:
        return cost(design) / limit - 1.0

    return DesignProblem(
        start, problem.simulate, problem.objective, constraint, problem.exact,
        name=problem.name,
    )  # fmt: skip
