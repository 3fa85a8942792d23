"""An unbinned measurement with learned ratios of processes, against the exact likelihood."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import Likelihood, coverage, mle, profile
from papers.atlas2024 import stages
from papers.atlas2024.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

PAPER = "arXiv:2412.01600"

STRENGTHS = np.linspace(0.0, 3.0, 31)
"""Along the profile likelihood."""

LEVELS = (0.68, 0.95)

N_POOLS = 20
"""Pools of each size whose effect on the best fit is measured."""

Found = tuple[dict[str, Any], list[Claim]]


class Measurement(NamedTuple):
    """What every part of a run is given."""

    config: Config
    directory: RunDir
    learned: Likelihood
    ratios: dict[str, Any]


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Learn, calibrate, judge; fit, cover, limit.

    Args:
        config: The settings.
        directory: Where the run lives; every training resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    ratios, failures = stages.learn(config.training, directory, key_for(key, "ratios"))
    claims = [Claim("gates that the ratios failed", len(failures), None, 0.0, PAPER, "<=")]
    learned = stages.mixture(stages.pools(config.n_pool, key_for(key, "pool")), ratios)
    given, arrays = Measurement(config, directory, learned, ratios), {}
    for name in ("compare", *config.parts):
        found, made = _PARTS[name](given, key_for(key, name))
        arrays |= found
        claims += made
        directory.log("parts", len(arrays), part=name)
    directory.save_data(arrays)
    return claims


def _compare(given: Measurement, key: Key) -> Found:
    """The same experiments fitted with the exact and with the learned likelihood."""
    data = stages.experiments(1.0, given.config.n_experiments, key)
    exact = stages.fits(stages.exact_likelihood(), data, 1.0)
    found = stages.fits(given.learned, stages.as_terms(stages.channel_of(given.learned), data), 1.0)
    # A best fit at the bound has no error.
    inside = (exact.error > 0) & (found.error > 0)
    spread = exact.strength.std()
    shift, error = _mean((found.strength - exact.strength) / spread)
    pulls = [(f.strength[inside] - 1.0) / f.error[inside] for f in (found, exact)]
    pull, pull_error = _mean(pulls[0] - pulls[1])
    errors = found.error[inside].mean() / exact.error[inside].mean()
    drop = float(np.sqrt(np.mean((found.t - exact.t) ** 2)))
    arrays = {
        "fits/exact": exact.strength,
        "fits/learned": found.strength,
        "fits/t_exact": exact.t,
        "fits/t_learned": found.t,
    }
    bias, bar = given.config.largest_bias, given.config.largest_difference
    claims = [
        Claim("|bias of mu-hat| / its spread", abs(shift), error, bias, "exact", "<="),
        _near_one("spread of mu-hat, learned / exact", found.strength.std() / spread, bar),
        _near_one("mean error of mu-hat, learned / exact", errors, bar),
        Claim("|mean pull, learned - exact|", abs(pull), pull_error, bias, "exact", "<="),
        _near_one("spread of pulls, learned / exact", pulls[0].std() / pulls[1].std(), bar),
        Claim("t of the truth, rms of learned - exact", drop, None, 3.0 * bias, "exact", "<="),
    ]
    return arrays, claims


def _mean(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def _near_one(name: str, value: float, bar: float) -> Claim:
    """A ratio to the exact likelihood, as its distance from 1."""
    return Claim(f"|{name} - 1|", abs(float(value) - 1.0), None, bar, "exact", "<=")


def _gain(name: str, value: float) -> Claim:
    """What is gained over a histogram of one feature."""
    return Claim(name, float(value), None, 1.0, PAPER, ">")


def _profiles(given: Measurement, key: Key) -> Found:
    """Profile likelihoods of one experiment, and of the networks one by one."""
    data = jax.tree.map(lambda leaf: leaf[0], stages.experiments(1.0, 1, key))
    grid, learned = jnp.asarray(STRENGTHS), given.learned
    n_members = given.config.training.n_members
    channels = [stages.single(learned, given.ratios, index) for index in range(n_members)]
    curves = {
        "exact": profile(stages.exact_likelihood(), grid, data).t,
        "learned": profile(learned, grid, stages.as_terms(stages.channel_of(learned), data)).t,
        "members": [profile(learned, grid, stages.as_terms(c, data)).t for c in channels],
    }
    arrays = {f"profile/{name}": np.array(curve) for name, curve in curves.items()}
    return arrays | {"profile/strength": STRENGTHS}, []


def _coverage(given: Measurement, key: Key) -> Found:
    """Neyman's intervals with the learned ratios hold the truth of fresh experiments."""
    config, learned = given.config, given.learned
    claims, rows = [], []
    for index, strength in enumerate(config.strengths):
        own = key_at(key, index)
        data = stages.experiments(strength, config.n_experiments, key_for(own, "experiments"))
        found = coverage(
            learned,
            stages.PROBLEM.reference.at[0].set(strength),
            experiments=stages.as_terms(stages.channel_of(learned), data),
            levels=LEVELS,
            n_toys=config.n_toys,
            key=own,
        )
        rows.append((found.neyman, found.wilks, found.neyman_error))
        given.directory.log("coverage", index, strength=strength, neyman=found.neyman)
        for level, value, error in zip(LEVELS, found.neyman, found.neyman_error, strict=True):
            name = f"coverage at {level:.0%}, mu = {strength:g}"
            claims.append(Claim(name, float(value), float(error), level, "exact", "pull<3"))
    neyman, wilks, error = (np.array(row) for row in zip(*rows, strict=True))
    name = "coverage of Wilks' interval at 68%, mu = 0"
    claims.append(Claim(name, float(wilks[0, 0]), float(error[0, 0]), 0.75, PAPER, ">"))
    # Of fresh experiments at the bound: what Wilks' theorem says of them is chi-squared.
    data = stages.experiments(0.0, config.n_experiments, key_for(key, "bound"))
    bound = stages.fits(learned, stages.as_terms(stages.channel_of(learned), data), 0.0)
    arrays = {
        "strength": np.array(config.strengths),
        "level": np.array(LEVELS),
        "neyman": neyman,
        "wilks": wilks,
        "error": error,
        "bound": bound.t,
    }
    return {f"coverage/{name}": value for name, value in arrays.items()}, claims


