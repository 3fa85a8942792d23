"""PYTHIA's shower scale and fragmentation from event shapes, with and without its own weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_at, key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import mine
from diffhep_sbi.io import EVENT_SHAPES
from diffhep_sbi.problems import EeMuMu
from diffhep_sbi.problems.ee_mumu import LARGEST_ASYMMETRY, forward_backward_asymmetry
from papers.pythia_tune import signed, stages
from papers.pythia_tune.config import PRESETS, Config
from papers.pythia_tune.stages import Place

__all__ = ["PRESETS", "Config", "run"]

LEVELS = {"68": (1.0, 0.6827), "95": (3.8415, 0.95)}
"""Drop of twice the log-likelihood, and the coverage of Wilks' interval, of one parameter."""

NUMBER = EVENT_SHAPES.names.index("N_ch")

N_BOOTSTRAP = 200

EDGE = 0.99
"""Of the largest asymmetry: how far the learned ratio of muon pairs goes."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Draw, train, fit.

    Args:
        config: The settings.
        directory: Where the run lives; PYTHIA's runs and all trainings resume there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    arrays: dict[str, Any] = {}
    made = _muons(config, directory, arrays, key_for(key, "muons"))
    for tune in config.tunes:
        place = stages.prepare(tune, config, directory, key_for(key, tune.name))
        fresh = stages.fresh_runs(place)
        made += _closure(place, fresh, arrays)
        made += _final(place, fresh, arrays)
        if tune.curve:
            made += _learning_curves(place, fresh, arrays)
    if config.signed is not None:
        made += signed.claims(config, directory, arrays, key_for(key, "signed"))
    directory.save_data(arrays, {"features": ",".join(EVENT_SHAPES.names)})
    return made


def _muons(config: Config, directory: RunDir, arrays: dict[str, Any], key: Key) -> list[Claim]:
    """Asymmetries of PYTHIA's muon pairs by the ratio learned from the exact program."""
    settings, edge = config.muons, EDGE * LARGEST_ASYMMETRY
    ratio = muon_ratio(config, directory, key)
    found = []
    for index, energy_GeV in enumerate(settings.energies_GeV):
        x = stages.muons(config, directory, energy_GeV, key_at(key_for(key, "pythia"), index))
        truth = forward_backward_asymmetry(energy_GeV)
        fits = stages.fit(ratio, x[None], np.array([truth]), ([-edge], [edge]))
        # The mean of the ratio is known from n_train events only.
        widening = np.sqrt(1.0 + settings.n_events / settings.n_train)
        found.append((float(fits.theta[0, 0]), float(fits.error[0, 0] * widening), truth))
    arrays["muons/energies_GeV"] = np.array(settings.energies_GeV)
    arrays["muons/asymmetries"] = np.array(found)
    return [
        Claim(f"A_FB of muon pairs at {energy:g} GeV", value, error, truth, "exact", "pull<2")
        for energy, (value, error, truth) in zip(settings.energies_GeV, found, strict=True)
    ]


def muon_ratio(config: Config, directory: RunDir, key: Key) -> Any:
    """The ratio of the angle's density at any asymmetry to that at none."""
    settings, edge = config.muons, EDGE * LARGEST_ASYMMETRY
    n = settings.n_train
    theta0 = jax.random.uniform(key, (n, 1), float, minval=-edge, maxval=edge)
    gold = mine(EeMuMu().simulator, theta0, jnp.zeros(1), key=key)
    return stages.trained(
        settings.training or config.training,
        gold,
        settings.method,
        checkpoint=directory.checkpoint("muons"),
        key=key,
        n_members=settings.n_members,
        order=settings.order,
    )


def largest_pull(
    weights: np.ndarray, x: np.ndarray, direct: np.ndarray
) -> tuple[float, np.ndarray]:
    """Deviation of weighted means from those of a run, in standard errors; the largest first."""
    mean = np.average(x, axis=0, weights=weights)
    rows = weights[:, None] / weights.mean() * (x - mean)
    error = np.hypot(rows.std(axis=0) / len(rows) ** 0.5, direct.std(axis=0) / len(direct) ** 0.5)
    pulls = (mean - direct.mean(axis=0)) / error
    return float(np.abs(pulls).max()), pulls


