"""The estimates: of the toy, of the parametrised shower alone, and against Geant4."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector import (
    AbstractGradientEstimator,
    AbstractScoredObjective,
    AbstractSurrogate,
    CommonRandomNumbers,
    Design,
    GradientEstimate,
    MomentRegression,
    Pathwise,
    ScoreFunction,
    SurrogateGradient,
)
from diffhep.detector.calorimeter import GflashCalorimeter
from diffhep.detector.showers import fit_parameters
from diffhep.detector.surrogates import Ensemble
from papers.aehle2024.calorimeter import (
    ABSORBER_MM,
    SEED,
    SLABS,
    Geant4Deposit,
    GflashDeposit,
    as_sample,
    design,
    gflash,
    mean_derivatives,
    simulate,
)
from papers.aehle2024.config import Config

SIDE_MM = 0.3
"""Distance of either side of the difference: 2.0 and 2.6 mm, as of the golden values."""

NAME = "absorber_mm"


class Estimate(NamedTuple):
    """A derivative by one estimator.

    Attributes:
        value: In MeV/mm.
        error: Its standard error, of Geant4's events and of the estimator's own draws together.
        n_geant4: Geant4 events that it took.
        n_own: Draws of a law or surrogate that it took.
        own_variance: Of one draw.
        own_s: Processor seconds of all draws, their compilation not counted.
    """

    value: float
    error: float
    n_geant4: int = 0
    n_own: int = 0
    own_variance: float = 0.0
    own_s: float = 0.0


@eqx.filter_jit
def _call(estimator: AbstractGradientEstimator, at: Design, key: Key) -> GradientEstimate:
    return estimator(at, key=key)


def estimate(estimator: AbstractGradientEstimator, at: Design, *, key: Key) -> Estimate:
    """Call an estimator, and again for the time it takes.

    Args:
        estimator: Any that simulates by itself.
        at: The design.
        key: Random key.

    Returns:
        The derivative; `n_own` counts simulations.
    """
    found = jax.block_until_ready(_call(estimator, at, key))
    begin = time.process_time()
    jax.block_until_ready(_call(estimator, at, key))
    spent = time.process_time() - begin
    value, error = float(found.gradient[NAME]), float(found.standard_error[NAME])
    n = int(found.n_simulations)
    return Estimate(value, error, 0, n, error**2 * n, spent)


class SurrogateDeposit(eqx.Module):
    """A surrogate's energy in one kind of slab."""

    surrogate: AbstractSurrogate
    slab: int = eqx.field(static=True)

    def __call__(self, design: Design, key: Key) -> Scalar:
        """One draw.

        Args:
            design: With `absorber_mm`.
            key: Random key.

        Returns:
            MeV.
        """
        noise = jax.random.normal(key, (len(SLABS),))
        return self.surrogate.draw(design[NAME][None], noise)[self.slab]


class SurrogateScored(AbstractScoredObjective):
    """The same by the surrogate's density."""

    surrogate: AbstractSurrogate
    slab: int = eqx.field(static=True)

    def draw(self, design: Design, key: Key) -> Float[Array, " slab"]:
        """See `AbstractScoredObjective.draw`."""
        return self.surrogate.draw(design[NAME][None], jax.random.normal(key, (len(SLABS),)))

    def log_prob(self, design: Design, outcome: Float[Array, " slab"]) -> Scalar:
        """See `AbstractScoredObjective.log_prob`."""
        return self.surrogate.log_density(design[NAME][None], outcome)

    def value(self, design: Design, outcome: Float[Array, " slab"]) -> Scalar:
        """See `AbstractScoredObjective.value`."""
        del design
        return outcome[self.slab]


def surrogate_estimates(
    thickness_mm: np.ndarray,
    energy_MeV: np.ndarray,
    config: Config,
    *,
    slabs: Sequence[int] = (0, 1),
    key: Key,
) -> dict[str, list[Estimate]]:
    """Moment regression of events: its gradient along the path, and by its density.

    Args:
        thickness_mm: Of each event.
        energy_MeV: By event and slab.
        config: The settings.
        slabs: Whose derivative is wanted.
        key: Random key.

    Returns:
        For both estimators, an estimate a slab; the errors are those of fits to events drawn again
        and of the draws.
    """
    events = (thickness_mm[:, None], energy_MeV)
    surrogate = MomentRegression().fit(*events, key=key)
    ensemble = Ensemble(member=MomentRegression(), n_members=config.n_members)
    ensemble = ensemble.fit(*events, key=key_for(key, "ensemble"))
    made: dict[str, list[Estimate]] = {"surrogate": [], "score function": []}
    n = len(thickness_mm)
    for slab in slabs:
        whole = estimate(
            SurrogateGradient(ensemble, _MeanOf(slab), 2), design(), key=key_for(key, f"all {slab}")
        )
        path = estimate(
            Pathwise(SurrogateDeposit(surrogate, slab), config.n_showers),
            design(),
            key=key_for(key, f"surrogate {slab}"),
        )
        score = estimate(
            ScoreFunction(SurrogateScored(surrogate, slab), config.n_showers),
            design(),
            key=key_for(key, f"score function {slab}"),
        )
        found = path._replace(value=whole.value, error=whole.error, n_geant4=n)
        made["surrogate"].append(found)
        error = float(np.hypot(score.error, whole.error))
        made["score function"].append(score._replace(error=error, n_geant4=n))
    return made


