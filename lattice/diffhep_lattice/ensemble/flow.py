"""Gradient-flow measurements of an ensemble: energy, topological charges, t0 and w0."""

from collections.abc import Iterable, Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from diffhep.core.checks import require
from diffhep.core.errors import ConvergenceError
from diffhep_lattice.actions import WilsonAction
from diffhep_lattice.gradient_flow import SCALE, gradient_flow, scale_t0, scale_w0
from diffhep_lattice.observables import charge_density, energy_density

LEAST_TIMES = 4
"""Flow times that a cubic spline needs."""

REACH, IMPROVED_REACH = 1, 3
"""Time slices that loops of the clover and of the improved field strength reach to either side."""


def _as_floats(times: Iterable[float]) -> tuple[float, ...]:
    return tuple(map(float, times))


class FlowMeasurement(eqx.Module):
    r"""What is measured on a configuration along its gradient flow, by name.

    Of SU(N), at every flow time: `energy`, the mean of the clover energy density; in four
    dimensions `charge`, the topological charge of the clover field strength, and `improved_charge`.
    Where asked for, `charge_density`, the improved density at the last flow time at every site.

    Attributes:
        action: What flows downhill: Wilson's at $\beta = 2N$, with the boundary of the ensemble.
        times: Rising flow times, in units of the lattice spacing squared.
        margin: Time slices left out of means and charges at either end; of the density none.
        density: Whether the density is kept.

    Raises:
        ConfigError: There are less than four times, or they do not rise from 0 or later.
    """

    action: WilsonAction
    times: tuple[float, ...] = eqx.field(static=True, converter=_as_floats)
    margin: int = eqx.field(static=True, default=0)
    density: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        rule = f"hold at least {LEAST_TIMES} flow times that rise from 0 or later"
        rising = all(a < b for a, b in zip(self.times, self.times[1:], strict=False))
        good = len(self.times) >= LEAST_TIMES and rising and self.times[0] >= 0.0
        require(good, "flow_times", rule, self.times)

    def __call__(self, U: Shaped[Array, "mu ..."]) -> dict[str, Array]:
        """Measure one configuration; not a number where the flow fails."""
        observe = {"energy": lambda V: jnp.mean(self._bulk(energy_density(V)), dtype=jnp.float64)}
        if U.shape[0] == 4:
            observe["charge"] = lambda V: jnp.sum(self._bulk(charge_density(V)), dtype=jnp.float64)
            observe["improved_charge"] = lambda V: jnp.sum(
                self._bulk(charge_density(V, improved=True)), dtype=jnp.float64
            )
        flowed = gradient_flow(U, self.times, observe=observe, action=self.action, throw=False)
        found = dict(flowed.observed)
        if self.density:
            found["charge_density"] = charge_density(flowed.U, improved=True)
        return {name: jnp.where(flowed.is_converged, x, jnp.nan) for name, x in found.items()}

    def _bulk(self, field: Float[Array, "*space time"]) -> Float[Array, "*space bulk"]:
        """The time slices that count."""
        return field[..., self.margin : field.shape[-1] - self.margin]

    def series(self, measured: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Series for the table of an ensemble, from its measurements by the name "flow/...".

        Args:
            measured: Arrays (stream, measurement, ...).

        Returns:
            Series (stream, measurement): t0 and w0, as far as the flow reaches them, and the
            charges and their squares at the last flow time.
        """
        energy = measured["flow/energy"]
        found = scale_series(np.asarray(self.times), energy) if energy.shape[1] else {}
        for name in ("flow/charge", "flow/improved_charge"):
            if name in measured:
                last = measured[name][:, :, -1]
                found |= {name: last, f"{name}^2": np.square(last)}
        return found


def scale_series(
    time: Float[np.ndarray, " time"], energy: Float[np.ndarray, "stream config time"]
) -> dict[str, Float[np.ndarray, "stream config"]]:
    r"""Series whose means are $t_0$ and $w_0$ and whose errors are theirs, by linearisation.

    $t_0 - [t_0^2E_i(t_0) - 0.3] / \partial_t(t^2\langle E\rangle)$ for every configuration i, the
    energy between flow times by a cubic spline; likewise for $w_0$.

    Args:
        time: Flow times.
        energy: Energy densities of all streams.

    Returns:
        The series by name, without a scale that lies beyond the flow times.

    Reference:
        U. Wolff, Comput. Phys. Commun. 156 (2004) 143, arXiv:hep-lat/0306017.
    """
    from scipy.interpolate import CubicSpline

    def crossing(values: np.ndarray, at: float) -> np.ndarray:
        """How far each series' crossing lies from where their mean's does."""
        slope = CubicSpline(time, values.mean(axis=(0, 1))).derivative()(at)
        return -(CubicSpline(time, values, axis=-1)(at) - SCALE) / slope

    mean = energy.mean(axis=(0, 1))[None]
    found: dict[str, np.ndarray] = {}
    try:
        t0 = scale_t0(time, mean).value
        found["flow/t0"] = t0 + crossing(time**2 * energy, t0)
        w0 = scale_w0(time, mean).value
        slopes = time * CubicSpline(time, time**2 * energy, axis=-1).derivative()(time)
        found["flow/w0"] = w0 + crossing(slopes, w0**2) / (2.0 * w0)
    except ConvergenceError:
        return found
    return found
