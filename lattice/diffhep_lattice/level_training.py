r"""Training of the multiscale flow level by level, by quadrature.

In two dimensions the density of a U(1) loop around A plaquettes has the Fourier coefficients
$r_n^A$, $r_n = I_n(\beta)/I_0(\beta)$: $f_A(\theta) = \sum_n r_n^A e^{in\theta}$. A parent loop s
of area 2A on a torus of V plaquettes has the density $f_{2A}(s)f_{V-2A}(s)$, and given it the child
$a = s/2 + y$ has $f_A(s/2+y)f_A(s/2-y)/f_{2A}(s)$. The divergence of each level is therefore a
two-dimensional integral over s and y; their sum, with the number of splits of
each level, is the divergence of the whole flow. No field is ever sampled.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.special import ive

from diffhep.core.checks import as_integer, require_real, require_type, require_x64
from diffhep.core.fit import FitResult, fit
from diffhep.core.rng import key_at
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.flows.multiscale import LoopSplit, MultiscaleFlow
from diffhep_lattice.training import require_rate

__citations__ = ("arXiv:1412.6980", "arXiv:1901.09830")

_N_PARENTS = 32
"""Quadrature points in s on the circle."""

_N_CHILDREN = 192
"""Quadrature points in y on the circle."""

_FLOOR = 1e-14
"""Densities below this fraction of their peak are rounding errors of the Fourier sum."""


class LevelKL(eqx.Module):
    r"""The forward divergence of a multiscale flow from 2D U(1) theory, by quadrature.

    $\int p\log(p/q)$ in nats. The forward divergence cannot overlook a mode: a child of a parent
    near $\pi$ has two.

    Attributes:
        coefficients: $r_n$ for n = 0, 1, 2, ...
        volume: Number of plaquettes V of the torus.
    """

    coefficients: Float[Array, " n"]
    volume: int = eqx.field(static=True)

    def __init__(self, beta: float, volume: int) -> None:
        """Set up the coefficients.

        Args:
            beta: Inverse coupling, at least 0.
            volume: Number of plaquettes.

        Raises:
            ConfigError: `beta` is no finite number of at least 0, `volume` no integer of at least
                4, or x64 is off.
        """
        require_x64("the densities of loops")
        require_real(beta, "beta", "be finite and at least 0", low=0.0)
        ratios = ive(np.arange(int(40 + 20 * np.sqrt(beta))), beta) / ive(0, beta)
        self.coefficients = jnp.asarray(ratios[: max(int(np.sum(ratios > 1e-17)), 2)])
        self.volume = as_integer(volume, "volume", low=4)

    def __call__(self, flow: MultiscaleFlow, key: Key, step: Array) -> tuple[Scalar, dict]:
        """The divergence of the whole flow, in nats, and of each level."""
        levels = jnp.stack(
            [
                self._level(split, level, key=key_at(key, level))
                for level, split in enumerate(flow.splits)
            ]
        )
        return jnp.sum(levels), {"levels": levels}

    def _level(self, split: LoopSplit, level: int, *, key: Key) -> Scalar:
        """The divergence of all splits of one level."""
        n_splits, area = 2**level, self.volume // 2 ** (level + 1)
        child_key, parent_key = jax.random.split(key)
        parents, weights = self._parents(2 * area, key=parent_key)
        y = _shifted_grid(_N_CHILDREN, key=child_key)

        def at(one_y: Scalar) -> tuple[Array, Array]:
            return split.inverse_and_log_slope(jnp.full_like(parents, one_y), parents)

        z, log_slope = jax.vmap(at)(y)
        # Densities relative to the Haar measure dy / 2 pi.
        log_q = 0.5 * jnp.log(2 * jnp.pi) - 0.5 * jnp.square(z) + log_slope
        log_p = self._log_density(0.5 * parents + y[:, None], area)
        log_p = log_p + self._log_density(0.5 * parents - y[:, None], area)
        log_p = log_p - self._log_density(parents, 2 * area)
        divergence = jnp.mean(jnp.exp(log_p) * (log_p - log_q), axis=0)
        return n_splits * (divergence @ weights)

    def _parents(self, area: int, *, key: Key) -> tuple[Float[Array, " s"], Float[Array, " s"]]:
        """Parent loops and their weights; the whole torus has the angle 0."""
        if area == self.volume:
            return jnp.zeros(1), jnp.ones(1)
        s = _shifted_grid(_N_PARENTS, key=key)
        log_f = self._log_density(s, area) + self._log_density(s, self.volume - area)
        return s, jax.nn.softmax(log_f)

    def _log_density(self, angle: Float[Array, "*shape"], area: int) -> Float[Array, "*shape"]:
        n = jnp.arange(self.coefficients.size)
        powers = self.coefficients**area * jnp.where(n == 0, 1.0, 2.0)
        density = jnp.tensordot(powers, jnp.cos(n.reshape(-1, *([1] * angle.ndim)) * angle), axes=1)
        return jnp.log(jnp.maximum(density, _FLOOR * jnp.sum(powers)))


def _shifted_grid(n: int, *, key: Key) -> Float[Array, " n"]:
    """A grid on [-pi, pi] with a random origin, folded to the positive side.

    A fixed grid would be exploited: the splines move their knots to where it is wrong.
    """
    return jnp.abs((jnp.arange(n) + jax.random.uniform(key)) * (2 * np.pi / n) - np.pi)


def train_levels(
    flow: MultiscaleFlow,
    beta: float,
    n_steps: int = 2000,
    *,
    key: Key,
    learning_rate: float = 1e-2,
    **fit_options: Any,
) -> FitResult:
    """Fit a multiscale flow to 2D U(1) theory, every level by itself, without sampling.

    Args:
        flow: Where to start, in double precision.
        beta: Inverse coupling, at least 0.
        n_steps: Optimiser steps.
        key: Random key, for the origins of the quadrature grids.
        learning_rate: The largest learning rate; it decays to zero along a cosine.
        **fit_options: Passed to `diffhep.core.fit.fit`.

    Returns:
        The fit; its loss is the divergence of the whole flow in nats.

    Raises:
        ConfigError: `flow` is another one, `beta` no finite number of at least 0, another setting
            is out of its range, or `jax_enable_x64` is off.
        ConvergenceError: Loss or parameters are not finite.
    """
    require_type(flow, MultiscaleFlow, "flow", "be a multiscale_flow(lattice, key=key)")
    n_steps = as_integer(n_steps, "n_steps", low=0)
    require_rate(learning_rate)
    schedule = optax.cosine_decay_schedule(learning_rate, max(n_steps, 1))
    loss = LevelKL(beta, flow.lattice.volume)
    return fit(loss, flow, n_steps, key=key, learning_rate=schedule, clip_norm=10.0, **fit_options)
