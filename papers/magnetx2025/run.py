"""Transients of a ferrite: the field strength to come, from the flux density and a known start."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffhep.core.rng import key_for
from diffhep.core.run import Claim, RunDir
from diffhep.core.typing import Key, PyTree
from papers.magnetx2025.config import PRESETS, Config
from papers.magnetx2025.stages import (
    UNSEEN,
    Sequences,
    folds_of,
    forecast,
    known_material,
    measured,
    tested,
    trained,
)

__all__ = ["PRESETS", "Config", "run"]

LARGEST_SIZE = 2500
"""Parameters of the task's forecasters."""

BARS = {"mean": 0.065, "95th percentile": 0.15, "largest": 0.35}
"""Of the relative errors of sequences."""

KNOWN_BARS = {"mean": 0.15, "95th percentile": 0.3, "largest": 0.35}
"""Of the known material, after a short training."""

N_BOOTSTRAP = 2000


def run(config: Config, directory: RunDir, *, key: Key) -> list[Claim]:
    """Train on all folds but one, forecast that one.

    Args:
        config: The settings.
        directory: Where the run lives.
        key: The one key that everything random is derived from.

    Returns:
        The claims.
    """
    sequences = measured() if config.measured else known_material(key=key_for(key, "material"))
    first = UNSEEN if config.measured else ()
    fold = folds_of(sequences, config.n_folds, first, key=key_for(key, "folds"))
    members = trained(config, sequences, fold, directory, key=key_for(key, "members"))
    outcome = tested(config, members, sequences, fold)
    for index in range(config.n_tested):
        directory.log("fold", index, error=float(outcome.error[fold == index].mean()))
    directory.save_data(
        {
            "error": outcome.error,
            "member_error": outcome.member_error,
            "forecast": outcome.forecast.astype(np.float32),
            "u": np.asarray(sequences.known.u, np.float32),
            "y": np.asarray(sequences.known.y, np.float32),
            "n_known": sequences.n_known,
            "temperature_C": np.asarray(sequences.known.covariates)[:, 0],
            "fold": fold,
        }
    )
    size = sum(
        leaf[0].size
        for leaf in jax.tree.leaves(
            eqx.filter(eqx.tree_at(lambda one: one.scaling, members, None), eqx.is_inexact_array)
        )
    )
    return [
        Claim("parameters", size, None, LARGEST_SIZE, "target", "<="),
        *_error_claims(config, outcome.error[fold < config.n_tested], key_for(key, "errors")),
        *_fold_claims(config, outcome.error[fold == 0], outcome.member_error),
        _odd_claim(members, sequences),
    ]


def _error_claims(config: Config, error: np.ndarray, key: Key) -> list[Claim]:
    """Figures of the errors of all sequences, their own errors by the bootstrap."""
    rows = np.asarray(jax.random.randint(key, (N_BOOTSTRAP, error.size), 0, error.size))
    figures: dict[str, Any] = {
        "mean": lambda x: np.mean(x, axis=-1),
        "95th percentile": lambda x: np.quantile(x, 0.95, axis=-1),
        "largest": lambda x: np.max(x, axis=-1),
    }
    return [
        Claim(
            f"relative error of a sequence: {name}",
            float(figure(error)),
            None if name == "largest" else float(np.std(figure(error[rows]))),
            (BARS if config.measured else KNOWN_BARS)[name],
            "target",
            "<=",
        )
        for name, figure in figures.items()
    ]


def _fold_claims(config: Config, first: np.ndarray, member_error: np.ndarray) -> list[Claim]:
    """The fold that no setting was chosen on; members alone."""
    if not config.measured:
        return []
    spread = float(np.std(first, ddof=1) / np.sqrt(first.size))
    name = "relative error of a sequence: mean of the first fold"
    alone = float(np.nanmean(member_error))
    return [
        Claim(name, float(first.mean()), spread, BARS["mean"], "target", "<="),
        Claim("mean error of one member alone", alone, None, 0.1383, "peer; LSTM", "<="),
    ]


def _odd_claim(members: PyTree, sequences: Sequences) -> Claim:
    """Whether the forecast changes its sign with the sequence, to rounding."""
    own = jax.tree.map(lambda part: part[0, :1], members)
    n_known = int(sequences.n_known[0])
    part = jax.tree.map(lambda leaf: leaf[:1], sequences.known)
    both = [
        forecast(own, part._replace(u=sign * part.u, y=sign * part.y), n_known)
        for sign in (1.0, -1.0)
    ]
    ratio = float(jnp.max(jnp.abs(both[0] + both[1])) / jnp.max(jnp.abs(both[0])))
    return Claim("|f(-B, -H) + f(B, H)| / max |f|", ratio, None, 1e-5, "exact", "<=")