def _closure(place: Place, fresh: list[np.ndarray], arrays: dict[str, Any]) -> list[Claim]:
    """Weighted events of the default tune against runs at the truths."""
    name, made = place.tune.name, []
    for words, default in (("", False), (", PYTHIA's default settings", True)):
        if default and not place.tune.judge_default:
            continue
        table = stages.weighted_to_truths(place, default=default)
        pulls = np.array(
            [
                largest_pull(weights, table.x, x)[1]
                for weights, x in zip(table.weights.T, fresh, strict=True)
            ]
        )
        kind = f"{name}/closure{'_default' if default else ''}"
        arrays[kind] = pulls
        if not default:
            label = f"{name}: largest pull of {pulls.size} weighted means to direct runs"
            made.append(Claim(label, float(np.abs(pulls).max()), None, 4.0, "exact", "<"))
            ones = np.ones(len(table.x))
            plain = [largest_pull(ones, table.x, x)[1] for x in fresh]
            arrays[f"{name}/unweighted"] = np.array(plain)
        if place.tune.judge_default:
            share, error = share_of_shift(table.weights, table.x[:, NUMBER], fresh)
            arrays[f"{kind}_share"] = np.array([share, error])
            label = f"{name}: share of the change of the charged number in the weights{words}"
            rule, bar = ("<", 0.8) if default else ("pull<3", 1.0)
            made.append(Claim(label, share, error, bar, "exact", rule))
    return made


def share_of_shift(
    weights: np.ndarray, x: np.ndarray, fresh: list[np.ndarray]
) -> tuple[float, float]:
    """The slope of weighted changes of a mean against those of runs, error by the bootstrap."""
    rng = np.random.default_rng(0)

    def slope(counts: np.ndarray, means: np.ndarray) -> float:
        start = np.average(x, weights=counts)
        there = counts @ (weights * x[:, None]) / (counts @ weights)
        direct = means - start
        return float((there - start) @ direct / (direct @ direct))

    values = np.array([run[:, NUMBER].mean() for run in fresh])
    errors = np.array([run[:, NUMBER].std() / len(run) ** 0.5 for run in fresh])
    draws = [
        slope(rng.poisson(1.0, x.size), values + errors * rng.standard_normal(values.size))
        for _ in range(N_BOOTSTRAP)
    ]
    return slope(np.ones(x.size), values), float(np.std(draws))


def _final(place: Place, fresh: list[np.ndarray], arrays: dict[str, Any]) -> list[Claim]:
    """The best ratio: its mean, and fits and coverage over experiments of the fresh runs."""
    tune, name = place.tune, place.tune.name
    ratio = stages.trained(
        place.training,
        stages.mined(place, tune.n_final, "final"),
        "alices",
        checkpoint=place.directory.checkpoint(f"{name}-final"),
        key=key_for(place.key, "final training"),
        n_members=4,
    )
    made = _normalisation(place, ratio)
    fits = [
        stages.fit(ratio, stages.experiments(place, x), truth, place.box)
        for x, truth in zip(fresh, place.truths, strict=True)
    ]
    # The mean of the ratio is known from n_final events only: as if the data were fewer.
    widening = 1.0 + tune.n_experiment / tune.n_final
    arrays[f"{name}/truths"] = place.truths
    arrays[f"{name}/theta"] = np.stack([fit.theta for fit in fits])
    arrays[f"{name}/error"] = np.stack([fit.error for fit in fits]) * np.sqrt(widening)
    arrays[f"{name}/drop"] = np.stack([fit.drop for fit in fits]) / widening
    if arrays[f"{name}/theta"].shape[1] > 1:
        for index, parameter in enumerate(tune.parameters):
            made += _estimates(place, parameter, index, arrays)
            made += _coverage(parameter, arrays[f"{name}/drop"][..., index])
    return made


