"""Numbers beside what they should be."""

from typing import NamedTuple

import numpy as np

from diffhep.core.run import Claim
from diffhep.core.stats import gamma_method
from diffhep_lattice.gradient_flow import FlowScale
from diffhep_lattice.samplers.stochastic_flow import FreeEnergy
from papers.lattice4d import theory
from papers.lattice4d.stages import HmcSeries

STRONG = 2.0
"""Up to here the strong-coupling series is held against the plaquette."""

WEAK = 12.0
"""From here on the weak-coupling series is."""

PUBLISHED_FROM = 8
"""Sites along an axis from which the published values are held against the plaquette."""

ORDER_DEVIATION = 0.3
"""An order read off two step sizes is this near, as the next terms are still there; it is even."""

T0_FINITE_VOLUME = 0.03
"""Allowance for t0 on 16^4 at beta 5.96, one per cent: the box is 3.4 smoothing radii wide."""


class Comparison(NamedTuple):
    """A plaquette beside what it should be.

    Attributes:
        length: Sites along an axis.
        beta: Inverse coupling.
        mean: The mean of the chains.
        error: Its statistical error.
        reference: What it is held against.
        allowance: How well the reference is known on this lattice.
        source: Where it comes from.
    """

    length: int
    beta: float
    mean: float
    error: float
    reference: float
    allowance: float
    source: str


def compare(length: int, series: dict[float, np.ndarray]) -> list[Comparison]:
    """Plaquettes against the series at both ends and the published values between."""
    made = []
    for beta, values in series.items():
        mean, error, *_ = gamma_method(values)
        if beta <= STRONG:
            reference = theory.strong_coupling(beta)
            allowance = theory.strong_coupling_allowance(beta)
            source = "strong-coupling series"
        elif beta >= WEAK:
            reference = float(theory.weak_coupling(beta, length**4))
            allowance = theory.weak_coupling_allowance(beta, length**4)
            source = "weak-coupling series, two loops"
        elif beta in theory.PUBLISHED and length >= PUBLISHED_FROM:
            reference = theory.PUBLISHED[beta]
            box = theory.finite_volume_allowance(length)
            allowance = float(np.hypot(theory.PUBLISHED_ERROR[beta], box))
            source = "published, infinite volume"
        else:
            continue
        made.append(Comparison(length, beta, mean, error, reference, allowance, source))
    return made


def of_plaquettes(rows: list[Comparison]) -> list[Claim]:
    """Plaquettes within their statistical error and the allowance."""
    return [
        Claim(
            f"{row.length}^4 beta {row.beta:g}: plaquette",
            row.mean,
            float(np.hypot(row.error, row.allowance)),
            row.reference,
            row.source,
            "pull<4",
        )
        for row in rows
    ]


def of_hmc(beta: float, by_heatbath: np.ndarray, series: HmcSeries) -> list[Claim]:
    """HMC agrees with the heatbath, and its energy errors average as they must."""
    ours, theirs = gamma_method(series.plaquette), gamma_method(by_heatbath)
    boltzmann = gamma_method(np.exp(-series.energy_change))
    error = float(np.hypot(ours.error, theirs.error))
    name = f"beta {beta:g}: HMC - heatbath, plaquette"
    return [
        Claim(name, ours.mean - theirs.mean, error, 0.0, "exact", "pull<4"),
        Claim(
            f"beta {beta:g}: <exp(-dH)>", boltzmann.mean, boltzmann.error, 1.0, "exact", "pull<4"
        ),
    ]


def of_order(name: str, order: int, measured: float) -> Claim:
    """The order of an integrator's energy error is what it should be."""
    deviation = abs(measured - order)
    return Claim(
        f"dH order of {name}: deviation from {order}",
        deviation,
        None,
        ORDER_DEVIATION,
        "exact",
        "<=",
    )


def of_scale(found: FlowScale, length: int, beta: float, t0: float, t0_error: float) -> Claim:
    """The scale of the gradient flow against the published one."""
    error = float(np.linalg.norm([found.error, t0_error, T0_FINITE_VOLUME]))
    name = f"{length}^4 beta {beta:g}: t0/a^2"
    return Claim(name, found.value, error, t0, "arXiv:1006.4518", "pull<4")


def of_free_energy(name: str, found: FreeEnergy, integral: tuple[float, float]) -> Claim:
    """A free energy against the integral of the plaquette; the claim is their difference."""
    error = float(np.hypot(found.error, integral[1]))
    return Claim(
        f"{name}: log Z ratio - integral", found.value - integral[0], error, 0.0, "exact", "pull<4"
    )
