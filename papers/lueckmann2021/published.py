"""The classifier two-sample tests that the paper published, means over ten observations."""

BUDGETS = (1000, 10_000, 100_000)

PUBLISHED: dict[str, dict[str, tuple[float, float, float]]] = {
    "two_moons": {
        "nre": (0.822, 0.761, 0.629),
        "npe": (0.725, 0.606, 0.542),
        "nle": (0.773, 0.713, 0.668),
    },
    "slcp": {
        "nre": (0.972, 0.947, 0.919),
        "npe": (0.975, 0.901, 0.831),
        "nle": (0.946, 0.771, 0.699),
    },
    "gaussian_linear": {
        "nre": (0.672, 0.560, 0.536),
        "npe": (0.694, 0.552, 0.506),
        "nle": (0.650, 0.555, 0.515),
    },
    "gaussian_mixture": {
        "nre": (0.777, 0.748, 0.735),
        "npe": (0.716, 0.615, 0.548),
        "nle": (0.740, 0.723, 0.690),
    },
    "sir": {
        "nre": (0.841, 0.770, 0.690),
        "npe": (0.815, 0.680, 0.585),
        "nle": (0.761, 0.748, 0.730),
    },
    "bernoulli_glm": {
        "nre": (0.899, 0.812, 0.751),
        "npe": (0.863, 0.678, 0.559),
        "nle": (0.740, 0.605, 0.545),
    },
}
"""By task and method, for 1000, 10,000 and 100,000 simulations."""

RIVAL = {"nre": "nre", "npe": "npe", "nle": "nle", "flow_matching": "npe"}
"""Whose published numbers a method is held against."""


def published(task: str, method: str, n_simulations: int) -> float | None:
    """The published number, where there is one for this budget.

    Args:
        task: Name of the task.
        method: Name of the method.
        n_simulations: The budget.

    Returns:
        The mean, or None.
    """
    if n_simulations not in BUDGETS:
        return None
    return PUBLISHED[task][RIVAL[method]][BUDGETS.index(n_simulations)]
