"""Stochastic flows of phi^4 theory beside annealing and plain flows, on exact free energies."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.stats import ess_fraction_with_error, jackknife
from diffhep.core.typing import Key
from diffhep_lattice import crooks, exact, jarzynski
from diffhep_lattice.flows.scalar import ScalarFlow
from diffhep_lattice.samplers.stochastic_flow import FreeEnergy, StochasticFlow
from papers.caselle2022 import defect, stages
from papers.caselle2022.config import PRESETS, Config
from papers.caselle2022.stages import Run, Work

__all__ = ["PRESETS", "Config", "run"]

N_NODES = 7
"""Quadrature nodes per site of the transfer matrix, far more exact than any error here."""

N_BINS = 64
"""Bins of the jackknife over independent trajectories."""

MIN_VOLUMES = 3
"""Lattices from which a power is fitted."""

ERRORS_BELOW = 2.0
"""An exponent is at most one within errors if it is so this many errors below its value."""


class Measured(NamedTuple):
    """One method at one cost: evaluations of a force or coupling, processor seconds, ESS."""

    n_steps: int
    evaluations: float
    seconds: float
    ess: float
    ess_error: float


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train the maps, measure the work of every method, and hold it against exact answers.

    Args:
        config: The settings.
        directory: Where the run lives; every stage resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    at = Run(config, directory, key)
    flows = stages.trained_stochastic(at)
    made = _exact(at, flows[config.main_steps])
    tables = _volumes(at, flows)
    if config.duel_lengths:
        plains = {n: stages.trained_plain(at, n) for n in config.plain_couplings}
        for length in config.duel_lengths:
            made += _duel(at, length, tables, plains)
            made += _free_energies(at, length, max(plains))
    made += _growth(at, tables)
    made += defect.charges(at)
    directory.save_data(
        at.arrays, {"target_ess": config.target_ess, "annealing_ess": config.annealing_ess}
    )
    return made


def _exact(at: Run, flow: StochasticFlow) -> list[Claim]:
    """Free energies both ways and moments on the lattice of the transfer matrix."""
    config, path, shape = at.config, at.config.path, at.config.exact_shape
    truth = exact.phi4(shape, path.mass_squared, path.coupling, n_nodes=N_NODES)
    log_z = truth.log_z - stages.log_z_prior(path, shape)
    ends = stages.equilibrium(at, shape)
    where, made = f"{shape[0]}x{shape[1]}", []
    methods = {
        "stochastic flow": flow,
        "annealing": stages.schedule(path, config.exact_annealing),
    }
    for method, schedule in methods.items():
        name = f"exact-{method.replace(' ', '-')}"
        there = stages.forward(at, f"{name}-there", schedule, shape, config.n_trajectories)
        back = stages.backward(at, f"{name}-back", schedule, ends)
        found = {
            "Jarzynski": jarzynski(there.work),
            "Jarzynski in reverse": _negative(jarzynski(back.work)),
            "Crooks": crooks(there.work, back.work),
        }
        for estimate, value in found.items():
            label = f"{where} {method}: log Z/Z_0, {estimate}"
            made.append(Claim(label, value.value, value.error, log_z, "exact", "pull<4"))
            at.arrays[f"exact/{method}/{estimate}"] = [*value, log_z]
        at.arrays[f"exact/{method}/work"] = there.work
        at.arrays[f"exact/{method}/work back"] = back.work
        for index, moment in enumerate(stages.MOMENTS):
            value, error = _reweighted(there, index)
            reference = getattr(truth, moment)
            label = f"{where} {method}: {moment}"
            made.append(Claim(label, value, error, reference, "exact", "pull<4"))
            at.arrays[f"exact/{method}/{moment}"] = [value, error, reference]
    return made


def _negative(found: FreeEnergy) -> FreeEnergy:
    return FreeEnergy(-found.value, found.error)


def _reweighted(found: Work, index: int) -> tuple[float, float]:
    """Mean of a moment with the weights of the work, and its error."""
    weights = np.exp(found.work.min() - found.work)
    pairs = np.stack([weights * found.moments[:, index], weights], axis=1)
    result = jackknife(pairs, lambda x: x[:, 0].sum() / x[:, 1].sum(), N_BINS)
    return float(result.value), float(result.error)


def _volumes(at: Run, flows: dict[int, StochasticFlow]) -> dict[str, dict[int, list[Measured]]]:
    """Effective sample sizes of both kinds of schedules on every lattice, by number of steps."""
    config = at.config
    tables: dict[str, dict[int, list[Measured]]] = {"stochastic": {}, "annealing": {}}
    costs = {
        "stochastic": config.path.md_steps + 2 * config.training.n_pairs,
        "annealing": config.path.md_steps,
    }
    for volume in config.volumes:
        shape = (volume.length, volume.length)
        for method, table in tables.items():
            rows = []
            for n in getattr(volume, method):
                flow = flows[n] if method == "stochastic" else stages.schedule(config.path, n)
                name = f"{method}-{n}-at-{volume.length}"
                found = stages.forward(at, name, flow, shape, volume.n_trajectories)
                rows.append(_measured(at, n, n * costs[method], found))
                _keep_free_energy(at, volume.length, f"{method} {n}", found)
            table[volume.length] = rows
            if rows:
                at.arrays[f"volume/{volume.length}/{method}"] = rows
    return tables


def _measured(at: Run, n_steps: int, evaluations: float, found: Work) -> Measured:
    key = key_for(at.key, f"bootstrap {n_steps} {evaluations} {found.work.size}")
    ess, error = ess_fraction_with_error(-found.work, key=key)
    return Measured(n_steps, evaluations, found.seconds, float(ess), float(error))


def _duel(
    at: Run,
    length: int,
    tables: dict[str, dict[int, list[Measured]]],
    plains: dict[int, ScalarFlow],
) -> list[Claim]:
    """The stochastic flow against both rivals at as many evaluations and at as many seconds.

    A rival's effective sample size at a cost is interpolated between those measured, in the
    logarithm of the cost, and never below what a cheaper one of its kind reaches; past the
    dearest one nothing is known, and the claim fails.
    """
    rows = []
    for n, flow in plains.items():
        found = stages.plain(at, f"plain-{n}-at-{length}", flow, (length, length))
        rows.append(_measured(at, n, n, found))
        _keep_free_energy(at, length, f"plain {n}", found)
    at.arrays[f"volume/{length}/plain"] = rows
    ours = next(row for row in tables["stochastic"][length] if row.n_steps == at.config.main_steps)
    made = []
    for rival, theirs in (("plain flow", rows), ("annealing", tables["annealing"][length])):
        for cost in ("evaluations", "seconds"):
            ess, error = _ess_at_cost(theirs, cost, getattr(ours, cost))
            made.append(
                Claim(
                    f"L={length} stochastic flow minus {rival} at equal {cost}: ESS",
                    ours.ess - ess,
                    float(np.hypot(ours.ess_error, error)),
                    0.0,
                    "target",
                    ">",
                )
            )
    return made


def _ess_at_cost(rows: Sequence[Measured], cost: str, value: float) -> tuple[float, float]:
    best: list[Measured] = []
    for row in sorted(rows, key=lambda row: getattr(row, cost)):
        best.append(row if not best or row.ess >= best[-1].ess else best[-1])
    at = np.log(sorted(getattr(row, cost) for row in rows))
    found = [
        np.interp(np.log(value), at, [getattr(row, x) for row in best], right=np.nan) for x in _ESS
    ]
    return float(found[0]), float(found[1])


_ESS = ("ess", "ess_error")


def _keep_free_energy(at: Run, length: int, method: str, found: Work) -> None:
    at.arrays[f"free energy/{length}/{method}"] = [*jarzynski(found.work)]


def _free_energies(at: Run, length: int, plain: int) -> list[Claim]:
    """Free energies of a lattice too large to be solved, of three methods, against each other."""
    volume = next(v for v in at.config.volumes if v.length == length)
    rivals = {"annealing": f"annealing {volume.annealing[-1]}", "plain flow": f"plain {plain}"}
    ours = at.arrays[f"free energy/{length}/stochastic {at.config.main_steps}"]
    made = []
    for rival, name in rivals.items():
        theirs = at.arrays[f"free energy/{length}/{name}"]
        made.append(
            Claim(
                f"L={length} log Z/Z_0, Jarzynski: stochastic flow against {rival}",
                ours[0],
                float(np.hypot(ours[1], theirs[1])),
                theirs[0],
                rival,
                "pull<4",
            )
        )
    return made


def _growth(at: Run, tables: dict[str, dict[int, list[Measured]]]) -> list[Claim]:
    """The exponent of the number of steps at a fixed effective sample size, in the volume."""
    made = []
    targets = {"stochastic": at.config.target_ess, "annealing": at.config.annealing_ess}
    for method, table in tables.items():
        found = {length: rows for length, rows in table.items() if len(rows) > 1}
        if len(found) < MIN_VOLUMES:
            continue
        rows = np.array(
            [[length**2, *steps_needed(rows, targets[method])] for length, rows in found.items()]
        )
        exponent, error, scale = power_law(rows)
        at.arrays[f"growth/{method}/steps"] = rows
        at.arrays[f"growth/{method}/fit"] = [exponent, error, scale]
        made.append(
            Claim(
                f"{method}: exponent of the steps at ESS {targets[method]:g} in the volume, "
                f"less {ERRORS_BELOW:g} errors",
                exponent - ERRORS_BELOW * error,
                error,
                1.0,
                "target",
                "<=",
            )
        )
    return made


def steps_needed(rows: Sequence[Measured], target: float) -> tuple[float, float]:
    r"""Number of steps at an effective sample size, and its error.

    $\log(-\log\mathrm{ESS})$ is a straight line in the logarithm of the number of steps where the
    work is normal; it is drawn through the two measurements nearest to the target.

    Args:
        rows: Measurements at two or more numbers of steps.
        target: Effective sample size, as a fraction.

    Returns:
        The number, not an integer, and its standard error.
    """
    goal = np.log(-np.log(target))
    y = np.array([np.log(-np.log(row.ess)) for row in rows])
    near = np.argsort(np.abs(y - goal))[:2]
    x = np.log([rows[i].n_steps for i in near])
    spread = np.array([rows[i].ess_error / (rows[i].ess * -np.log(rows[i].ess)) for i in near])
    y = y[near]
    fraction = (goal - y[0]) / (y[1] - y[0])
    slope = (x[1] - x[0]) / (y[1] - y[0])
    log_n = x[0] + fraction * (x[1] - x[0])
    error = abs(slope) * np.hypot((1 - fraction) * spread[0], fraction * spread[1])
    return float(np.exp(log_n)), float(np.exp(log_n) * error)


def power_law(rows: np.ndarray) -> tuple[float, float, float]:
    """Weighted straight line through logarithms.

    Args:
        rows: Abscissa, ordinate and its error, one row each, three rows at least.

    Returns:
        Exponent, its error, widened where the points scatter by more than their errors, and
        the factor in front.
    """
    x, y = np.log(rows[:, 0]), np.log(rows[:, 1])
    weights = rows[:, 1] / rows[:, 2]
    design = np.stack([x, np.ones_like(x)], axis=1) * weights[:, None]
    covariance = np.linalg.inv(design.T @ design)
    best = covariance @ design.T @ (weights * y)
    chi_squared = np.sum((design @ best - weights * y) ** 2) / (len(x) - 2)
    error = np.sqrt(covariance[0, 0] * max(chi_squared, 1.0))
    return float(best[0]), float(error), float(np.exp(best[1]))
