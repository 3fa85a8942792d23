"""Parametrised showers against Geant4: with the published numbers, and with fitted ones."""

from typing import NamedTuple

import numpy as np

from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.detector.showers import (
    GflashParameters,
    ShowerSample,
    fit_parameters,
    visible_fraction,
)
from diffhep.detector.showers.fitting import predict
from papers.grindhammer1993.checks import closed_form
from papers.grindhammer1993.config import PRESETS, Config
from papers.grindhammer1993.showers import (
    SETUPS,
    Observed,
    Setup,
    _n_seen,
    _radius_mm,
    as_sample,
    observe,
    simulate,
)

__all__ = ["PRESETS", "Config", "run"]

BARS = {"published": (0.10, 0.15, 0.15), "fitted": (0.03, 0.03, 0.03)}
"""Allowed deviation of the profile, the radius and the resolution."""


FIT_STEPS = 20
RINGS_APART = 4
"""Distance of the rings that are fitted, past the first two of it: neighbours say the same."""


class Miss(NamedTuple):
    """How far a law is from Geant4; each with the standard error that Geant4's events leave.

    Attributes:
        profile: Sum of the absolute deviations of the layers' shares.
        radius: Relative deviation of the 68 % radius.
        resolution: Relative deviation of sigma/E.
        errors: Of the three.
        chi_squared: Of the profile, by layer.
    """

    profile: float
    radius: float
    resolution: float
    errors: tuple[float, float, float]
    chi_squared: float


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Check the sampling in closed form, then compare with Geant4 where energies are given.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made = closed_form(config, key=key)
    arrays: dict[str, np.ndarray] = {"energy_GeV": np.array(config.energies_GeV)}
    for setup in SETUPS:
        claims, found = _compare(setup, config, directory)
        made += claims
        arrays |= found
    directory.save_data(arrays)
    return made


def _compare(
    setup: Setup, config: Config, directory: RunDir
) -> tuple[list[Claim], dict[str, np.ndarray]]:
    """One calorimeter at all energies."""
    seen: list[Observed] = []
    samples: list[ShowerSample] = []
    for energy_GeV, n_events in zip(config.energies_GeV, config.n_events, strict=True):
        deposit = simulate(setup, energy_GeV, n_events, config.geant4_seed)
        seen.append(observe(setup, deposit, 1e3 * energy_GeV))
        samples.append(as_sample(setup, deposit, 1e3 * energy_GeV))
    if not samples:
        return [], {}
    fit = fit_parameters([_thinned(sample) for sample in samples], max_steps=FIT_STEPS)
    directory.log("fit", 0, setup=setup.name, chi2=float(fit.chi_squared), n_data=fit.n_data)
    laws = {"published": GflashParameters(), "fitted": fit.parameters}
    arrays = _observed_arrays(setup, seen)
    made = []
    for law, parameters in laws.items():
        predicted = [_predict(setup, parameters, sample) for sample in samples]
        misses = [_miss(a, b) for a, b in zip(predicted, seen, strict=True)]
        for energy_GeV, miss in zip(config.energies_GeV, misses, strict=True):
            directory.log(law, 0, setup=setup.name, energy_GeV=energy_GeV, **_flat(miss))
        made += _claims(setup, law, misses)
        for name in ("share", "radius_mm", "resolution", "inside"):
            arrays[f"{setup.name}/{law}/{name}"] = np.array([getattr(a, name) for a in predicted])
        arrays[f"{setup.name}/{law}/chi2"] = np.array([miss.chi_squared for miss in misses])
    return made, arrays


def _thinned(sample: ShowerSample) -> ShowerSample:
    """A sample with fewer radii; the last, to which the shares are normalised, stays."""
    ring = np.arange(sample.radius.size)
    kept = (ring < 2 * RINGS_APART) | (ring % RINGS_APART == RINGS_APART - 1)
    kept[-1] = True
    return sample._replace(
        radius=sample.radius[kept],
        inside=sample.inside[kept] / sample.inside[kept][-1],
        inside_error=sample.inside_error[kept],
    )


def _flat(miss: Miss) -> dict[str, float]:
    """For the metrics."""
    return {
        name: getattr(miss, name) for name in ("profile", "radius", "resolution", "chi_squared")
    }


def _observed_arrays(setup: Setup, seen: list[Observed]) -> dict[str, np.ndarray]:
    """What Geant4 says, by energy."""
    return {
        f"{setup.name}/geant4/{name}": np.array([getattr(one, name) for one in seen])
        for name in Observed._fields
    }


def _predict(setup: Setup, parameters: GflashParameters, sample: ShowerSample) -> Observed:
    """The same of a law, without errors."""
    said = predict(parameters, sample)
    share, inside = np.asarray(said.share), np.asarray(said.inside)
    n = _n_seen(setup)
    resolution = float(said.spread[n - 1]) / share[:n].sum()
    radius = _radius_mm(setup, np.diff(inside, prepend=0.0))
    none = np.zeros_like
    visible = float(visible_fraction(setup.calorimeter.parameters, sample.medium))
    return Observed(share, none(share), inside, none(inside), radius, 0.0, resolution, 0.0, visible)


def _miss(law: Observed, geant4: Observed) -> Miss:
    """A law against Geant4."""
    difference = law.share - geant4.share
    used = geant4.share_error > 0.0
    return Miss(
        float(np.abs(difference).sum()),
        float(abs(law.radius_mm / geant4.radius_mm - 1.0)),
        float(abs(law.resolution / geant4.resolution - 1.0)),
        (
            float(np.sqrt(np.sum(geant4.share_error**2))),
            geant4.radius_error_mm / geant4.radius_mm,
            geant4.resolution_error / geant4.resolution,
        ),
        float(np.mean((difference[used] / geant4.share_error[used]) ** 2)),
    )


def _claims(setup: Setup, law: str, misses: list[Miss]) -> list[Claim]:
    """The worst energy of each quantity."""
    made = []
    for index, what in enumerate(("profile", "radius of 68 %", "sigma/E")):
        values = [(miss.profile, miss.radius, miss.resolution)[index] for miss in misses]
        worst = int(np.argmax(values))
        name = f"{setup.name}, {law}: {what}, deviation"
        error, bar = misses[worst].errors[index], BARS[law][index]
        made.append(Claim(name, values[worst], error, bar, "Geant4", "<="))
    return made
