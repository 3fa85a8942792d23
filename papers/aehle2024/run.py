"""How much energy the gaps see with thicker absorbers: one derivative by all estimators."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep.detector import CommonRandomNumbers, Pathwise
from papers.aehle2024 import toy
from papers.aehle2024.calorimeter import (
    ABSORBER_MM,
    SLABS,
    drawn_deposits,
    gflash,
    mean_deposits,
    mean_derivatives,
)
from papers.aehle2024.config import PRESETS, Config
from papers.aehle2024.flights import Flights
from papers.aehle2024.stages import (
    Estimate,
    Trained,
    close_differences,
    combined,
    estimate,
    fit_law,
    geant4_differences,
    gflash_estimates,
    surrogate_estimates,
    train_events,
)

__all__ = ["PRESETS", "Config", "run"]

GOLDEN = {"abs": (119.8, 1.4), "gap": (-75.0, 0.9)}
"""Derivatives in MeV/mm with errors, of an independent code: a difference of 2.0 and 2.6 mm."""

DEPOSIT = {"abs": 706.0, "gap": 264.6}
"""Mean energies in MeV at 2.3 mm."""

GAP = SLABS.index("gap")

BAR, DEPOSIT_BAR = 0.10, 0.02
LIMIT = "pull<4.5"
"""One false alarm in 1.5e5, were the seed not fixed."""

Estimates = dict[str, list[Estimate]]


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """The toy and the parametrised shower against what is exact, then all against Geant4.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {"has_geant4": np.array(config.n_difference > 0)}
    made = _toy(config, arrays, key=key_for(key, "toy"))
    made += _rehearsal(config, arrays, key=key_for(key, "rehearsal"))
    if config.n_difference:
        made += _against_geant4(config, directory, arrays, key=key_for(key, "geant4"))
    directory.save_data(arrays)
    return made