def _normalisation(place: Place, ratio: Any) -> list[Claim]:
    """The mean of the ratio over events of the reference that it has not seen."""
    n, name = place.tune.n_truth, place.tune.name
    x = jnp.asarray(stages.weighted_to_truths(place).x)
    values = np.exp(np.asarray(ratio.log_ratio(x, jnp.asarray(place.truths[0]))))
    error = float(values.std() * np.sqrt(1.0 / n + 1.0 / place.tune.n_final))
    words = f"{name}: mean of the learned ratio over new events of the reference"
    return [Claim(words, float(values.mean()), error, 1.0, "exact", "pull<4")]


def _estimates(place: Place, parameter: str, index: int, arrays: dict[str, Any]) -> list[Claim]:
    """Means of the best fits at every true value, with the errors of fits and of training."""
    name, tune = place.tune.name, place.tune
    theta, at = arrays[f"{name}/theta"][..., index], arrays[f"{name}/truths"][:, index]
    made = []
    for truth in np.unique(at):
        rows = theta[at == truth].ravel()
        spread = rows.std(ddof=1)
        # Spread of the data's mean, and of that of the reference events.
        error = spread * np.sqrt(1.0 / rows.size + tune.n_experiment / tune.n_final)
        words = f"{parameter} = {truth:g}: mean of {rows.size} fits"
        made.append(Claim(words, float(rows.mean()), float(error), float(truth), "exact", "pull<3"))
    return made


def _coverage(parameter: str, drop: np.ndarray) -> list[Claim]:
    """How often the truth lies within Wilks' interval."""
    made = []
    for level, (bar, expected) in LEVELS.items():
        spread = np.sqrt(expected * (1.0 - expected) / drop.size)
        words = f"{parameter}: coverage at {level} % over {drop.size} experiments"
        value = float(np.mean(drop < bar))
        made.append(Claim(words, value, float(spread), expected, "exact", "pull<3"))
    return made


def _learning_curves(place: Place, fresh: list[np.ndarray], arrays: dict[str, Any]) -> list[Claim]:
    """Squared errors of the fits by ratios of few events, with weights and without."""
    tune, name = place.tune, place.tune.name
    sizes = {"carl": tune.curve, "alices": tune.curve[:-1]}
    for method, numbers in sizes.items():
        rows = [
            [_squared_error(place, fresh, method, n, seed) for seed in range(tune.n_seeds)]
            for n in numbers
        ]
        arrays[f"{name}/{method}/n_events"] = np.array(numbers)
        arrays[f"{name}/{method}/squared_error"] = np.array(rows)
    made = []
    for index, n in enumerate(sizes["alices"]):
        better = arrays[f"{name}/alices/squared_error"][index]
        worse = arrays[f"{name}/carl/squared_error"][index + 1]
        value = better.mean() / worse.mean()
        relative = sum(
            row.var(ddof=1) / row.size / row.mean() ** 2 for row in (better, worse) if row.size > 1
        )
        words = f"{name}: squared error of ALICES with {n} events / of CARL with {3 * n}"
        made.append(
            Claim(words, float(value), float(value * relative**0.5), 1.0, "arXiv:1808.00973", "<=")
        )
    return made


def _squared_error(
    place: Place, fresh: list[np.ndarray], method: str, n_events: int, seed: int
) -> float:
    """Of the fits to all experiments, in half-widths of the box, mean over parameters."""
    draw = stages.labelled if method == "carl" else stages.mined
    most = place.tune.curve[-1] if method == "carl" else place.tune.curve[-2]
    key = key_at(key_for(place.key, f"{method} {n_events}"), seed)
    gold = stages.part_of(draw(place, most, method, seed), n_events, key=key)
    label = f"{place.tune.name}-{method}-{n_events}-{seed}"
    ratio = stages.trained(
        place.training, gold, method, checkpoint=place.directory.checkpoint(label), key=key
    )
    errors = []
    for x, truth in zip(fresh, place.truths, strict=True):
        fits = stages.fit(ratio, stages.experiments(place, x), truth, place.box)
        errors.append((fits.theta - truth) / place.half_widths)
    value = float(np.mean(np.square(errors)))
    place.directory.log(label, n_events, squared_error=value)
    return value
