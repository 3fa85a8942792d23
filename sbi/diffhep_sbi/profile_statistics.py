r"""Test statistics of a parameter of interest from profile likelihood ratios.

With $t_\mu = 2[\log L(\hat\mu, \hat\alpha) - \log L(\mu, \hat{\hat\alpha}(\mu))]$:

| name | $\hat\mu$ | value |
|---|---|---|
| "t" | within the parameter's bounds | $t_\mu$ |
| "t_tilde" | also at least 0 | $t_\mu$, the ordering of Feldman and Cousins |
| "q" | within the parameter's bounds | $t_\mu$ where $\hat\mu\le\mu$, else 0: upper limits |
| "q_tilde" | also at least 0 | likewise |
| "q0" | within the parameter's bounds | $t_0$ where $\hat\mu\ge0$, else 0: discovery |

Reference:
    arXiv:1007.1727, section 2; arXiv:physics/9711021.
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from diffhep.core.checks import require, require_x64
from diffhep.core.typing import Flag, Scalar
from diffhep_sbi.likelihood import Likelihood, Observation
from diffhep_sbi.mle import BestFit, maximise_free_and_at, require_converged

__citations__ = ("arXiv:1007.1727", "arXiv:physics/9711021")

Statistic = Literal["t", "t_tilde", "q", "q_tilde", "q0"]
"""Names of the test statistics."""

STATISTICS: tuple[Statistic, ...] = ("t", "t_tilde", "q", "q_tilde", "q0")


class Tested(NamedTuple):
    """A test of one value of the parameter of interest.

    Attributes:
        statistic: The test statistic, at least 0.
        free: The best fit.
        constrained: The best fit at the tested value.
        is_converged: Whether both fits found their maximum.
    """

    statistic: Scalar
    free: BestFit
    constrained: BestFit
    is_converged: Flag


def evaluate_statistic(
    kind: Statistic, likelihood: Likelihood, value: Scalar, observation: Observation
) -> Tested:
    """A test statistic as a pure function of arrays, to be vmapped over values and toys.

    Args:
        kind: Which one.
        likelihood: The likelihood.
        value: Tested value of the parameter of interest.
        observation: The data.

    Returns:
        The statistic and its two fits.

    Raises:
        ConfigError: `kind` is none of them.
    """
    require(kind in STATISTICS, "kind", f"be one of {', '.join(STATISTICS)}", kind)
    floor = 0.0 if kind.endswith("tilde") else -jnp.inf
    free, fixed = maximise_free_and_at(likelihood, observation, value[None], floor)
    constrained = jax.tree.map(lambda leaf: leaf[0], fixed)
    poi = free.theta[likelihood.index(likelihood.poi)]
    statistic = order(kind, free.log_likelihood - constrained.log_likelihood, poi, value)
    return Tested(statistic, free, constrained, free.is_converged & constrained.is_converged)


def order(kind: Statistic, drop: Scalar, found: Scalar, value: Scalar) -> Scalar:
    """The statistic of a drop of the log-likelihood: 0 where the best fit is on the other side.

    Args:
        kind: Which one.
        drop: Log-likelihood of the best fit less that at the tested value.
        found: Parameter of interest of the best fit.
        value: Its tested value.

    Returns:
        The statistic.
    """
    t = jnp.maximum(2.0 * drop, 0.0)
    if kind in ("q", "q_tilde"):
        return jnp.where(found <= value, t, 0.0)
    return jnp.where(found >= value, t, 0.0) if kind == "q0" else t


@eqx.filter_jit
def _test(
    kind: Statistic, likelihood: Likelihood, value: Scalar, observation: Observation
) -> Tested:
    return evaluate_statistic(kind, likelihood, value, observation)


def profile_statistic(
    kind: Statistic,
    likelihood: Likelihood,
    value: Scalar | float = 0.0,
    observation: Observation | None = None,
    *,
    throw: bool = True,
) -> Tested:
    """One test statistic of one value of the parameter of interest.

    Args:
        kind: "t", "t_tilde", "q", "q_tilde" or "q0".
        likelihood: The likelihood.
        value: Tested value; 0 for "q0".
        observation: The data; the observed ones where left out.
        throw: Raise where a fit fails; otherwise look at `is_converged`.

    Returns:
        The statistic and its two fits.

    Raises:
        ConvergenceError: A fit did not find its maximum.
        ConfigError: `kind` is unknown, there are no data, or x64 is off.
    """
    require_x64("test statistics")
    data = likelihood.data(observation)
    found = _test(kind, likelihood, jnp.asarray(value, dtype=float), data)
    if throw:
        require_converged(found.is_converged, f"test statistic {kind}")
    return found
