r"""Identification of a Preisach operator by convex least squares, its settings by cross-validation.

The output is $P(u) + \sum_{i,k} w_{ik}S_k(\mathrm{play}_{r_i}(u))$: linear in everything that is
fitted, and with $w\ge0$ a Preisach operator. A major loop does not tell its density apart from
others that have the same loop: settings of equal merit differ in what they say about other inputs,
and that difference is the uncertainty.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.optimize import nnls

from diffhep.core.checks import as_integer, require, require_counts, require_positive, require_shape
from diffhep.magnet.operators.base import as_series
from diffhep.magnet.operators.combine import Parallel
from diffhep.magnet.operators.play import follow
from diffhep.magnet.operators.play_preisach import PlayPreisach, bernstein_integrals
from diffhep.magnet.operators.polynomial import Polynomial

__citations__ = ("doi:10.1007/978-1-4612-4048-8", "arXiv:2202.07747")

N_PLAYS = 165
"""Plays of the operators that are fitted, evenly spaced up to half the input's range."""

_NARROWEST = 0.01
"""Half-width at the first node after 0, in units of the input's range."""

_RIDGE = 1e-6
"""Keeps weights finite that no measurement speaks of; in units of the output's range."""


@dataclass(frozen=True)
class PreisachSettings:
    """What the least squares leave open.

    Attributes:
        degree: Of the polynomial.
        n_basis: Integrated Bernstein polynomials along the mean input of the relays.
        n_nodes: Nodes of the density along their half-width, interpolated between.
        smoothness: Penalty on second differences of the weights along both.
    """

    degree: int
    n_basis: int
    n_nodes: int
    smoothness: float

    def __post_init__(self) -> None:
        require_counts(self, 1, "degree")
        require_counts(self, 2, "n_basis", "n_nodes")
        require_positive(self, "smoothness")


