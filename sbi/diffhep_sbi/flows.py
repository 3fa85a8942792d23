r"""Conditional densities: a linear Gaussian fit, refined by a masked autoregressive flow.

$u = M\,(y - W c - b)$ with M lower triangular takes out what a linear regression knows; a flow of
u, given c as well, learns the rest. Before training, the density is that of the regression.

Reference:
    G. Papamakarios et al., arXiv:1705.07057; C. Durkan et al., arXiv:1906.04032; flowjax.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffhep.core.checks import as_integer, require
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar

__citations__ = ("arXiv:1705.07057", "arXiv:1906.04032")

_RIDGE = 1e-6
"""Least variance of a residual, in units of a standardised variable's."""

INTERVAL = 5
"""Splines act within as many standard deviations; a float would make all of them double."""

FlowBuilder = Callable[[int, int, Key], Any]
"""`builder(n_outputs, n_conditions, key)`, a flowjax bijection to normal variables, inverted."""


def autoregressive_flow(
    n_layers: int = 4, width: int = 48, depth: int = 2, n_knots: int = 8
) -> FlowBuilder:
    """Builder of masked autoregressive flows with splines.

    Cost: a density is one pass through every layer, a sample as many as there are dimensions.

    Args:
        n_layers: Autoregressive layers, each in another order of the variables.
        width: Units of a hidden layer.
        depth: Hidden layers.
        n_knots: Inner knots of the splines.

    Returns:
        The builder.

    Raises:
        ConfigError: A number is out of range.
    """
    n_layers, width = as_integer(n_layers, "n_layers", low=1), as_integer(width, "width", low=1)
    depth, n_knots = as_integer(depth, "depth", low=1), as_integer(n_knots, "n_knots", low=1)

    def build(n_outputs: int, n_conditions: int, key: Key) -> Any:
        from flowjax.bijections import RationalQuadraticSpline
        from flowjax.distributions import Normal
        from flowjax.flows import masked_autoregressive_flow

        # Flowjax keeps the spline's arrays as constants: in double precision all would become so.
        spline = as_type(RationalQuadraticSpline(knots=n_knots, interval=INTERVAL), jnp.float32)
        flow = masked_autoregressive_flow(
            key,
            base_dist=Normal(jnp.zeros(n_outputs)),
            transformer=spline,
            cond_dim=n_conditions,
            flow_layers=n_layers,
            nn_width=width,
            nn_depth=depth,
            nn_activation=jax.nn.silu,
        )
        return eqx.tree_at(_last_layer, flow.bijection, replace_fn=_zeros)

    return build


def _last_layer(bijection: Any) -> Any:
    """The layers of the conditioners that set the splines."""
    return bijection.bijection.bijection.bijections[0].masked_autoregressive_mlp.layers[-1]


def _zeros(layer: Any) -> Any:
    """A layer of zeros: splines start as the identity."""
    return jax.tree.map(lambda leaf: 0.0 * leaf if eqx.is_inexact_array(leaf) else leaf, layer)


class ConditionalFlow(eqx.Module):
    r"""$\log\hat p(y|c)$ of standardised variables.

    Attributes:
        bijection: From normal variables to u, given c.
        slope: W.
        shift: b.
        whitening: M, with logarithms on the diagonal.
    """

    bijection: Any
    slope: Float[Array, "output condition"]
    shift: Float[Array, " output"]
    whitening: Float[Array, "output output"]

    def __call__(self, y: Float[Array, " output"], condition: Float[Array, " condition"]) -> Scalar:
        """The log-density."""
        u = self._matrix @ (y - self.slope @ condition - self.shift)
        z, log_det = self.bijection.inverse_and_log_det(u, condition)
        normal = -0.5 * jnp.sum(z**2) - 0.5 * z.size * jnp.log(2.0 * jnp.pi).astype(z.dtype)
        return normal + log_det + jnp.trace(self.whitening)

    def sample(self, condition: Float[Array, " condition"], *, key: Key) -> Float[Array, " output"]:
        """One draw."""
        z = jax.random.normal(key, self.shift.shape, self.shift.dtype)
        u = self.bijection.transform(z, condition)
        y = jax.scipy.linalg.solve_triangular(self._matrix, u, lower=True)
        return y + self.slope @ condition + self.shift

    @property
    def _matrix(self) -> Float[Array, "output output"]:
        return jnp.tril(self.whitening, -1) + jnp.diag(jnp.exp(jnp.diagonal(self.whitening)))


def build_flow(
    build: FlowBuilder,
    y: Float[np.ndarray, "event output"],
    condition: Float[np.ndarray, "event condition"],
    *,
    key: Key,
) -> ConditionalFlow:
    """An untrained flow around the linear regression of y on the condition.

    Args:
        build: Builder of the flow.
        y: Standardised training data.
        condition: What they are conditioned on, standardised.
        key: Random key.

    Returns:
        The flow, in single precision.

    Raises:
        ConfigError: There are no more events than coefficients of the regression.
    """
    n_events, n_outputs = y.shape
    rule = f"be more than the {condition.shape[1] + 1} coefficients of a regression"
    require(n_events > condition.shape[1] + n_outputs + 1, "events", rule, n_events)
    known = np.concatenate([condition, np.ones((n_events, 1))], axis=1).astype(float)
    solution = np.linalg.lstsq(known, y.astype(float), rcond=1e-6)[0]
    residual = y - known @ solution
    covariance = residual.T @ residual / n_events + _RIDGE * np.eye(n_outputs)
    matrix = np.linalg.inv(np.linalg.cholesky(covariance))
    whitening = np.tril(matrix, -1) + np.diag(np.log(np.diagonal(matrix)))
    flow = ConditionalFlow(
        bijection=build(n_outputs, condition.shape[1], key_for(key, "flow")),
        slope=jnp.asarray(solution[:-1].T),
        shift=jnp.asarray(solution[-1]),
        whitening=jnp.asarray(whitening),
    )
    return as_type(flow, jnp.float32)


def as_type(module: Any, dtype: Any) -> Any:
    """A module with its floating-point arrays in another precision.

    Args:
        module: Any pytree.
        dtype: The precision.

    Returns:
        The same pytree.
    """
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, module
    )


def mixture_log_prob(log_probs: Float[Array, " member"]) -> Scalar:
    """The log-density of the equal mixture of members."""
    return jax.nn.logsumexp(log_probs) - jnp.log(log_probs.shape[0])


def draw_mixture(
    flows: ConditionalFlow, condition: Array, n_samples: int, n_members: int, key: Key
) -> Float[Array, "sample output"]:
    """Standardised draws from the equal mixture of members: each from one chosen at random.

    Args:
        flows: The members, with a leading member axis.
        condition: What the density is conditional on, standardised.
        n_samples: Number of draws.
        n_members: How many members there are.
        key: Random key.

    Returns:
        The draws.
    """
    keys = jax.random.split(key_for(key, "draws"), n_samples)

    def of_member(flow: ConditionalFlow) -> Array:
        return jax.vmap(lambda key: flow.sample(condition, key=key))(keys)

    drawn = eqx.filter_vmap(of_member)(flows)
    chosen = jax.random.randint(key_for(key, "members"), (n_samples,), 0, n_members)
    return drawn[chosen, jnp.arange(n_samples)]
