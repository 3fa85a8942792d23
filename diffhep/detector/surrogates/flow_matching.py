r"""A velocity that carries normal noise to outcomes, conditional on the design.

$\mathrm E\,|v(t,z_t,\psi)-(y-z)|^2$ is least, with $z_t=(1-t)z+ty$ from normal noise z to an
outcome y, where v is the velocity of a flow from one to the other.

Reference:
    Y. Lipman et al., arXiv:2210.02747.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_counts, require_positive
from diffhep.core.errors import ConfigError
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep.detector.surrogates.base import AbstractSurrogate, Domain
from diffhep.detector.surrogates.training import train

__citations__ = ("arXiv:2210.02747",)


class FlowMatching(AbstractSurrogate):
    """A network's velocity, integrated by diffrax in steps of equal length.

    Cost: training needs no density and is cheap; a draw is `n_integration` steps of a fourth-order
    scheme, a density the same with the trace of the velocity's Jacobian.

    Attributes:
        width: Units of a hidden layer.
        depth: Hidden layers.
        n_integration: Steps from noise to outcome.
        n_steps: Of Adam.
        batch: Events a step.
        learning_rate: The first one.
        domain: Where it has data.
        velocity: The network.
    """

    width: int = eqx.field(static=True, default=64)
    depth: int = eqx.field(static=True, default=2)
    n_integration: int = eqx.field(static=True, default=16)
    n_steps: int = eqx.field(static=True, default=2000)
    batch: int = eqx.field(static=True, default=256)
    learning_rate: float = eqx.field(static=True, default=5e-3)
    domain: Domain | None = None
    velocity: Any = None

    def __check_init__(self) -> None:
        require_counts(self, 1, "width", "depth", "n_integration", "n_steps", "batch")
        require_positive(self, "learning_rate")

    def fit(
        self,
        designs: Float[np.ndarray, "event param"],
        outcomes: Float[np.ndarray, "event observable"],
        *,
        key: Key,
    ) -> "FlowMatching":
        """See `AbstractSurrogate.fit`."""
        domain, velocity = train(
            self._build, _matching, designs, outcomes, n_steps=self.n_steps, batch=self.batch,
            learning_rate=self.learning_rate, key=key,
        )  # fmt: skip
        return eqx.tree_at(
            lambda flow: (flow.domain, flow.velocity),
            self,
            (domain, velocity),
            is_leaf=lambda leaf: leaf is None,
        )

    def draw(
        self, design: Float[Array, " param"], noise: Float[Array, " observable"]
    ) -> Float[Array, " observable"]:
        """See `AbstractSurrogate.draw`."""
        domain = self._fitted()
        x = domain.standard(design)
        y = self._solve(lambda t, z: _evaluate(self.velocity, t, z, x), noise, 0.0, 1.0)
        return domain.shift + domain.spread * y

    def log_density(
        self, design: Float[Array, " param"], outcome: Float[Array, " observable"]
    ) -> Scalar:
        """See `AbstractSurrogate.log_density`."""
        domain = self._fitted()
        x = domain.standard(design)

        def with_trace(t: Scalar, state: tuple[Array, Array]) -> tuple[Array, Array]:
            def slope(z: Array) -> Array:
                return _evaluate(self.velocity, t, z, x)

            return slope(state[0]), jnp.trace(jax.jacfwd(slope)(state[0]))

        y = (outcome - domain.shift) / domain.spread
        # Backwards in time, the integral of the trace comes with a minus sign.
        z, change = self._solve(with_trace, (y, jnp.zeros(())), 1.0, 0.0)
        normal = -0.5 * jnp.sum(z**2) - 0.5 * z.size * jnp.log(2.0 * jnp.pi)
        return normal + change - jnp.sum(jnp.log(domain.spread))

    def _fitted(self) -> Domain:
        if self.domain is None:
            raise ConfigError("FlowMatching is not fitted: use what its `fit` returns.")
        return self.domain

    def _solve(self, slope: Any, start: Any, begin: float, end: float) -> Any:
        import diffrax

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, state, _: slope(jnp.asarray(t, float), state)),
            diffrax.Tsit5(scan_kind="bounded"),
            begin,
            end,
            (end - begin) / self.n_integration,
            start,
            max_steps=self.n_integration + 1,
        )
        return jax.tree.map(lambda path: path[0], found.ys)

    def _build(self, n_observables: int, n_params: int, key: Key) -> Any:
        size = n_observables + n_params + 1
        return eqx.nn.MLP(size, n_observables, self.width, self.depth, jax.nn.silu, key=key)


def _evaluate(network: Any, t: Array, z: Array, x: Array) -> Float[Array, " observable"]:
    return network(jnp.concatenate([z, x, t[None]]))


def _matching(network: Any, y: Array, x: Array, key: Key) -> Scalar:
    z = jax.random.normal(key_for(key, "noise"), y.shape, y.dtype)
    t = jax.random.uniform(key_for(key, "time"), (), y.dtype)
    found = _evaluate(network, t, (1.0 - t) * z + t * y, x)
    return jnp.sum((found - (y - z)) ** 2)
