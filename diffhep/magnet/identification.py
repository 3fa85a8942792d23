"""From recordings of cycles to a forecaster: calibration, eddy currents, Preisach operator."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.errors import DataError
from diffhep.magnet.datasets import Recording
from diffhep.magnet.filters import fit_calibration, rate
from diffhep.magnet.fitting import PreisachSettings, fit_preisach
from diffhep.magnet.forecasters.operator import OperatorForecaster
from diffhep.magnet.operator_fit import fit_operator
from diffhep.magnet.operators import AbstractOperator, EddyCascade, Parallel, Series
from diffhep.magnet.windows import require_alike

__citations__ = ("doi:10.1007/978-1-4612-4048-8", "doi:10.1137/0111030")

SETTINGS = tuple(
    PreisachSettings(2, n, n, smoothness) for n in (6, 9, 12) for smoothness in (1e-6, 1e-4)
)
"""Candidates of the Preisach part; its polynomial corrects the calibration curve."""

_AT_REST_PER_S = 1e-6
"""Below this rate, in ranges of the input, the input counts as constant."""

_UNIT = 1e-5
"""In which changes at rest are counted: the search ends where they matter no more."""

_AMPLITUDES = (1e-3, 1e-4)
_TAUS_S = (0.03, 0.6)
"""Of the two modes of eddy currents from which the search starts."""

_LARGEST = 0.05
"""Amplitude above which a mode counts as not determined; real ones are a few thousandths."""

_TINY = 1e-9
"""Weight of the field itself in the fit of eddy currents, which looks at its changes only."""


def identify(
    sequences: Sequence[Sequence[Recording]],
    *,
    u_reference: float,
    reach: float,
    sweep: float,
    n_points: int = 24,
    thin: int = 12,
    n_rounds: int = 2,
    settings: Sequence[PreisachSettings] = SETTINGS,
) -> OperatorForecaster:
    """A forecaster from cycles that were measured one after the other.

    A calibration curve first. Then, in turns, two modes of eddy currents from how the output decays
    while the input rests, which needs no model of the rest; and by `fit_preisach` what calibration
    and eddy currents leave. Every sequence is taken to start after two sweeps from the input of its
    first sample to `sweep` and back.

    A mode faster than the time step is not determined by what happens at rest: it is left out, and
    on the ramps themselves the forecast is the worse for it.

    Args:
        sequences: Recordings in the order of time; the next sequence is another day.
        u_reference: Input at which forecasts matter, and near which residuals move the offset.
        reach: How near.
        sweep: Highest input of the magnet's past.
        n_points: Of the calibration curve.
        thin: Of how many samples one is kept for the Preisach part, which knows no rate; the
            input's reversals are kept as well.
        n_rounds: Turns.
        settings: Candidates of the Preisach part.

    Returns:
        The forecaster, of gain 1; its `sigma` is the deviation of the fit near the reference.

    Raises:
        ConfigError: A number is out of its range.
        DataError: The recordings differ in kind, have no time step, or the input never rests.
    """
    thin, n_rounds = as_integer(thin, "thin", low=1), as_integer(n_rounds, "n_rounds", low=1)
    recordings = [one for sequence in sequences for one in sequence]
    require_alike(recordings)
    dt_s = recordings[0].dt_s
    if dt_s is None:
        raise DataError("Argument `sequences` must hold recordings with a time step.")
    highest = max(float(one.u.max()) for one in recordings)
    require(sweep >= highest, "sweep", f"be at least the highest input {highest}", sweep)
    start = float(recordings[0].u[0])
    history = np.array([start, sweep, start, sweep, start])
    parts = [_joined(sequence) for sequence in sequences]
    calibration = fit_calibration(recordings, n_points)
    static: AbstractOperator = calibration
    eddy = EddyCascade(_AMPLITUDES, _TAUS_S)
    for _ in range(n_rounds):
        fields = [_run(static, u, history, 10.0) for u, _ in parts]
        eddy = _fit_eddy(eddy, fields, parts, dt_s)
        lags = [field - _run(eddy, field, None, dt_s) for field in fields]
        rest = [
            y + lag - _run(calibration, u, None, dt_s)
            for (u, y), lag in zip(parts, lags, strict=True)
        ]
        thinned = _thinned([u for u, _ in parts], rest, history, thin)
        fit = fit_preisach(*thinned[:2], used=thinned[2], settings=settings, n_best=1)
        static = Parallel((calibration, *fit.members[0].operators))
    whole = Series((static, eddy))
    errors = [y - _run(whole, u, history, dt_s) for u, y in parts]
    near = [np.abs(u - u_reference) <= reach for u, _ in parts]
    spread = [np.std(error[here]) for error, here in zip(errors, near, strict=True) if here.any()]
    require(len(spread) > 0, "u_reference", "be an input that the recordings take", u_reference)
    sigma = float(np.sqrt(np.mean(np.square(spread))))
    lowest = min(float(one.u.min()) for one in recordings)
    return OperatorForecaster(
        operator=whole,
        history=history,
        u_reference=u_reference,
        reach=reach,
        sigma=sigma,
        identified=(lowest, highest),
    )


def _joined(sequence: Sequence[Recording]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([one.u for one in sequence]), np.concatenate([one.y for one in sequence])


def _run(
    operator: AbstractOperator, u: np.ndarray, history: np.ndarray | None, dt_s: float
) -> np.ndarray:
    """Outputs along a series; the history is slow."""
    past = None if history is None else jnp.asarray(history)
    return np.asarray(_outputs(operator, jnp.asarray(u), past, dt_s))


@eqx.filter_jit
def _outputs(
    operator: AbstractOperator, u: Array, history: Array | None, dt_s: float
) -> Float[Array, " time"]:
    return operator(u, dt_s, state=operator.init(u[0], history, 10.0))[0]


class _Rest(NamedTuple):
    """Samples at which the input rests, and to which plateau each belongs."""

    sample: np.ndarray
    plateau: np.ndarray


def _at_rest(u: np.ndarray, dt_s: float) -> _Rest:
    slow = np.abs(rate(u, dt_s)) <= _AT_REST_PER_S * np.ptp(u)
    index = np.flatnonzero(slow)
    plateau = np.cumsum(np.diff(index, prepend=-2) > 1) - 1
    return _Rest(index, plateau)


def _fit_eddy(
    start: EddyCascade,
    fields: Sequence[np.ndarray],
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    dt_s: float,
) -> EddyCascade:
    """The modes whose decays are nearest to those measured while the input rests.

    On the longest sequence: what decays there decays on all. Modes that are not determined are left
    out, and the others are sought once more.
    """
    longest = int(np.argmax([field.size for field in fields]))
    field, (u, y) = fields[longest], parts[longest]
    rest = _at_rest(u, dt_s)
    if not rest.sample.size:
        raise DataError("Argument `sequences` must hold an input that rests, but it never does.")
    n_plateaus = int(rest.plateau[-1]) + 1
    counts = jnp.maximum(jnp.bincount(rest.plateau, length=n_plateaus), 1)

    def changes(outputs: Array) -> Array:
        found = (outputs - y)[rest.sample]
        mean = jnp.bincount(rest.plateau, found, length=n_plateaus) / counts
        return (found - mean[rest.plateau]) / _UNIT

    def build(parameters: tuple[Array, Array]) -> EddyCascade:
        return EddyCascade(jnp.exp(parameters[0]), jnp.exp(parameters[1]))

    if not bool(jnp.any(start.amplitude > 0.0)):
        return start
    fit = fit_operator(
        build,
        (jnp.log(start.amplitude), jnp.log(start.tau_s)),
        jnp.asarray(field),
        jnp.asarray(y),
        dt=dt_s,
        weight=jnp.full(y.size, _TINY),
        also=changes,
        max_steps=40,
    )
    found = build(fit.parameters)
    known = np.asarray((found.tau_s >= dt_s) & (found.amplitude <= _LARGEST))
    if known.all():
        return found
    if not known.any():
        return EddyCascade(jnp.zeros(1), jnp.ones(1))
    fewer = EddyCascade(found.amplitude[known], found.tau_s[known])
    return _fit_eddy(fewer, fields, parts, dt_s)


def _thinned(
    inputs: Sequence[np.ndarray], rest: Sequence[np.ndarray], history: np.ndarray, thin: int
) -> tuple[Array, Array, np.ndarray]:
    """Every so many samples and all reversals, each sequence after the magnet's past."""
    u, y, used = [], [], []
    for own, found in zip(inputs, rest, strict=True):
        moves = np.flatnonzero(np.diff(own, prepend=np.nan) != 0.0)
        turns = np.sign(np.diff(own[moves]))
        kept = np.zeros(own.size, bool)
        kept[::thin] = True
        kept[moves[1:-1][turns[1:] != turns[:-1]]] = True
        u += [history, own[kept]]
        y += [np.zeros(history.size), found[kept]]
        used += [np.zeros(history.size, bool), np.ones(kept.sum(), bool)]
    return jnp.asarray(np.concatenate(u)), jnp.asarray(np.concatenate(y)), np.concatenate(used)