def _limits(given: Measurement, key: Key) -> Found:
    """Expected limits and errors without any noise of events: integrals over the densities."""
    exact, binned = stages.exact_likelihood(), stages.histogram()
    # The nodes of the quadrature in place of simulated events.
    integrals = stages.mixture(stages.nodes(), given.ratios)
    sources = {
        "exact": (exact, exact),
        "learned": (given.learned, integrals),
        "histogram": (binned, binned),
    }
    limits, errors, grid = {}, {}, jnp.asarray(STRENGTHS)
    for name, (likelihood, source) in sources.items():
        at = [profile(likelihood, grid, stages.asimov(source, mu)) for mu in (0.0, 1.0)]
        limits[name] = stages.expected_limits(STRENGTHS, np.asarray(at[0].t))
        errors[name] = float(jnp.sqrt(at[1].best.covariance[0, 0]))
    middle = {name: found[len(found) // 2] for name, found in limits.items()}
    bar = given.config.largest_difference
    claims = [
        _near_one("expected limit, learned / exact", middle["learned"] / middle["exact"], bar),
        _near_one("expected error, learned / exact", errors["learned"] / errors["exact"], bar),
        _gain("expected limit, histogram / learned", middle["histogram"] / middle["learned"]),
        _gain("expected error, histogram / learned", errors["histogram"] / errors["learned"]),
    ]
    arrays = {f"limits/{name}": found for name, found in limits.items()}
    return arrays | {f"errors/{name}": np.array(found) for name, found in errors.items()}, claims


def _pools(given: Measurement, key: Key) -> Found:
    """What a finite pool moves all its toys by, in standard deviations of one."""
    sizes, learned = given.config.small_pools, given.learned
    error = float(jnp.sqrt(mle(learned, stages.asimov(learned, 1.0)).covariance[0, 0]))
    shifts = stages.pool_shifts(learned, sizes, N_POOLS, key) / error
    rms = np.sqrt(np.mean(shifts**2, axis=1))
    # Events are independent: the shift falls with the root of their number, to the pool in use.
    used = float(rms[-1] * np.sqrt(sizes[-1] / given.config.n_pool))
    name = "shift of mu-hat by the finite pool / its error"
    claim = Claim(name, used, used / np.sqrt(2 * N_POOLS), 0.1, "exact", "<=")
    return {"pools/size": np.array(sizes), "pools/shift": rms}, [claim]


def _signed(given: Measurement, key: Key) -> Found:
    """Signed weights give what positive ones do, over independent trainings of both."""
    settings, directory = given.config, given.directory
    training = stages.settings_of(settings)
    pairs = np.array(
        [
            stages.signed_pair(settings.signed, training, directory, seed, key)
            for seed in range(settings.signed.n_seeds)
        ]
    )
    mean, error = pairs.mean(axis=0), pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    name = "mu-hat of expected data, signed - positive weights"
    claim = Claim(name, float(mean[0] - mean[1]), float(np.hypot(*error)), 0.0, "exact", "pull<3")
    return {"signed/strengths": pairs}, [claim]


_PARTS = {
    "compare": _compare,
    "profiles": _profiles,
    "coverage": _coverage,
    "limits": _limits,
    "pools": _pools,
    "signed": _signed,
}
