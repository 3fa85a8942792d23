"""Numbers beside the exact ones: what the series of a sampler or the weights of a flow show."""

from typing import NamedTuple

import numpy as np
from scipy import special

from diffhep.core.run import Claim
from diffhep.core.sampling import SampleResult
from diffhep.core.stats import GammaResult, gamma_method
from diffhep_lattice import exact
from diffhep_lattice.training import FlowReport
from papers.kanwar2020.stages import Place

LEAST_EXPECTED = 5.0
"""Sectors expected less often than this are joined before the chi-squared test."""


def of_flow(place: Place, name: str, report: FlowReport, smallest_ess: float) -> list[Claim]:
    """Effective sample size and log Z of a flow."""
    at = f"{place.name} {name}"
    log_z = exact.u1_log_partition(float(place.action.beta), place.lattice.volume)
    return [
        Claim(f"{at}: ESS", report.ess, report.ess_error, smallest_ess, "target", ">="),
        Claim(f"{at}: log Z", report.log_z, report.log_z_error, log_z, "exact", "pull<3"),
    ]


def of_sampler(place: Place, name: str, result: SampleResult) -> list[Claim]:
    """Plaquette, Wilson loop, <Q^2> and the distribution of Q of a sampler that moves."""
    at = f"{place.name} {name}"
    beta, volume = float(place.action.beta), place.lattice.volume
    series = result.observables
    truths = {
        "plaquette": (series["plaquette"], exact.u1_plaquette(beta, volume)),
        "W(2x2)": (series["W(2x2)"], exact.u1_wilson_loop(beta, volume, 4)),
        "<Q^2>": (series["Q"] ** 2, exact.u1_charge_squared(beta, volume)),
    }
    made = []
    for observable, (values, truth) in truths.items():
        found = gamma_method(values)
        made.append(Claim(f"{at}: {observable}", found.mean, found.error, truth, "exact", "pull<4"))
    p_value = charge_p_value(series["Q"], beta, volume)
    made.append(Claim(f"{at}: P(Q) p-value", p_value, None, 0.01, "exact", ">"))
    return made


def charge_p_value(charges: np.ndarray, beta: float, volume: int) -> float:
    """The p-value of Pearson's test of the charges against the exact distribution.

    The chains are thinned to every fourth integrated autocorrelation time of Q and of Q^2,
    whichever is longer, so that what is counted is independent.

    Args:
        charges: Series of shape (chain, step).
        beta: Inverse coupling.
        volume: Number of plaquettes.

    Returns:
        The p-value; 0 where fewer than two sectors are expected often enough.
    """
    tau = max(gamma_method(charges).tau_int, gamma_method(charges**2).tau_int)
    thinned = charges[:, :: max(int(np.ceil(4 * tau)), 1)].ravel()
    table = exact.u1_charge_distribution(beta, volume)
    pairs = zip(table.charge, table.probability, strict=True)
    expected = {int(q): float(p) * thinned.size for q, p in pairs}
    kept = [q for q, count in expected.items() if count >= LEAST_EXPECTED]
    if len(kept) < 2:
        return 0.0
    observed = [np.sum(thinned == q) for q in kept]
    wanted = [expected[q] for q in kept]
    # Everything else is one more bin, joined to the rarest where it is too small by itself.
    rest = (thinned.size - sum(observed), thinned.size - sum(wanted))
    if rest[1] >= LEAST_EXPECTED:
        observed, wanted = [*observed, rest[0]], [*wanted, rest[1]]
    else:
        rarest = int(np.argmin(wanted))
        observed[rarest] += rest[0]
        wanted[rarest] += rest[1]
    statistic = sum((o - w) ** 2 / w for o, w in zip(observed, wanted, strict=True))
    return float(special.chdtrc(len(wanted) - 1, statistic))


class Mobility(NamedTuple):
    """How fast a chain forgets its charge, in its own steps.

    Attributes:
        tau: Integrated autocorrelation time of Q, by the Gamma method.
        tau_error: Its error.
        lower_bound: A bound from the tunnelling rate, at 95 % confidence; see `mobility`.
    """

    tau: float
    tau_error: float
    lower_bound: float


def mobility(charges: np.ndarray, beta: float, volume: int) -> Mobility:
    r"""Autocorrelation of the charge, with a bound that holds for frozen chains too.

    A reversible chain in equilibrium has $\rho(t) = \int\lambda^t d\mu(\lambda)$, and
    $\tau = \frac12\int\frac{1+\lambda}{1-\lambda}d\mu$ is convex in $\lambda$:
    $\tau \ge \frac12\frac{1+\rho(1)}{1-\rho(1)}$ with
    $1-\rho(1) = \langle(\Delta Q)^2\rangle/2\langle Q^2\rangle$. The mean square step takes its
    upper limit, with Poisson statistics of the tunnelling events; it needs chains that start in
    equilibrium, not chains that tunnel.
    """
    found: GammaResult = gamma_method(charges)
    steps = np.diff(charges, axis=1)
    n_events = int(np.sum(steps != 0))
    size = float(np.sum(steps**2)) / n_events if n_events else 1.0
    upper = special.chdtri(2 * (n_events + 1), 0.05) / 2 * size / steps.size
    one_minus_rho = min(float(upper) / (2 * exact.u1_charge_squared(beta, volume)), 1.0)
    return Mobility(found.tau_int, found.tau_int_error, 0.5 * (2 - one_minus_rho) / one_minus_rho)


def seconds_per_charge(seconds: float, n_steps: int, tau: float) -> float:
    """Cost of one independent charge, in seconds of all chains' time over their steps."""
    return seconds / n_steps * 2 * tau
