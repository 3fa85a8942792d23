"""Design problems with exact optima: the best of random starts, and gradients with their errors."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.errors import ConfigError
from diffhep.core.rng import key_for
from diffhep.core.run import Claim
from diffhep.core.typing import Key
from diffhep.detector import Pathwise, minimise, problems
from diffhep.detector.optimisers.gradient import smooth_functions
from diffhep.detector.problem import VIOLATION
from papers.shirobokov2020.config import Config

BUILD: dict[str, Callable[[], problems.ClosedForm]] = {
    "hit positions": problems.gluckstern,
    "thickness": problems.thickness,
    "budget": problems.budget_split,
    "vertex radius": problems.vertex_radius,
}

LARGEST_EXCESS, LARGEST_PULL = 1e-4, 4.0


def solve_closed_forms(config: Config, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    """The best of random starts against the optimum, and a gradient against the exact one.

    Args:
        config: The settings.
        arrays: Takes the relative excess of every start.
        key: Random key.

    Returns:
        The claims.
    """
    claims = []
    for name, build in BUILD.items():
        known = build()
        excess = _excess(known, config.n_starts, key=key_for(key, name))
        arrays[f"closed/{name}"] = excess
        best = abs(float(excess.min()))
        pull = _largest_pull(known, config.n_gradients, key=key_for(key, f"{name} pull"))
        claims += [
            Claim(f"{name}: |best / optimum - 1|", best, None, LARGEST_EXCESS, "exact", "<="),
            Claim(f"{name}: largest pull of a gradient", pull, None, LARGEST_PULL, "exact", "<="),
        ]
    return claims


def _excess(known: problems.ClosedForm, n_starts: int, *, key: Key) -> np.ndarray:
    """Relative excess of the ends of searches over the optimum; infinite off the constraint."""
    smooth, bound = smooth_functions(known.problem)
    starts = [known.random_start(one) for one in jax.random.split(key, n_starts)]
    found = [minimise(smooth, np.asarray(start.to_free()), bound) for start in starts]
    ends = np.asarray([one.value if one.violation < VIOLATION else np.inf for one in found])
    return ends / float(known.problem.optimum or np.nan) - 1.0


def _largest_pull(known: problems.ClosedForm, n: int, *, key: Key) -> float:
    """Of all components of the pathwise gradient at a random design."""
    design = known.random_start(key_for(key, "design"))
    expected = known.problem.exact
    if expected is None:
        raise ConfigError(f"Problem {known.problem.name!r} must have an exact objective.")
    exact = jax.grad(expected)(design).to_vector()
    found = eqx.filter_jit(Pathwise(known.sampled, n))(design, key=key_for(key, "gradient"))
    miss = found.gradient.to_vector() - exact
    return float(jnp.max(jnp.abs(miss) / found.standard_error.to_vector()))
