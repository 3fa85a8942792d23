r"""A normalising flow of outcomes, conditional on the design.

Reference:
    G. Papamakarios et al., arXiv:1705.07057; C. Durkan et al., arXiv:1906.04032; flowjax.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import require_counts, require_positive
from diffhep.core.errors import ConfigError
from diffhep.core.typing import Key, Scalar
from diffhep.detector.surrogates.base import AbstractSurrogate, Domain
from diffhep.detector.surrogates.training import as_type, train

__citations__ = ("arXiv:1705.07057", "arXiv:1906.04032")

INTERVAL = 5
"""Splines act within as many standard deviations; a float would make all of them double."""


class SplineFlow(AbstractSurrogate):
    """Masked autoregressive layers of rational quadratic splines, by flowjax.

    Cost: a density is one pass through every layer, and so is a draw, one observable after another.
    The first fit compiles for some ten seconds.

    Attributes:
        n_layers: Autoregressive layers.
        width: Units of a hidden layer.
        n_knots: Inner knots of a spline.
        n_steps: Of Adam.
        batch: Events a step.
        learning_rate: The first one.
        domain: Where it has data.
        bijection: From normal noise to standardised outcomes.
    """

    n_layers: int = eqx.field(static=True, default=2)
    width: int = eqx.field(static=True, default=32)
    n_knots: int = eqx.field(static=True, default=8)
    n_steps: int = eqx.field(static=True, default=1000)
    batch: int = eqx.field(static=True, default=256)
    learning_rate: float = eqx.field(static=True, default=5e-3)
    domain: Domain | None = None
    bijection: Any = None

    def __check_init__(self) -> None:
        require_counts(self, 1, "n_layers", "width", "n_knots", "n_steps", "batch")
        require_positive(self, "learning_rate")

    def fit(
        self,
        designs: Float[np.ndarray, "event param"],
        outcomes: Float[np.ndarray, "event observable"],
        *,
        key: Key,
    ) -> "SplineFlow":
        """See `AbstractSurrogate.fit`; maximum likelihood."""
        domain, bijection = train(
            self._build, _negative_log_density, designs, outcomes, n_steps=self.n_steps,
            batch=self.batch, learning_rate=self.learning_rate, key=key,
        )  # fmt: skip
        return eqx.tree_at(
            lambda flow: (flow.domain, flow.bijection),
            self,
            (domain, bijection),
            is_leaf=lambda leaf: leaf is None,
        )

    def draw(
        self, design: Float[Array, " param"], noise: Float[Array, " observable"]
    ) -> Float[Array, " observable"]:
        """See `AbstractSurrogate.draw`."""
        domain = self._fitted()
        y = from_noise(self.bijection, noise, domain.standard(design))
        return domain.shift + domain.spread * y

    def log_density(
        self, design: Float[Array, " param"], outcome: Float[Array, " observable"]
    ) -> Scalar:
        """See `AbstractSurrogate.log_density`."""
        domain = self._fitted()
        y = (outcome - domain.shift) / domain.spread
        return -_negative_log_density(
            self.bijection, y, domain.standard(design), None
        ) - jnp.sum(jnp.log(domain.spread))  # fmt: skip

    def _fitted(self) -> Domain:
        if self.domain is None:
            raise ConfigError("SplineFlow is not fitted: use what its `fit` returns.")
        return self.domain

    def _build(self, n_observables: int, n_params: int, key: Key) -> Any:
        from flowjax.bijections import RationalQuadraticSpline
        from flowjax.distributions import Normal
        from flowjax.flows import masked_autoregressive_flow

        # Flowjax keeps the spline's arrays as constants: in double precision all would become so.
        knots = RationalQuadraticSpline(knots=self.n_knots, interval=INTERVAL)
        return masked_autoregressive_flow(
            key,
            base_dist=Normal(jnp.zeros(n_observables)),
            transformer=as_type(knots, jnp.float32),
            cond_dim=n_params,
            flow_layers=self.n_layers,
            nn_width=self.width,
            nn_depth=1,
            nn_activation=jax.nn.silu,
        ).bijection


def _negative_log_density(bijection: Any, y: Array, x: Array, key: Key | None) -> Scalar:
    del key
    z, log_det = bijection.inverse_and_log_det(y, x)
    return 0.5 * jnp.sum(z**2) + 0.5 * z.size * jnp.log(2.0 * jnp.pi).astype(z.dtype) - log_det


def from_noise(
    bijection: Any, noise: Float[Array, " observable"], x: Float[Array, " param"]
) -> Float[Array, " observable"]:
    """The bijection's `transform`, by layers of which each is inverted in one pass.

    Flowjax evaluates a layer once for every observable; only one observable's outputs are new.

    Args:
        bijection: As `masked_autoregressive_flow` makes it, with one hidden layer.
        noise: Of one event.
        x: The condition.

    Returns:
        The outcome.
    """
    layers = bijection.bijection.bijection
    arrays, rest = eqx.partition(layers, eqx.is_array)

    def back(y: Array, each: Any) -> tuple[Array, None]:
        # A layer of one observable has no permutation.
        layer, *permutation = getattr(each := eqx.combine(each, rest), "bijections", (each,))
        for part in permutation:
            y = part.inverse(y)
        return _invert(layer, y, x), None

    return jax.lax.scan(back, noise, arrays, reverse=True)[0]


def _invert(layer: Any, y: Array, x: Array) -> Array:
    """The inverse of an autoregressive layer with one hidden layer."""
    import paramax

    network = paramax.unwrap(layer.masked_autoregressive_mlp)
    first, last = network.layers
    n = y.size

    def one(hidden: Array, part: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        column, weight, bias, known = part
        spline = layer.transformer_constructor(weight @ network.activation(hidden) + bias)
        found = spline.inverse(known)
        return hidden + column * found, found

    columns, weights = first.weight[:, :n].T, last.weight.reshape(n, -1, last.weight.shape[1])
    start = first.bias + first.weight[:, n:] @ x
    return jax.lax.scan(one, start, (columns, weights, last.bias.reshape(n, -1), y))[1]
