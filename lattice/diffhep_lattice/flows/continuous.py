r"""A continuous flow of a scalar field with every symmetry of the square lattice and of the field.

$\frac{d\phi(x)}{dt} = \sum_y K_0(x-y;t)\,\phi(y) + \sum_f\sum_y K_f(x-y;t)\sin(\omega_f\phi(y))$

with kernels that rotations and reflections leave alone: the map commutes with translations,
rotations, reflections and $\phi\to-\phi$. The divergence is a sum over the sites,
$\sum_x[K_0(0;t) + \sum_f K_f(0;t)\,\omega_f\cos(\omega_f\phi(x))]$, and its integral the
log-determinant of the exact flow.

The integrator's map has another Jacobian, by an error of the order of the method. Training may use
a coarse integrator, but the flow learns to profit from its error: log Z above the exact one is the
alarm. Where a density must be that of the samples, `order=8` brings the difference below what
matters in few steps. Tests hold it to 1e-8 against the Jacobian of the map that is used, and the
way back to 1e-9; how many steps that takes depends on the velocity.

Reference:
    M. Gerdes, P. de Haan, C. Rainone, R. Bondesan, M. C. N. Cheng, arXiv:2207.00283.
"""

from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.integrate import DOP853

from diffhep.core.checks import require
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import Chain
from diffhep_lattice.flows.convolutions import FreeField, hartley, n_orbits, orbit_symbols
from diffhep_lattice.flows.scalar import ScalarFlow, site_sum
from diffhep_lattice.geometry import Lattice

__citations__ = ("arXiv:2207.00283",)

_HIGHEST_FREQUENCY = 4.5
"""Of the sines at the start; fields of the phi^4 theory near its transition are about one."""

_INITIAL_SCALE = 1e-2
"""Of the kernels' coefficients at the start."""


class Tableau(NamedTuple):
    """An explicit Runge-Kutta method: strictly lower stages, weights and times."""

    stages: Float[np.ndarray, "stage stage"]
    weights: Float[np.ndarray, " stage"]
    times: Float[np.ndarray, " stage"]


@lru_cache(maxsize=2)
def tableau(order: int) -> Tableau:
    """The classical method of fourth order, or that of Dormand and Prince of eighth.

    Args:
        order: 4 (four stages) or 8 (twelve).

    Returns:
        Its coefficients.

    Reference:
        E. Hairer, S. P. Nørsett, G. Wanner, Solving Ordinary Differential Equations I (1993).
    """
    if order == 4:
        stages = np.diag([0.5, 0.5, 1.0], -1)
        return Tableau(stages, np.array([1.0, 2.0, 2.0, 1.0]) / 6.0, np.array([0.0, 0.5, 0.5, 1.0]))
    return Tableau(DOP853.A, DOP853.B, DOP853.C)