def _toy(config: Config, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    """The toy: what is unbiased is, and the pathwise derivative misses the decisions."""
    exact = float(toy.exact_derivative(toy.THICKNESS_mm))
    found = {
        name: estimate(estimator, toy.design(), key=key_for(key, name))
        for name, estimator in toy.estimators(config.n_toy, config.n_hybrid).items()
    }
    arrays |= _as_arrays("toy", {name: [one] for name, one in found.items()})
    arrays["toy/exact"] = np.array(exact)
    made = []
    for name, one in found.items():
        if name != "pathwise":
            made.append(Claim(f"toy: {name}", one.value, one.error, exact, "exact", LIMIT))
    blind = found["pathwise"]
    away = abs(blind.value - exact) / blind.error
    made.append(Claim("toy: pathwise, errors off", away, None, 5.0, "exact", ">"))
    if config.n_difference:
        made.append(_flights(config, arrays, key=key_for(key, "flights")))
    return made


def _flights(config: Config, arrays: dict[str, Any], *, key: Key) -> Claim:
    """The toy by free paths, where decisions differ between the materials and where not."""
    made: Estimates = {}
    for name, objective in (("two materials", Flights()), ("one material", Flights(10.0))):
        n = config.n_toy // 4
        kinds = (Pathwise(objective, n), CommonRandomNumbers(objective, step=0.05, n_samples=n))
        made[name] = [estimate(kind, toy.design(), key=key_for(key, name)) for kind in kinds]
    arrays |= _as_arrays("flights", made)
    blind, seeing = made["two materials"]
    away = abs(blind.value - seeing.value) / float(np.hypot(blind.error, seeing.error))
    return Claim("toy by free paths: pathwise, errors off", away, None, 5.0, "peer", ">")


def _rehearsal(config: Config, arrays: dict[str, Any], *, key: Key) -> list[Claim]:
    """The parametrised shower in the place of Geant4: its own derivative is known."""
    calorimeter, at = gflash(), jnp.asarray(ABSORBER_MM)
    exact = np.asarray(mean_derivatives(calorimeter, at))
    (draws,) = gflash_estimates(calorimeter, config, slabs=(GAP,), key=key_for(key, "draws"))
    found: Estimates = {"published law": [draws]}
    thickness, energy = _drawn(config, key=key_for(key, "training"))
    found |= surrogate_estimates(thickness, energy, config, slabs=(GAP,), key=key)
    arrays |= _as_arrays("rehearsal", found) | {"rehearsal/exact": exact}
    return [
        Claim(f"rehearsal: {kind}", one.value, one.error, float(exact[GAP]), "exact", LIMIT)
        for kind, (one,) in found.items()
    ]


def _drawn(config: Config, *, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """Parametrised showers at the thicknesses that a surrogate is trained at."""
    found = [
        drawn_deposits(gflash(), jnp.asarray(a), config.n_rehearsal, key_for(key, f"{a}"))
        for a in config.trained_mm
    ]
    return np.repeat(config.trained_mm, config.n_rehearsal), np.concatenate(found)


def _against_geant4(
    config: Config, directory: RunDir, arrays: dict[str, Any], *, key: Key
) -> list[Claim]:
    """All estimators beside the golden values."""
    differences, mean = geant4_differences(config, key=key)
    trained = train_events(config)
    law = fit_law(trained, config)
    directory.log("fit", 0, chi2=law.chi_squared, n_data=law.n_data)
    fitted = [
        one._replace(
            error=float(np.hypot(one.error, law.derivative_error[slab])), n_geant4=trained.n_events
        )
        for slab, one in enumerate(
            gflash_estimates(law.calorimeter, config, key=key_for(key, "fitted"))
        )
    ]
    found: Estimates = {
        "Geant4, common random numbers": differences,
        **surrogate_estimates(*trained.flat(), config, key=key_for(key, "surrogate")),
        "fitted law": fitted,
        "published law": gflash_estimates(gflash(), config, key=key_for(key, "published")),
    }
    pairs = zip(differences, found["surrogate"], strict=True)
    found["hybrid"] = [combined(*pair) for pair in pairs]
    arrays |= _as_arrays("derivative", found) | close_differences(config)
    arrays |= _means(trained, law.calorimeter, config) | {"mean/at": mean}
    for name, estimates in found.items():
        for slab, one in zip(SLABS, estimates, strict=True):
            directory.log(name, 0, slab=slab, **one._asdict())
    return _deposit_claims(mean) + _derivative_claims(found)


def _deposit_claims(mean: np.ndarray) -> list[Claim]:
    """Geant4's mean energies."""
    made = []
    for (value, error), slab in zip(mean, SLABS, strict=True):
        off, name = abs(value / DEPOSIT[slab] - 1.0), f"Geant4: E_{slab}, deviation"
        made.append(Claim(name, off, error / DEPOSIT[slab], DEPOSIT_BAR, "peer", "<="))
    return made


def _derivative_claims(found: Estimates) -> list[Claim]:
    """Every estimator's deviation from the golden values."""
    made = []
    for slab in reversed(range(len(SLABS))):
        golden = GOLDEN[SLABS[slab]][0]
        for name, estimates in found.items():
            one = estimates[slab]
            off, what = abs(one.value / golden - 1.0), f"{name}: dE_{SLABS[slab]}/da, deviation"
            made.append(Claim(what, off, abs(one.error / golden), BAR, "peer", "<="))
    return made


def _means(trained: Trained, law: Any, config: Config) -> dict[str, np.ndarray]:
    """Mean energies by thickness: of Geant4 with errors, and of both laws."""
    energy = [one.sum(axis=1) for one in trained.deposit_MeV]
    grid = np.linspace(min(config.trained_mm), max(config.trained_mm), 13)

    def curve(calorimeter: Any) -> np.ndarray:
        return np.array([mean_deposits(calorimeter, jnp.asarray(a)) for a in grid])

    return {
        "mean/thickness_mm": np.array(trained.thickness_mm),
        "mean/geant4": np.array([one.mean(axis=0) for one in energy]),
        "mean/error": np.array([one.std(axis=0, ddof=1) / np.sqrt(len(one)) for one in energy]),
        "mean/grid_mm": grid,
        "mean/fitted": curve(law),
        "mean/published": curve(gflash()),
    }


def _as_arrays(group: str, found: Estimates) -> dict[str, np.ndarray]:
    """Estimates, a column a field."""
    return {f"{group}/{name}": np.array(estimates) for name, estimates in found.items()}
