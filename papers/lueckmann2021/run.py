"""Posteriors of the benchmark by ratios, flows and flow matching, against published ones."""

from typing import Any

import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import c2st
from papers.lueckmann2021 import calibration, stages, tasks
from papers.lueckmann2021.config import PRESETS, Config
from papers.lueckmann2021.published import published
from papers.lueckmann2021.tasks import Task

__all__ = ["PRESETS", "Config", "run"]

SOURCE = "arXiv:2101.04653"

LEARNED = 0.95
"""Bar where nothing was published: posteriors that have nothing in common are told apart better."""

INDISTINGUISHABLE = 0.55
"""Bar for two samples of one distribution: six errors of an accuracy on 2000 draws."""

LEAST_P = 0.01
"""Of the ranks of all parameters together, and of the coverage."""

LARGEST_PULL = 4.5
"""Of 40 to 200 numbers of a task: a false alarm in 700 tasks, if draws were independent."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train and test every cell.

    Args:
        config: The settings.
        directory: Where the run lives; every training and every cell resumes there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    made: list[Claim] = []
    arrays: dict[str, Any] = {}
    made_tasks: dict[str, Task] = {}
    for point in config.points:
        seed = key_for(key, point.task)
        task = tasks.build_task(
            point.task, point.n_observations, config.n_samples, config.exact, seed
        )
        made_tasks[point.task] = task
        made.append(_references(task, key_for(key, "exact draws")))
        arrays[f"{point.task}/n_simulations"] = np.array(point.n_simulations)
    rows: dict[str, list[np.ndarray]] = {}
    # The cheap cells of all tasks first.
    for n_simulations in sorted({n for point in config.points for n in point.n_simulations}):
        for point in config.points:
            if n_simulations not in point.n_simulations:
                continue
            for method in point.methods:
                task = made_tasks[point.task]
                found = stages.cell(config, task, n_simulations, method, directory, key)
                rows.setdefault(f"{point.task}/{method}", []).append(found.accuracy)
                made += _claims(point.task, method, n_simulations, found, config)
    arrays |= {name: np.array(found) for name, found in rows.items()}
    for name in config.calibration.problems:
        for row, judged in calibration.judge(config, name, directory, key).items():
            made += [
                Claim(f"{name}, {row}: p-value of {what}", value, None, LEAST_P, "exact", ">=")
                for what, value in judged._asdict().items()
            ]
    directory.save_data(arrays, {"tasks": ",".join(made_tasks)})
    return made


def _references(task: Task, key: Key) -> Claim:
    """Whether the references are posteriors of the likelihood that is written here."""
    if task.name == "two_moons":
        # No gradient at the edge of the crescents: exact draws of our own are compared.
        draws = tasks.exact_draws(task.problem, task.x[0], len(task.references[0]), key)
        value = c2st(task.references[0], np.asarray(draws), key=key_for(key, "test")).accuracy
        name = "two_moons: C2ST of exact draws against the reference"
        return Claim(name, value, None, INDISTINGUISHABLE, "exact", "<=")
    pulls = np.abs(tasks.stein_pulls(task)).max()
    name = f"{task.name}: largest deviation of Stein's identities of the references, in errors"
    return Claim(name, float(pulls), None, LARGEST_PULL, "exact", "<=")


def _claims(
    task: str, method: str, n_simulations: int, found: stages.Cell, config: Config
) -> list[Claim]:
    accuracy = found.accuracy
    error = None
    if accuracy.size > 1:
        error = float(accuracy.std(ddof=1) / np.sqrt(accuracy.size))
    bar = published(task, method, n_simulations) if config.bars else LEARNED
    name = f"{task}, {n_simulations} simulations: {method}"
    claims = [Claim(f"{name}, draws outside the prior", found.n_outside, None, 0.0, "exact", "<=")]
    if bar is not None:
        source = SOURCE if config.bars else "exact"
        claims.append(Claim(f"{name}, C2ST", float(accuracy.mean()), error, bar, source, "<="))
    return claims