DEFAULT_SETTINGS = tuple(
    itertools.starmap(
        PreisachSettings,
        itertools.product((1, 2, 3, 4, 5), (4, 6, 9), (4, 6, 9), (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
    )
)
"""A grid from stiff to flexible; what suits the data is for cross-validation to say."""


class Prediction(NamedTuple):
    """What the fitted operators say of a series of inputs.

    Attributes:
        mean: Their mean.
        spread: Their standard deviation: what the data left open.
        error: With the error of cross-validation added in quadrature: what to expect of one
            measurement, one standard deviation.
    """

    mean: Float[Array, " time"]
    spread: Float[Array, " time"]
    error: Float[Array, " time"]


class PreisachFit(eqx.Module):
    """Operators that fit about equally well, each with settings of its own.

    Attributes:
        members: The operators, the best by cross-validation first.
        settings: Their settings.
        fold_error: Root mean square error of each on the points left out, in the output's unit.
    """

    members: tuple[Parallel, ...]
    settings: tuple[PreisachSettings, ...] = eqx.field(static=True)
    fold_error: Float[Array, " member"]

    def predict(
        self, u: Float[Array, " time"], history: Float[Array, " past"] | None = None
    ) -> Prediction:
        """Mean and spread of the members.

        Args:
            u: Inputs, one after the other.
            history: Inputs before them, as in the fit.

        Returns:
            The prediction.
        """
        rows = jnp.stack([_run(member, u, history) for member in self.members])
        spread = jnp.std(rows, axis=0)
        return Prediction(
            jnp.mean(rows, axis=0), spread, jnp.sqrt(spread**2 + self.fold_error[0] ** 2)
        )


@eqx.filter_jit
def _run(member: Parallel, u: Array, history: Array | None) -> Array:
    return member(u, state=member.init(u[0], history))[0]


def fit_preisach(
    u: Float[Array, " time"],
    y: Float[Array, " time"],
    *,
    history: Float[Array, " past"] | None = None,
    used: Bool[np.ndarray, " time"] | None = None,
    folds: Int[np.ndarray, " time"] | int = 8,
    settings: Sequence[PreisachSettings] = DEFAULT_SETTINGS,
    n_best: int = 10,
) -> PreisachFit:
    """Preisach operators of the settings that do best in cross-validation.

    Costs the number of settings times (folds + 1) small problems of non-negative least squares, a
    few milliseconds each.

    Args:
        u: All inputs, in the order in which they were applied.
        y: Outputs.
        history: Inputs before the first, from the demagnetised state on.
        used: Which outputs to fit; all by default. The inputs count everywhere.
        folds: Labels of what is left out together, such as the run of each measurement; or into
            how many blocks of consecutive measurements they are cut.
        settings: The candidates.
        n_best: How many of them are kept.

    Returns:
        The operators.

    Raises:
        ConfigError: There is no candidate, or there are too few measurements for the folds.
        DataError: A number is not finite.
        ShapeError: The series are not equally long.
    """
    u, y = as_series(u, "u"), as_series(y, "y")
    require_shape(u.shape == y.shape, "y", f"be as long as `u`, {u.shape[0]}", f"shape {y.shape}")
    chosen = np.arange(u.shape[0]) if used is None else np.flatnonzero(used)
    require(len(settings) > 0, "settings", "hold a candidate", settings)
    as_integer(n_best, "n_best", low=1)
    left_out = _folds(folds, chosen)
    problem = _Problem(u, y, chosen, history)
    errors = [[problem.squares_without(fold, one) for fold in left_out] for one in settings]
    mean = np.sum(errors, axis=1) / chosen.size
    kept = [int(i) for i in np.argsort(mean)[:n_best]]
    degree = max(settings[i].degree for i in kept)
    return PreisachFit(
        tuple(problem.operator(settings[i], degree) for i in kept),
        tuple(settings[i] for i in kept),
        jnp.sqrt(jnp.asarray(mean[kept])),
    )


def _folds(folds: Int[np.ndarray, " time"] | int, chosen: np.ndarray) -> list[np.ndarray]:
    """The measurements that are left out together."""
    if isinstance(folds, np.ndarray):
        labels = folds[chosen]
        parts = [chosen[labels == label] for label in np.unique(labels)]
        rule = "tell at least two groups of the measurements apart"
        require(len(parts) >= 2, "folds", rule, len(parts))
        return parts
    n = as_integer(folds, "folds", low=2)
    rule = f"leave 4 measurements for each of {n} folds"
    require(chosen.size >= 4 * n, "used", rule, chosen.size)
    return np.array_split(chosen, n)


class _Problem:
    """The measurements as linear equations, scaled to ranges of one."""

    def __init__(self, u: Array, y: Array, chosen: np.ndarray, history: Array | None) -> None:
        seen = u if history is None else jnp.append(history, u)
        self.low, self.high = float(jnp.min(seen)), float(jnp.max(seen))
        self.unit = float(jnp.ptp(y[chosen]))
        require(self.low < self.high, "u", "take more than one value", self.low)
        require(self.unit > 0.0, "y", "take more than one value", float(y[0]))
        width = self.high - self.low
        self.radius = width * np.linspace(0.0, 0.5, N_PLAYS + 1)[1:]
        self.u, self.y, self.chosen = np.asarray(u), np.asarray(y) / self.unit, chosen
        plays = np.asarray(_plays(jnp.asarray(self.radius), u, history))
        self.position = (plays - self.low) / width
        self.legendre_at = 2.0 * (self.u - self.low) / width - 1.0
        self.rises: dict[tuple[int, int], np.ndarray] = {}

    def squares_without(self, fold: np.ndarray, settings: PreisachSettings) -> float:
        """Sum of the squared errors on measurements that the fit did not see."""
        rest = np.setdiff1d(self.chosen, fold)
        polynomial, weights = self._solve(rest, settings)
        lines, rises = self._columns(fold, settings)
        residual = lines @ polynomial + rises @ weights - self.y[fold]
        return float(np.sum(residual**2)) * self.unit**2

    def operator(self, settings: PreisachSettings, degree: int) -> Parallel:
        """Of all measurements; the polynomial gets zeros up to a degree, for one compilation."""
        polynomial, weights = self._solve(self.chosen, settings)
        polynomial = np.pad(polynomial, (0, degree + 1 - polynomial.size))
        at_nodes = weights.reshape(settings.n_nodes, settings.n_basis)
        table = self._kernels(settings.n_nodes) @ at_nodes
        return Parallel(
            (
                Polynomial(self.unit * polynomial, self.low, self.high),
                PlayPreisach(self.radius, self.unit * table, self.low, self.high),
            )
        )

    def _solve(self, rows: np.ndarray, settings: PreisachSettings) -> tuple[np.ndarray, np.ndarray]:
        """The polynomial and the weights: the first is free and is projected out."""
        lines, rises = self._columns(rows, settings)
        basis, _ = np.linalg.qr(lines)

        def off(x: np.ndarray) -> np.ndarray:
            return x - basis @ (basis.T @ x)

        y = self.y[rows]
        penalty = self._penalty(settings)
        system = np.concatenate([off(rises), penalty])
        weights, _ = nnls(system, np.append(off(y), np.zeros(len(penalty))), maxiter=20_000)
        polynomial, *_ = np.linalg.lstsq(lines, y - rises @ weights, rcond=None)
        return polynomial, weights

    def _columns(
        self, rows: np.ndarray, settings: PreisachSettings
    ) -> tuple[np.ndarray, np.ndarray]:
        lines = np.polynomial.legendre.legvander(self.legendre_at[rows], settings.degree)
        return lines, self._rises(settings.n_basis, settings.n_nodes)[rows]

    def _rises(self, n_basis: int, n_nodes: int) -> np.ndarray:
        """What each weight adds to the outputs, kept: it is the same for all folds."""
        known = self.rises
        if (n_basis, n_nodes) not in known:
            rises = np.asarray(bernstein_integrals(jnp.asarray(self.position), n_basis))
            mixed = np.einsum("trk,rj->tjk", rises, self._kernels(n_nodes), optimize=True)
            known[n_basis, n_nodes] = mixed.reshape(len(mixed), -1)
        return known[n_basis, n_nodes]

    def _kernels(self, n_nodes: int) -> np.ndarray:
        """Share of each play in each node: hats between nodes that are evenly spaced in the log."""
        width = self.high - self.low
        nodes = width * np.append(0.0, np.geomspace(_NARROWEST, 0.5, n_nodes - 1))
        hats = [np.interp(self.radius, nodes, row) for row in np.eye(n_nodes)]
        return np.stack(hats, axis=1) / np.sum(hats, axis=1)

    def _penalty(self, settings: PreisachSettings) -> np.ndarray:
        """Second differences along both axes, and a little of everything."""
        n = settings.n_nodes * settings.n_basis
        each = np.eye(n).reshape(settings.n_nodes, settings.n_basis, n)
        along = [np.diff(each, 2, axis=axis).reshape(-1, n) for axis in (0, 1)]
        root = np.sqrt(settings.smoothness)
        return np.concatenate([root * along[0], root * along[1], _RIDGE * np.eye(n)])


@jax.jit
def _plays(radius: Array, u: Array, history: Array | None) -> Array:
    """Outputs of all plays at all inputs."""
    seen = u if history is None else jnp.append(history, u)

    def advance(plays: Array, at: Array) -> tuple[Array, Array]:
        plays = follow(radius, plays, at)
        return plays, plays

    return jax.lax.scan(advance, jnp.zeros_like(radius), seen)[1][-u.shape[0] :]
