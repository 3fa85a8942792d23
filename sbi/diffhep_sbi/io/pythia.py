"""PYTHIA as a source of gold: joint ratios from the weights of its shower and fragmentation.

Reference:
    C. Bierlich et al., SciPost Phys. Codebases 8 (2022), arXiv:2203.11601; S. Mrenna, P. Skands,
    arXiv:1605.08352, for the weights of the shower; C. Bierlich et al., arXiv:2308.13459, for those
    of the fragmentation.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require, require_shape
from diffhep.core.rng import check_key, key_for
from diffhep.core.typing import Key
from diffhep_sbi.gold import Gold, require_finite_events
from diffhep_sbi.io.particles import Features, featurise
from diffhep_sbi.io.pythia_process import Job, Output, generate, load_pythia
from diffhep_sbi.io.table import WeightTable, require_finite_weights

__citations__ = ("arXiv:2203.11601", "arXiv:1605.08352", "arXiv:2308.13459")

CLOSING = (
    "UncertaintyBands:muSoftCorr = off",
    "UncertaintyBands:FSRpTmin2Fac = 0",
    "UncertaintyBands:deltaAlphaSmax = 1",
    "UncertaintyBands:overSampleFSR = 10",
    "VariationFrag:zHead = 4",
)
"""Settings with which the weights are ratios of PYTHIA's own densities; those given later win.

By default PYTHIA compensates a variation of fsr:muRfac for soft gluons, leaves soft branchings as
they are and bounds the change of the coupling: right for an uncertainty, but no run has those
densities. Its fragmentation draws z below the maximum of its own function, where that of a
variation may lie above it: there must be room. More room makes weights vary less: of 1000 events at
fsr:muRfac = 1 weights to 0.85 leave 410 by default and 560 with these.
"""

_BLOCK = 5000
"""Events of one run: enough to make up for PYTHIA's start, a sixth of a second."""

_LARGEST_SEED = 900_000_000

_DIGITS = 6
"""Significant digits of a parameter. PYTHIA tells variations apart by their text."""


class Parameter(NamedTuple):
    """How a parameter is set for a run, and how it is varied by weights.

    Attributes:
        setting: What a run is set by; None where there is no such setting.
        start: Its value in PYTHIA's default tune.
        power: The setting is this power of the parameter.
        is_relative: Whether a variation is given by its ratio to the value of the run.
        is_shower: Whether it belongs to the shower, else to the fragmentation.
    """

    setting: str | None
    start: float
    power: float = 1.0
    is_relative: bool = False
    is_shower: bool = False


PARAMETERS = {
    "fsr:muRfac": Parameter("TimeShower:renormMultFac", 1.0, 2.0, True, True),
    "fsr:cNS": Parameter(None, 0.0, is_shower=True),
    "frag:aLund": Parameter("StringZ:aLund", 0.68),
    "frag:bLund": Parameter("StringZ:bLund", 0.98),
    "frag:ptSigma": Parameter("StringPT:sigma", 0.335),
    "frag:rho": Parameter("StringFlav:probStoUD", 0.217),
}
"""What can be mined, by PYTHIA's names for the variations."""


