"""Cross-entropy with the joint ratio in place of labels: the same minimum, a smaller variance."""

from typing import Any

import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key
from diffhep_sbi import mine
from papers.brehmer2018 import stages as shared
from papers.brehmer2018.stages import Place
from papers.stoye2018 import stages
from papers.stoye2018.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

PAPER = "arXiv:1808.00973"

PAIRS = (
    ("alice", "carl"),
    ("alice", "rolr"),
    ("alices", "cascal"),
    ("alices", "rascal"),
    ("alices", "alice"),
)
"""Which method's mean square error is to be no larger than which other's."""


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Compare gradients, train, compare errors.

    Args:
        config: The settings.
        directory: Where the run lives; every training resumes from its checkpoint there.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    claims: list[Claim] = []
    arrays: dict[str, Any] = {}
    for point in config.points:
        test = (config.n_test, config.n_thetas)
        place = shared.prepare(point, test, directory, key_for(key, point.problem))
        for part in (_gradients, _errors):
            found, made = part(place, config)
            arrays |= {f"{point.problem}/{name}": value for name, value in found.items()}
            claims += made
    directory.save_data(arrays, {"problems": ",".join(point.problem for point in config.points)})
    return claims


def _gradients(place: Place, config: Config) -> tuple[dict[str, Any], list[Claim]]:
    """Means and variances of the gradients at the exact ratio, half the box away."""
    name = place.point.problem
    theta0 = place.theta1.at[0].add(0.5 * place.point.half_width)
    n_events, key = config.n_gradients, key_for(place.key, "gradients")
    gold = mine(place.problem.simulator, theta0, place.theta1, n_events=n_events, key=key)
    found = {m: np.asarray(stages.gradients(place, gold, m)) for m in ("carl", "alice")}
    claims = [
        Claim(f"{name}: mean gradient of {method}", *_mean(values), 0.0, "exact", "pull<4")
        for method, values in found.items()
    ]
    squares = {method: values**2 for method, values in found.items()}
    ratio = float(squares["alice"].mean() / squares["carl"].mean())
    claims.append(Claim(f"{name}: gradient variance of alice / carl", ratio, None, 1.0, PAPER, "<"))
    # The variance of labels is that of joint ratios and what is left given the history.
    excess = _mean(squares["carl"] - squares["alice"] - stages.spread_left(gold))
    rest = f"{name}: gradient variance of carl - alice - labels given histories"
    claims.append(Claim(rest, *excess, 0.0, "exact", "pull<4"))
    variances = {f"variance/{method}": values.mean() for method, values in squares.items()}
    return variances, claims


def _mean(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def _errors(place: Place, config: Config) -> tuple[dict[str, Any], list[Claim]]:
    """Mean square error of log r of every method against the number of events."""
    arrays: dict[str, Any] = {"n_events": np.array(config.training.n_events)}
    for method in place.point.methods:
        arrays[f"{method}/errors"] = shared.learning_curve(place, config.training, method)[0]
    known = set(place.point.methods)
    pairs = [pair for pair in PAIRS if set(pair) <= known]
    return arrays, [shared.compare(place, arrays, pair, 1.0, PAPER) for pair in pairs]