class _MeanOf(NamedTuple):
    """The mean energy in one kind of slab, of a sample of outcomes."""

    slab: int

    def __call__(self, outcomes: Float[Array, "event slab"]) -> Scalar:
        """The mean in MeV."""
        return jnp.mean(outcomes[:, self.slab])


def gflash_estimates(
    calorimeter: GflashCalorimeter, config: Config, *, slabs: Sequence[int] = (0, 1), key: Key
) -> list[Estimate]:
    """The parametrised shower's derivative along the path, by its draws.

    Args:
        calorimeter: With the parameters of the law.
        config: The settings.
        slabs: Whose derivative is wanted.
        key: Random key.

    Returns:
        An estimate a slab.
    """
    return [
        estimate(
            Pathwise(GflashDeposit(calorimeter, slab), config.n_showers),
            design(),
            key=key_for(key, f"gflash {slab}"),
        )
        for slab in slabs
    ]


class Trained(NamedTuple):
    """Geant4's events at the thicknesses that are trained with.

    Attributes:
        thickness_mm: Of the series.
        deposit_MeV: Of each, by event, layer and slab.
    """

    thickness_mm: tuple[float, ...]
    deposit_MeV: list[np.ndarray]

    @property
    def n_events(self) -> int:
        """Of all series."""
        return sum(map(len, self.deposit_MeV))

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """Thickness and slabs' energies of every event."""
        n = [len(one) for one in self.deposit_MeV]
        energy = np.concatenate([one.sum(axis=1) for one in self.deposit_MeV])
        return np.repeat(self.thickness_mm, n), energy


def train_events(config: Config) -> Trained:
    """Simulate the events that are trained with, or read them from the cache.

    Args:
        config: The settings.

    Returns:
        The events; every series has a seed of its own.
    """
    series = enumerate(config.trained_mm, SEED + 1)
    deposits = [simulate(a, config.n_training, seed) for seed, a in series]
    return Trained(config.trained_mm, deposits)


class FittedLaw(NamedTuple):
    """The parametrised shower after a fit.

    Attributes:
        calorimeter: With the fitted parameters.
        derivative_error: Standard errors of its mean derivatives, by leaving groups of events out.
        chi_squared: Of the fit.
        n_data: Numbers that were fitted.
    """

    calorimeter: GflashCalorimeter
    derivative_error: np.ndarray
    chi_squared: float
    n_data: int


def fit_law(trained: Trained, config: Config) -> FittedLaw:
    """Fit the parametrised shower to events, and once more without each group of them.

    Args:
        trained: The events.
        config: The settings.

    Returns:
        The law.
    """

    def fitted(deposits: Sequence[np.ndarray]) -> Any:
        samples = [as_sample(*one) for one in zip(trained.thickness_mm, deposits, strict=True)]
        return fit_parameters(samples, max_steps=config.fit_steps)

    whole, n = fitted(trained.deposit_MeV), config.n_groups
    at = jnp.asarray(ABSORBER_MM)
    without = []
    for group in range(n):
        kept = [one[np.arange(len(one)) % n != group] for one in trained.deposit_MeV]
        without.append(mean_derivatives(gflash(fitted(kept).parameters), at))
    error = np.sqrt((n - 1) * np.var(without, axis=0))
    return FittedLaw(gflash(whole.parameters), error, float(whole.chi_squared), whole.n_data)


def geant4_differences(config: Config, *, key: Key) -> tuple[list[Estimate], np.ndarray]:
    """Differences of Geant4's events with common seeds.

    Args:
        config: The settings.
        key: Random key.

    Returns:
        An estimate a slab, and Geant4's mean energies with their errors.
    """
    made, mean = [], []
    for slab in range(len(SLABS)):
        estimator = CommonRandomNumbers(
            Geant4Deposit(slab), step=SIDE_MM / ABSORBER_MM, n_samples=config.n_difference
        )
        found = _call(estimator, design(), key)
        value, error = float(found.gradient[NAME]), float(found.standard_error[NAME])
        made.append(Estimate(value, error, int(found.n_simulations)))
        mean.append((float(found.value), float(found.value_error)))
    return made, np.array(mean)


def close_differences(config: Config) -> dict[str, np.ndarray]:
    """How much common random numbers help: differences over a small and a large distance.

    Args:
        config: The settings.

    Returns:
        By distance: correlation of the gap's energies, and the derivative with its error.
    """
    sides = (config.close_mm, SIDE_MM)
    correlation, slope, error = [], [], []
    for side in sides:
        n = config.n_close if side == config.close_mm else config.n_difference
        low, high = (
            simulate(ABSORBER_MM + sign * side, n, SEED)[:, :, 1].sum(axis=1) for sign in (-1, 1)
        )
        difference = (high - low) / (2.0 * side)
        correlation.append(np.corrcoef(low, high)[0, 1])
        slope.append(difference.mean())
        error.append(difference.std(ddof=1) / np.sqrt(n))
    rows = (sides, correlation, slope, error)
    names = ("side_mm", "correlation", "slope", "error")
    return {f"close/{name}": np.array(row) for name, row in zip(names, rows, strict=True)}


def combined(one: Estimate, two: Estimate) -> Estimate:
    """The hybrid of two estimates from independent Geant4 events, with the least variance.

    Args:
        one: An estimate.
        two: Another one.

    Returns:
        Their weighted mean.
    """
    weight = two.error**2 / (one.error**2 + two.error**2)
    value = weight * one.value + (1.0 - weight) * two.value
    error = one.error * two.error / np.hypot(one.error, two.error)
    return Estimate(value, float(error), one.n_geant4 + two.n_geant4, one.n_own + two.n_own)
