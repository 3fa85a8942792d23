r"""Two crescents: a posterior of two modes, each a thin arc.

Reference:
    J.-M. Lueckmann et al., arXiv:2101.04653.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer
from diffhep.core.errors import ConvergenceError
from diffhep.core.rng import check_key, key_at, key_for
from diffhep.core.typing import Key, Scalar
from diffhep_sbi.problems.base import AbstractProblem
from diffhep_sbi.simulator import Density

__citations__ = ("arXiv:2101.04653",)

RADIUS = 0.1
THICKNESS = 0.01
OFFSET = 0.25

_MOST_ROUNDS = 1000
"""Of proposals, each as many as there are draws to be made, before an event is given up."""


class TwoMoons(AbstractProblem):
    r"""$x = r(\cos a, \sin a) + (1/4, 0) + (-|\theta_1+\theta_2|, \theta_2-\theta_1)/\sqrt2$.

    $a\sim U(-\pi/2, \pi/2)$ and $r\sim N(0.1, 0.01^2)$ are drawn; the prior is uniform on
    $[-1, 1]^2$. Given x, the sign of $\theta_1+\theta_2$ is open.
    """

    @property
    def prior(self) -> dist.Distribution:
        """Uniform on a square."""
        return dist.Uniform(-jnp.ones(2), jnp.ones(2)).to_event(1)

    @property
    def simulator(self) -> Density:
        """An event; it has no latent variable left."""
        return Density(_draw, _log_joint)

    def log_prob(self, x: Float[Array, " feature"], theta: Float[Array, " param"]) -> Scalar:
        r"""$\log N(r; 0.1, 0.01^2) - \log(\pi r)$ on the half-plane of the crescent."""
        u, v = x - jnp.array([OFFSET, 0.0]) - _shift(theta)
        r = jnp.sqrt(u**2 + v**2)
        log_p = dist.Normal(RADIUS, THICKNESS).log_prob(r) - jnp.log(jnp.pi * r)
        return jnp.where(u > 0.0, log_p, -jnp.inf)

    def posterior_samples(
        self, x: Float[Array, " feature"], n_samples: int, *, key: Key
    ) -> Float[Array, "sample param"]:
        """Exact draws from the posterior: crescents turned back, those outside the prior left out.

        Args:
            x: The event.
            n_samples: Number of draws.
            key: Random key.

        Returns:
            The draws.

        Raises:
            ConvergenceError: The event is impossible under the prior, as far as one can see.
        """
        check_key(key)
        n_samples = as_integer(n_samples, "n_samples", low=1)
        kept, count = [], 0
        for number in range(_MOST_ROUNDS):
            theta = np.asarray(_turn_back(jnp.asarray(x), n_samples, key_at(key, number)))
            good = np.all(np.abs(theta) <= 1.0, axis=1)
            kept.append(theta[good])
            count += int(good.sum())
            if count >= n_samples:
                return jnp.asarray(np.concatenate(kept)[:n_samples])
        raise ConvergenceError(f"Only {count} of {n_samples} draws were found for event {x}.")


def _noise(key: Key) -> Float[Array, " feature"]:
    angle = jax.random.uniform(key_for(key, "a"), minval=-jnp.pi / 2, maxval=jnp.pi / 2)
    r = RADIUS + THICKNESS * jax.random.normal(key_for(key, "r"))
    return jnp.stack([r * jnp.cos(angle) + OFFSET, r * jnp.sin(angle)])


def _shift(theta: Float[Array, " param"]) -> Float[Array, " feature"]:
    return jnp.stack([-jnp.abs(theta[0] + theta[1]), theta[1] - theta[0]]) / jnp.sqrt(2.0)


def _draw(theta: Float[Array, " param"], key: Key) -> tuple[Array, Any]:
    return _noise(key) + _shift(theta), ()


def _log_joint(theta: Float[Array, " param"], x: Float[Array, " feature"], latents: Any) -> Scalar:
    return TwoMoons().log_prob(x, theta)


def _turn_back(x: Array, n_samples: int, key: Key) -> Float[Array, "sample param"]:
    """Parameters whose event would have been x, for random noise; NaN where there is none."""
    noise = jax.vmap(_noise)(jax.random.split(key_for(key, "noise"), n_samples))
    length, across = noise[:, 0] - x[0], x[1] - noise[:, 1]
    length = jnp.where(length >= 0.0, length, jnp.nan)
    along = length * jax.random.rademacher(key_for(key, "sign"), (n_samples,), float)
    return jnp.stack([along - across, along + across], axis=1) / jnp.sqrt(2.0)