class SineVelocity(eqx.Module):
    r"""The velocity field.

    Attributes:
        coefficients: Of the kernels, by the cosine $\cos(\pi n t)$ they go with in time, by
            feature, the field itself first, and by orbit of displacements.
        frequencies: $\omega_f$.
        reach: The longest displacement along an axis.
    """

    coefficients: Float[Array, "mode feature orbit"]
    frequencies: Float[Array, " sine"]
    reach: int = eqx.field(static=True)

    def __call__(
        self, time: Scalar, phi: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The velocity at every site, and its divergence."""
        batch_axes = [1] * (phi.ndim - 2)
        modes = jnp.cos(np.pi * jnp.arange(self.coefficients.shape[0]) * time)
        kernels = jnp.tensordot(modes.astype(phi.dtype), self.coefficients, 1)
        table = orbit_symbols(phi.shape[:2], self.reach)
        symbols = jnp.tensordot(kernels, jnp.asarray(table, phi.dtype), 1)
        phases = self.frequencies.reshape(-1, 1, 1, *batch_axes) * phi
        features = jnp.concatenate([phi[None], jnp.sin(phases)])
        transformed = hartley(jnp.moveaxis(features, 0, 2))
        symbols = jnp.moveaxis(symbols, 0, 2).reshape(*transformed.shape[:3], *batch_axes)
        velocity = hartley(jnp.sum(symbols * transformed, axis=2))
        # What a kernel does at no distance: on a small torus others than the first orbit do, too.
        at_zero = jnp.tensordot(kernels, jnp.asarray(table.mean(axis=(1, 2)), phi.dtype), 1)
        slopes = (at_zero[1:] * self.frequencies).reshape(-1, 1, 1, *batch_axes)
        divergence = at_zero[0] + jnp.sum(slopes * jnp.cos(phases), axis=0)
        return velocity, site_sum(divergence, 2)


class ContinuousFlow(AbstractBijection):
    """The flow of a velocity field from time 0 to 1, in steps of a Runge-Kutta method.

    Attributes:
        velocity: The velocity field.
        n_steps: Number of steps.
        order: Order of the method, 4 or 8.
    """

    velocity: SineVelocity
    n_steps: int = eqx.field(static=True, default=8)
    order: int = eqx.field(static=True, default=8)

    def __check_init__(self) -> None:
        require(self.n_steps >= 1, "n_steps", "be at least 1", self.n_steps)
        require(self.order in (4, 8), "order", "be 4 or 8", self.order)

    def forward_and_log_det(
        self, phi: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The field at time 1, and the integral of the divergence."""
        return self._integrate(phi, forwards=True)

    def inverse_and_log_det(
        self, phi: Float[Array, "L T *batch"]
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        """The field at time 0, by the same steps backwards, and minus that integral."""
        return self._integrate(phi, forwards=False)

    def _integrate(
        self, phi: Float[Array, "L T *batch"], *, forwards: bool
    ) -> tuple[Float[Array, "L T *batch"], Float[Array, "*batch"]]:
        method = tableau(self.order)
        step_size = (1.0 if forwards else -1.0) / self.n_steps
        rows = (jnp.asarray(method.stages), jnp.asarray(method.times))
        rows = (*rows, jnp.arange(len(method.times)))

        def step(state: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
            field, log_det = state

            # Stages are a scan, too: one velocity is compiled, whatever the order.
            def stage(
                slopes: tuple[Array, Array], row: tuple[Array, Array, Array]
            ) -> tuple[tuple[Array, Array], None]:
                weights, time, index = row
                moved = field + step_size * jnp.tensordot(weights.astype(field.dtype), slopes[0], 1)
                velocity, divergence = self.velocity(start + step_size * time, moved)
                return (
                    slopes[0].at[index].set(velocity),
                    slopes[1].at[index].set(divergence),
                ), None

            n_stages = len(method.times)
            slopes = (
                jnp.zeros((n_stages, *field.shape), field.dtype),
                jnp.zeros((n_stages, *log_det.shape), log_det.dtype),
            )
            slopes, _ = jax.lax.scan(stage, slopes, rows)
            weights = jnp.asarray(method.weights)
            field = field + step_size * jnp.tensordot(weights.astype(field.dtype), slopes[0], 1)
            return (field, log_det + step_size * jnp.tensordot(weights, slopes[1], 1)), None

        starts = np.arange(self.n_steps) / self.n_steps
        starts = jnp.asarray(starts if forwards else 1.0 - starts)
        state = phi, jnp.zeros(phi.shape[2:], float)
        return jax.lax.scan(jax.checkpoint(step), state, starts)[0]


def continuous_flow(
    lattice: Lattice,
    *,
    key: Key,
    n_sines: int = 6,
    n_modes: int = 4,
    reach: int = 3,
    mass_squared: float = 1.0,
    n_steps: int = 8,
    order: int = 8,
) -> ScalarFlow:
    """The continuous flow of a free field.

    Its parameters know no lattice: train on a small one, go on with `flow.on(larger)`. Training by
    `order=4` in six steps costs 24 velocities a field, densities to 1e-8 ten times as many;
    `with_steps` changes the integrator of a flow that is trained.

    Args:
        lattice: A two-dimensional lattice.
        key: Random key.
        n_sines: Number of sines of the field in the velocity.
        n_modes: Number of cosines in time.
        reach: The longest displacement along an axis in the kernels.
        mass_squared: That of the free field at time 0; it is trained, too.
        n_steps: Steps of the integrator.
        order: Its order, 4 or 8.

    Returns:
        The flow, near the free field.

    Raises:
        ConfigError: The lattice is not two-dimensional, or a number is out of its range.
    """
    require(lattice.dimension == 2, "shape", "have two lengths for this flow", lattice.shape)
    for name, value in (("n_sines", n_sines), ("n_modes", n_modes)):
        require(value >= 1, name, "be at least 1", value)
    require(reach >= 0, "reach", "not be negative", reach)
    require(mass_squared > 0, "mass_squared", "be positive", mass_squared)
    shape = (n_modes, n_sines + 1, n_orbits(reach))
    velocity = SineVelocity(
        _INITIAL_SCALE * jax.random.normal(key, shape),
        jnp.linspace(_HIGHEST_FREQUENCY / n_sines, _HIGHEST_FREQUENCY, n_sines),
        reach,
    )
    free = FreeField(jnp.log(jnp.asarray(mass_squared, float)))
    return ScalarFlow(lattice, Chain((free, ContinuousFlow(velocity, n_steps, order))))


def with_steps(flow: ScalarFlow, n_steps: int, order: int) -> ScalarFlow:
    """A continuous flow with another integrator, all parameters as they are.

    Args:
        flow: A flow of `continuous_flow`, or another chain with such a part.
        n_steps: Steps of the integrator.
        order: Its order, 4 or 8.

    Returns:
        The flow.

    Raises:
        ConfigError: A number is out of its range.
    """
    chain = flow.bijection
    parts = chain.bijections if isinstance(chain, Chain) else (chain,)
    changed = [
        ContinuousFlow(part.velocity, n_steps, order) if isinstance(part, ContinuousFlow) else part
        for part in parts
    ]
    return ScalarFlow(flow.lattice, Chain(tuple(changed)))