class PythiaSimulator(NamedTuple):
    """PYTHIA with some of its parameters free.

    Attributes:
        settings: Lines as PYTHIA reads them: beams, process, and what else is fixed.
        parameters: Names of `PARAMETERS` that make up theta, in this order.
        features: What is kept of an event.
        n_processes: Runs side by side; what is drawn does not depend on it.
        cache: A folder in which features and weights of finished runs of 5000 events are kept,
            with a checksum; None for none.
    """

    settings: tuple[str, ...]
    parameters: tuple[str, ...]
    features: Features
    n_processes: int = 1
    cache: Path | None = None

    @property
    def start(self) -> Float[np.ndarray, " param"]:
        """Theta of PYTHIA's default tune."""
        return np.array([self._parameter(name).start for name in self.parameters])

    def table(
        self, theta: Any, points: Any = (), *, n_events: int = 10_000, key: Key
    ) -> WeightTable:
        r"""Events at theta, with weights that take them to other points.

        The weight of event i at point k is the joint ratio
        $p(z_i|\theta_k)/p(z_i|\theta)$ of its history z, as PYTHIA computes it when it draws
        the event. It may be negative (fsr:cNS).

        Args:
            theta: Parameters of the run, shape (param,).
            points: Where weights are wanted, shape (point, param).
            n_events: Events.
            key: Random key; seeds follow from it.

        Returns:
            Features, and one weight a point.

        Raises:
            ConfigError: PYTHIA is not installed or refuses the settings; a parameter is not known
                or has no setting.
            ShapeError: Parameters or points have another shape.
            DataError: A feature or weight is not finite, or PYTHIA gives up.
        """
        check_key(key)
        load_pythia()
        n_events = as_integer(n_events, "n_events", low=1)
        at = self._points(theta, "theta", 1)
        others = self._points(points, "points", 2)
        jobs = self._jobs(at, others, n_events, key)
        found = self._run(jobs)
        x, weights = (np.concatenate(rows) for rows in zip(*found, strict=True))
        names = tuple(
            " ".join(f"{name}={value:g}" for name, value in zip(self.parameters, row, strict=True))
            for row in others
        )
        require_finite_events(x)
        require_finite_weights(weights, names, "PYTHIA")
        return WeightTable(x, weights, names, self.features.names)

    def mine(
        self,
        theta0: Any,
        theta1: Any,
        *,
        n_events: int = 10_000,
        n_copies: int = 4,
        steps: Any = None,
        key: Key,
    ) -> Gold:
        r"""Gold of one run at theta1, by the weights at points theta0.

        Every event is taken at `n_copies` of the points, once with label 1, and once with label 0
        and the joint ratio $r = p(z|\theta_0)/p(z|\theta_1)$ as its weight: the same mean over
        events of $\theta_0$ as from a run there. The joint score is
        $\frac{r(\theta_0 + h) - r(\theta_0 - h)}{2 h\,r(\theta_0)}$: its mean is the
        difference of the densities, though $\log r$ has kinks in the parameters of the string.

        Args:
            theta0: Numerators, shape (point, param); all are mined in one run.
            theta1: Denominator, shape (param,).
            n_events: Events that PYTHIA draws, in all.
            n_copies: Points at which each is taken; at most all.
            steps: h, shape (param,); no score where left out.
            key: Random key.

        Returns:
            Gold of `2 n_copies n_events` rows; copies of an event share its number. Where weights
            are not all positive, `log_ratio` and `score` are None and the weights have signs.

        Raises:
            ConfigError, ShapeError, DataError: As for `table`.
        """
        first = self._points(theta0, "theta0", 2)
        at = self._points(theta1, "theta1", 1)
        n_points = len(first)
        n_copies = as_integer(n_copies, "n_copies", low=1)
        require(n_copies <= n_points, "n_copies", f"be at most the {n_points} points", n_copies)
        points = first if steps is None else _with_neighbours(first, self._steps(steps))
        table = self.table(at, points, n_events=n_events, key=key)
        shape = (table.weights.shape[0], n_points)
        order = np.argsort(np.asarray(jax.random.uniform(key_for(key, "copies"), shape)), axis=1)
        event, column = np.repeat(np.arange(shape[0]), n_copies), order[:, :n_copies].ravel()
        ratio = table.weights[event, column]
        mined = bool(np.all(ratio > 0.0))
        score = None
        if steps is not None and mined:
            score = _scores(table.weights, points, n_points)[event, column]
        both = np.tile(event, 2)
        return Gold(
            x=jnp.asarray(table.x[both]),
            log_ratio=jnp.asarray(np.tile(np.log(ratio), 2)) if mined else None,
            score=None if score is None else jnp.asarray(np.tile(score, (2, 1))),
            weight=jnp.asarray(np.concatenate([ratio, np.ones_like(ratio)])),
            event_id=jnp.asarray(both),
            theta0=jnp.asarray(np.tile(first[column], (2, 1))),
            theta1=jnp.broadcast_to(jnp.asarray(at), (both.size, at.size)),
            label=jnp.repeat(jnp.arange(2), event.size),
        )

    def draw(self, theta0: Any, theta1: Any, *, n_events: int = 10_000, key: Key) -> Gold:
        """Events with labels alone: half from runs at the points theta0, half from one at theta1.

        Args:
            theta0: Numerators, shape (point, param); each has its own run.
            theta1: Denominator, shape (param,).
            n_events: Events that PYTHIA draws, in all; rounded down to what the points share.
            key: Random key.

        Returns:
            Gold without joint ratio and score; events of label 1 go round the points.

        Raises:
            ConfigError, ShapeError, DataError: As for `table`.
        """
        check_key(key)
        first, at = self._points(theta0, "theta0", 2), self._points(theta1, "theta1", 1)
        each = as_integer(n_events, "n_events", low=2 * len(first)) // (2 * len(first))
        jobs: list[Job] = []
        for index, point in enumerate(first):
            jobs += self._jobs(point, first[:0], each, key_for(key, f"theta0 {index}"))
        jobs += self._jobs(at, first[:0], each * len(first), key_for(key, "theta1"))
        x = np.concatenate([rows for rows, _ in self._run(jobs)])
        require_finite_events(x)
        n = each * len(first)
        return Gold(
            x=jnp.asarray(x),
            log_ratio=None,
            score=None,
            weight=jnp.ones(2 * n),
            event_id=jnp.arange(2 * n),
            theta0=jnp.asarray(np.tile(np.repeat(first, each, axis=0), (2, 1))),
            theta1=jnp.broadcast_to(jnp.asarray(at), (2 * n, at.size)),
            label=jnp.repeat(jnp.arange(2), n),
        )

    def _parameter(self, name: str) -> Parameter:
        require(name in PARAMETERS, "parameters", f"be among {', '.join(PARAMETERS)}", name)
        return PARAMETERS[name]

    def _points(self, value: Any, name: str, ndim: int) -> np.ndarray:
        """Parameters, rounded to the digits that PYTHIA is told."""
        n_params = len(self.parameters)
        points = np.asarray(value, float)
        no_point = points.size == 0 and ndim == 2
        points = points.reshape(0, n_params) if no_point else points
        rule = f"have {n_params} parameters in its last of {ndim} axes"
        good = points.ndim == ndim and points.shape[-1] == n_params
        require_shape(good, name, rule, f"shape {points.shape}")
        require(bool(np.all(np.isfinite(points))), name, "be finite", points.tolist())
        return np.array([float(_text(p)) for p in points.ravel()]).reshape(points.shape)

    def _steps(self, steps: Any) -> np.ndarray:
        found = self._points(steps, "steps", 1)
        require(bool(np.all(found > 0.0)), "steps", "be positive", found.tolist())
        return found

    def _jobs(self, theta: np.ndarray, points: np.ndarray, n_events: int, key: Key) -> list[Job]:
        """Runs of at most a block of events, each with a seed of its own."""
        lines, groups = self._variations(theta, points)
        settings = (*CLOSING, *self.settings, *self._fixed(theta), *lines)
        n_blocks = -(-n_events // _BLOCK)
        seeds = _seeds(key_for(key, "seeds"), n_blocks)
        sizes = [min(_BLOCK, n_events - first) for first in range(0, n_events, _BLOCK)]
        return [
            Job(settings, groups, size, int(seed)) for size, seed in zip(sizes, seeds, strict=True)
        ]

    def _fixed(self, theta: np.ndarray) -> list[str]:
        """Settings of a run at theta."""
        lines = []
        for name, value in zip(self.parameters, theta, strict=True):
            parameter = self._parameter(name)
            taken = [line for line in self.settings if _sets(line, parameter.setting)]
            require(not taken, "settings", f"leave {name} to theta", taken)
            if parameter.setting is None:
                rule = f"have {name} at {parameter.start:g}, which no setting changes,"
                require(bool(value == parameter.start), "theta", rule, value)
                continue
            lines.append(f"{parameter.setting} = {value**parameter.power:.17g}")
        return lines

    def _variations(
        self, theta: np.ndarray, points: np.ndarray
    ) -> tuple[list[str], tuple[tuple[str, ...], ...]]:
        """Lines that ask PYTHIA for weights, and names of those that make up a point's."""
        if not len(points):
            return [], ()
        lines, members = [], []
        for is_shower, prefix in ((True, "shower"), (False, "string")):
            chosen = [
                i
                for i, name in enumerate(self.parameters)
                if self._parameter(name).is_shower == is_shower
            ]
            if not chosen:
                continue
            names = [f"{prefix}{index:05d}" for index in range(len(points))]
            groups = [
                " ".join([name, *(self._varied(i, theta[i], row[i]) for i in chosen)])
                for name, row in zip(names, points, strict=True)
            ]
            members.append(names)
            setting = "UncertaintyBands:List" if is_shower else "VariationFrag:List"
            lines.append(f"{setting} = {{{', '.join(groups)}}}")
            lines += ["UncertaintyBands:doVariations = on"] if is_shower else []
        return lines, tuple(zip(*members, strict=True))

    def _varied(self, index: int, start: float, value: float) -> str:
        name = self.parameters[index]
        return f"{name}={_text(value / start if self._parameter(name).is_relative else value)}"

    def _run(self, jobs: Sequence[Job]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Features and weights of every job, from the cache where they are there."""
        found = {job: self._cached(job) for job in jobs}
        missing = [job for job, value in found.items() if value is None]
        n_processes = min(as_integer(self.n_processes, "n_processes", low=1), len(missing))
        if n_processes <= 1:
            for job in missing:
                found[job] = self._keep(job, generate(job))
        else:
            # One server that has everything imported forks the processes of all calls.
            context = get_context("forkserver")
            context.set_forkserver_preload(["diffhep_sbi.io.pythia_process"])
            with ProcessPoolExecutor(n_processes, context) as pool:
                for job, output in zip(missing, pool.map(generate, missing), strict=True):
                    found[job] = self._keep(job, output)
        return [found[job] for job in jobs]  # pyright: ignore[reportReturnType]

    def _checkpoint(self, job: Job) -> Checkpoint | None:
        if self.cache is None:
            return None
        text = json.dumps([job, self.features.names, _BLOCK])
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        return Checkpoint(Path(self.cache) / f"pythia-{name}.ckpt")

    def _cached(self, job: Job) -> tuple[np.ndarray, np.ndarray] | None:
        checkpoint = self._checkpoint(job)
        if checkpoint is None or not checkpoint.exists():
            return None
        like = (
            np.zeros((job.n_events, len(self.features.names))),
            np.zeros((job.n_events, len(job.groups))),
        )
        return checkpoint.restore(like)[0]

    def _keep(self, job: Job, output: Output) -> tuple[np.ndarray, np.ndarray]:
        found = featurise(output.events(), self.features), output.weights
        checkpoint = self._checkpoint(job)
        if checkpoint is not None:
            checkpoint.save(found)
        return found


def _sets(line: str, setting: str | None) -> bool:
    return setting is not None and line.partition("=")[0].strip().lower() == setting.lower()


def _text(value: float) -> str:
    return f"{value:.{_DIGITS}g}"


def _seeds(key: Key, n_blocks: int) -> Array:
    """One seed a block, whatever their number."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n_blocks))
    return jax.vmap(lambda k: jax.random.randint(k, (), 1, _LARGEST_SEED + 1))(keys)


def _with_neighbours(points: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Points, then those a step above and below along each parameter in turn."""
    shifts = np.diag(steps)
    return np.concatenate(
        [points, *(points + sign * shift for shift in shifts for sign in (1.0, -1.0))]
    )


def _scores(
    weights: np.ndarray, points: np.ndarray, n_points: int
) -> Float[np.ndarray, "event point param"]:
    """Central differences between neighbours."""
    blocks = weights.reshape(len(weights), -1, n_points)
    n_params = points.shape[1]
    columns = []
    for param in range(n_params):
        up, down = 1 + 2 * param, 2 + 2 * param
        step = points[:n_points, param] * 0.0 + (
            points[up * n_points : (up + 1) * n_points, param]
            - points[down * n_points : (down + 1) * n_points, param]
        )
        columns.append((blocks[:, up] - blocks[:, down]) / (step * blocks[:, 0]))
    return np.stack(columns, axis=-1)
