r"""The gradient flow of gauge fields, with adaptive steps, and the scales read off it.

$\dot V_t = -\big(T^a\,\partial^a S\big)(V_t)\,V_t$ from $V_0 = U$, with S the Wilson action at
$\beta = 2N$ (1 for angles): $a^2$ is the unit of flow time, and the field is smoothed over a radius
$\sqrt{8t}$. The step is the third-order Runge-Kutta scheme on the group; an embedded scheme of
second order estimates its error.

Reference:
    M. Lüscher, arXiv:1006.4518, appendix C; P. Fritzsch, A. Ramos, arXiv:1301.4388, appendix D
    (embedded scheme); S. Borsanyi et al., arXiv:1203.4469 (w0).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Shaped

from diffhep.core.checks import (
    as_integer,
    require,
    require_real,
    require_shape,
    require_type,
    require_x64,
)
from diffhep.core.errors import ConvergenceError
from diffhep.core.stats import jackknife
from diffhep.core.typing import Scalar
from diffhep_lattice.actions.base import AbstractAction, require_action
from diffhep_lattice.actions.wilson import WilsonAction
from diffhep_lattice.groups import SUN, U1
from diffhep_lattice.links import is_matrix_field, require_unitary
from diffhep_lattice.observables.loops import lattice_of_any

__citations__ = ("arXiv:1006.4518", "arXiv:1301.4388", "arXiv:1203.4469")

FIRST_STEP = 0.01
"""First guess of the step, in units of flow time; the error estimate takes over."""

SAFETY = 0.95
"""The next step aims at this fraction of the largest one that would have passed."""

LARGEST_CHANGE = 2.0
"""A step grows or shrinks at most by this factor from one to the next."""

MOST_TRIES = 10_000
"""Steps, refused ones included, before the flow is given up."""

SCALE = 0.3
r"""$t^2\langle E\rangle$ at $t_0$, and $t\,\partial_t(t^2\langle E\rangle)$ at $w_0^2$."""


class FlowedField(NamedTuple):
    """A gauge field at the end of its flow, and what was measured on the way.

    Attributes:
        U: The field at the last flow time.
        time: Flow times of the measurements, in units of the lattice spacing squared.
        observed: One array per observable, its first axis the flow time.
        n_steps: Steps taken from 0 to each flow time, refused ones included.
        is_converged: Whether every flow time was reached with finite numbers.
    """

    U: Shaped[Array, "mu ..."]
    time: Float[Array, " time"]
    observed: dict[str, Float[Array, "time ..."]]
    n_steps: Int[Array, " time"]
    is_converged: Bool[Array, ""]


class _Stepper(NamedTuple):
    U: Shaped[Array, "mu ..."]
    time: Scalar
    step: Scalar
    n_tries: Int[Array, ""]


def flow_action(U: Shaped[Array, "mu ..."]) -> WilsonAction:
    """The Wilson action whose gradient makes one unit of flow time one lattice spacing squared."""
    if is_matrix_field(U):
        return WilsonAction(beta=jnp.asarray(2.0 * U.shape[1]), group=SUN(U.shape[1]))
    return WilsonAction(beta=jnp.asarray(1.0), group=U1())


def runge_kutta_step(
    U: Shaped[Array, "mu ..."], step: Scalar | float, action: AbstractAction
) -> tuple[Shaped[Array, "mu ..."], Scalar]:
    r"""One step of third order and the distance to the embedded one of second order.

    With $Z_i = -\epsilon\,\partial S(W_i)$: $W_1 = e^{Z_0/4}W_0$,
    $W_2 = e^{8Z_1/9 - 17Z_0/36}W_1$, $W_3 = e^{3Z_2/4 - 8Z_1/9 + 17Z_0/36}W_2$, beside
    $e^{2Z_1 - Z_0}W_0$.

    Args:
        U: The field $W_0$.
        step: $\epsilon$ in units of flow time.
        action: The action that flows downhill.

    Returns:
        $W_3$, and the largest norm of the difference of a link over the number of colours.
    """
    group = action.group

    def slope(W: Array) -> Array:
        return jnp.asarray(-step, W.real.dtype) * action.force(W)

    z0 = slope(U)
    w1 = group.move(U, 0.25 * z0)
    z1 = slope(w1)
    w2 = group.move(w1, (8 / 9) * z1 - (17 / 36) * z0)
    z2 = slope(w2)
    w3 = group.move(w2, 0.75 * z2 - (8 / 9) * z1 + (17 / 36) * z0)
    embedded = group.move(U, 2.0 * z1 - z0)
    square = jnp.square(jnp.abs(w3 - embedded))
    axes = tuple(range(1, 1 + len(group.element_shape)))
    return w3, jnp.max(jnp.sqrt(jnp.sum(square, axis=axes))) / group.n_colors


def gradient_flow(
    U: Shaped[Array, "mu ..."],
    times: Sequence[float] | Float[np.ndarray, " time"] | Float[Array, " time"],
    *,
    observe: Mapping[str, Callable[..., Array]] | None = None,
    action: AbstractAction | None = None,
    tolerance: float = 1e-7,
    throw: bool = True,
) -> FlowedField:
    """Flow a gauge field and measure it at given flow times.

    Between two measurements the step follows the error estimate; every flow time is met exactly.

    Args:
        U: Links (mu, row, column, *site), or angles (mu, *site) in radians.
        times: Rising flow times, the first at least 0, in units of the lattice spacing squared.
        observe: Functions of the field by name, such as `energy_density` and
            `topological_charge`.
        action: What flows downhill; the Wilson action of `flow_action` if left out. The Symanzik
            flow is `symanzik(2 N, group)`.
        tolerance: Largest estimated error of a link in one step, at least 1e-14.
        throw: Raise where the flow fails, outside `jax.jit`; otherwise look at `is_converged`.

    Returns:
        The last field and the measurements.

    Raises:
        ConfigError: `times` are not finite or do not rise, `tolerance` is out of range, `observe`
            or `action` is something else, or x64 is off.
        ShapeError: `U` is no gauge field, or none of the action's group.
        DataError: Links are not unitary.
        ConvergenceError: The field is not finite, or the steps become too many.
    """
    require_x64("flow times and their step sizes")
    require_real(tolerance, "tolerance", "be at least 1e-14", low=1e-14)
    if not isinstance(times, Tracer):
        values = np.asarray(times, float)
        finite = values.ndim == 1 and values.size > 0 and bool(np.all(np.isfinite(values)))
        rising = finite and bool(np.all(np.diff(values) > 0)) and float(values[0]) >= 0
        require(rising, "times", "rise from 0 or later, all of them finite", times)
    measured = {} if observe is None else observe
    rule = "be a dictionary of functions of the field"
    require_type(measured, Mapping, "observe", rule)
    for name, function in measured.items():
        require(callable(function), f"observe[{name!r}]", "be a function of the field", function)
    lattice_of_any(U)
    if throw:
        require_unitary(U)
    action = flow_action(U) if action is None else action
    require_action(action)
    found = _flow(U, jnp.asarray(times, float), dict(measured), action, tolerance)
    if throw and not isinstance(found.is_converged, Tracer) and not found.is_converged:
        steps = int(found.n_steps[-1])
        raise ConvergenceError(
            f"The gradient flow did not reach t = {float(found.time[-1]):g}: after {steps} steps "
            "the field is not finite or the steps are too small for `tolerance`."
        )
    return found


@eqx.filter_jit
def _flow(
    U: Array,
    times: Array,
    observe: dict[str, Callable[..., Array]],
    action: AbstractAction,
    tolerance: float,
) -> FlowedField:
    def advance(stepper: _Stepper, target: Array) -> tuple[_Stepper, tuple]:
        stepper = jax.lax.while_loop(
            lambda at: (at.time < target) & (at.n_tries < MOST_TRIES),
            lambda at: _try_step(at, target, action, tolerance),
            stepper,
        )
        found = {name: function(stepper.U) for name, function in observe.items()}
        reached = (stepper.time >= target) & jnp.all(jnp.isfinite(stepper.U))
        return stepper, (found, stepper.n_tries, reached)

    start = _Stepper(U, jnp.zeros(()), jnp.asarray(FIRST_STEP), jnp.zeros((), int))
    last, (observed, n_steps, reached) = jax.lax.scan(advance, start, times)
    return FlowedField(last.U, times, observed, n_steps, jnp.all(reached))


def _try_step(at: _Stepper, target: Array, action: AbstractAction, tolerance: float) -> _Stepper:
    remaining = target - at.time
    is_last = at.step >= remaining
    step = jnp.where(is_last, remaining, at.step)
    proposal, distance = runge_kutta_step(at.U, step, action)
    distance = distance.astype(float)
    good = distance <= tolerance
    # A distance that is not finite shrinks the step, too.
    wanted = SAFETY * jnp.cbrt(tolerance / jnp.maximum(distance, 1e-300))
    change = jnp.clip(
        jnp.where(jnp.isfinite(distance), wanted, 0.0), 1 / LARGEST_CHANGE, LARGEST_CHANGE
    )
    # A last step shortened to meet the target says nothing against the longer one.
    following = jnp.where(good & is_last, jnp.maximum(at.step, step * change), step * change)
    return _Stepper(
        jnp.where(good, proposal, at.U),
        jnp.where(good, jnp.where(is_last, target, at.time + step), at.time),
        following,
        at.n_tries + 1,
    )


class FlowScale(NamedTuple):
    """A scale of the gradient flow.

    Attributes:
        value: t0 in units of the lattice spacing squared, or w0 in lattice spacings.
        error: Its jackknife error.
    """

    value: float
    error: float


def scale_t0(
    time: Float[np.ndarray, " time"],
    energy: Float[np.ndarray, "config time"],
    *,
    target: float = SCALE,
    n_bins: int | None = None,
) -> FlowScale:
    r"""The flow time $t_0$ at which $t^2\langle E(t)\rangle$ passes 0.3.

    Args:
        time: Flow times, rising, in units of the lattice spacing squared.
        energy: Energy density of every configuration at those times, in lattice units.
        target: The value to pass.
        n_bins: Bins of the jackknife; each should be longer than the autocorrelation. One bin per
            configuration if left out.

    Returns:
        $t_0/a^2$ and its error.

    Raises:
        ConvergenceError: The target is not passed within the flow times.
        ShapeError: The axes do not fit.
        ConfigError: `time` does not rise, or `target` or `n_bins` is out of range.
    """
    return _scale(time, energy, lambda t, e: _crossing(t, t**2 * e, target, "t0"), n_bins, target)


def scale_w0(
    time: Float[np.ndarray, " time"],
    energy: Float[np.ndarray, "config time"],
    *,
    target: float = SCALE,
    n_bins: int | None = None,
) -> FlowScale:
    r"""The scale $w_0$: $t\,\partial_t(t^2\langle E(t)\rangle) = 0.3$ at $t = w_0^2$.

    The derivative is that of a cubic spline through the measurements.

    Args:
        time: Flow times, rising, in units of the lattice spacing squared.
        energy: Energy density of every configuration at those times, in lattice units.
        target: The value to pass.
        n_bins: As in `scale_t0`.

    Returns:
        $w_0/a$ and its error.

    Raises:
        ConvergenceError: The target is not passed within the flow times.
        ShapeError: The axes do not fit.
        ConfigError: `time` does not rise, or `target` or `n_bins` is out of range.
    """
    from scipy.interpolate import CubicSpline

    def estimate(t: np.ndarray, e: np.ndarray) -> float:
        slope = CubicSpline(t, t**2 * e).derivative()(t)
        return float(np.sqrt(_crossing(t, t * slope, target, "w0^2")))

    return _scale(time, energy, estimate, n_bins, target)


def _scale(
    time: np.ndarray,
    energy: np.ndarray,
    estimate: Callable[[np.ndarray, np.ndarray], float],
    n_bins: int | None,
    target: float,
) -> FlowScale:
    time, energy = np.asarray(time, float), np.asarray(energy, float)
    require_shape(
        energy.ndim == 2 and energy.shape[1:] == time.shape and time.size >= 4,
        "energy",
        f"have shape (config, time) with the {time.size} times, at least 4",
        f"shape {energy.shape}",
    )
    rising = bool(np.all(np.diff(time) > 0)) and float(time[0]) >= 0
    require(rising, "time", "rise from 0 or later", time.tolist())
    require_real(target, "target", "be finite and positive", low=sys.float_info.min)
    if n_bins is not None:
        n_bins = as_integer(n_bins, "n_bins", low=2)
    if energy.shape[0] == 1:
        return FlowScale(estimate(time, energy[0]), float("nan"))
    bins = energy.shape[0] if n_bins is None else n_bins
    value, error = jackknife(energy, lambda chosen: estimate(time, np.mean(chosen, axis=0)), bins)
    return FlowScale(float(value), float(error))


def _crossing(t: np.ndarray, values: np.ndarray, target: float, name: str) -> float:
    """Where a cubic spline through the values first passes the target from below."""
    from scipy.interpolate import CubicSpline

    above = np.flatnonzero((values[1:] >= target) & (values[:-1] < target))
    if not above.size:
        raise ConvergenceError(
            f"{name} is not within the flow times {t[0]:g} to {t[-1]:g}: the values "
            f"{values[0]:.3g} to {values[-1]:.3g} do not pass {target:g}."
        )
    low, high = t[above[0]], t[above[0] + 1]
    roots = CubicSpline(t, values).solve(target, extrapolate=False)
    return float(min(root for root in roots if low <= root <= high))
