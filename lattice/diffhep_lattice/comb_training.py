r"""Training of the comb flow: one plaquette by quadrature, then one chain of plaquettes.

The plaquettes of a comb that feel no constraint share one map, so the divergence of one of them
from $f(W)\propto e^{\frac\beta N\mathrm{Re\,tr}\,W}$ is an integral over N - 1 eigenangles. The
others form a chain of k plaquettes with a given, Haar distributed product, whose divergence from
$\prod f(W_i)$ is estimated from matrices, not fields. Neither refers to the size of the lattice.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from diffhep.core.checks import require_real, require_x64
from diffhep.core.errors import ConfigError
from diffhep.core.fit import FitResult, fit
from diffhep.core.rng import key_for
from diffhep.core.typing import Key, Scalar
from diffhep_lattice.flows.comb import ChainSplit, Comb
from diffhep_lattice.flows.coupling import CouplingFlow
from diffhep_lattice.flows.eigenangles import Angles
from diffhep_lattice.flows.spectral import SpectralMap, from_box, log_volume
from diffhep_lattice.groups import SUN
from diffhep_lattice.groups.matrices import dagger_multiply, trace

__citations__ = ("arXiv:2008.05456",)

_N_QUADRATURE = {2: 512, 3: 64}
"""Quadrature points per coordinate, by the number of colours."""


class PlaquetteKL(eqx.Module):
    r"""The reverse divergence of a spectral map from the theory of one plaquette, by quadrature.

    $\int dW\,[\log q(W') - \frac\beta N\mathrm{Re\,tr}\,W'] + \log z(\beta)$ in nats.

    Attributes:
        beta: Inverse coupling, at least 0.
    """

    beta: Scalar = eqx.field(converter=lambda beta: jnp.asarray(beta, float))

    def __call__(self, model: SpectralMap, key: Key, step: Array) -> Scalar:
        """The divergence on a grid with a random origin: a fixed one would be exploited."""
        angles, log_weight = _grid(model.n_colors, key=key)
        new, log_det = model.forward_angles(angles)
        log_z = jax.nn.logsumexp(log_weight + self._log_density(angles))
        return jnp.exp(log_weight) @ (-log_det - self._log_density(new)) + log_z

    def _log_density(self, angles: Angles) -> Float[Array, "*shape"]:
        return self.beta * jnp.mean(jnp.cos(angles), axis=0)


def _grid(n_colors: int, *, key: Key) -> tuple[Angles, Float[Array, " point"]]:
    """Eigenangles at the points of a grid and the logarithm of their share in Weyl's measure."""
    n = _N_QUADRATURE[n_colors]
    origin = jax.random.uniform(key, (n_colors - 1, 1))
    lines = (jnp.arange(n) + origin) / n
    box = jnp.stack([x.ravel() for x in jnp.meshgrid(*lines, indexing="ij")])
    angles = from_box(box)
    return angles, jax.nn.log_softmax(log_volume(angles))


class ChainKL(eqx.Module):
    r"""The reverse divergence of conditional densities from a chain of plaquettes.

    A Haar distributed product S is split into plaquettes $W_k, \dots, W_1$ one after the other:
    $\langle\sum_i\log q(W_i|S_i) - \sum_i\log f(W_i)\rangle_q$ in nats, up to the logarithm of the
    density $f_k(S)$ of the whole chain, which is nearly one.

    Attributes:
        beta: Inverse coupling, at least 0.
        batch: Chains per step.
    """

    beta: Scalar = eqx.field(converter=lambda beta: jnp.asarray(beta, float))
    batch: int = eqx.field(static=True, default=1024)

    def __call__(
        self, model: ChainSplit, key: Key, step: Array
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """The divergence of a batch, and its effective sample size."""
        arrays, static = eqx.partition(model, eqx.is_array)
        n_splits = jax.tree.leaves(arrays)[0].shape[0]
        n_colors = model.maps.n_colors
        draws = SUN(n_colors).haar((n_splits + 1, self.batch), key=key)

        def split(S: Array, at: tuple[Array, ChainSplit]) -> tuple[Array, Array]:
            W, log_det = eqx.combine(at[1], static).forward_and_log_det(at[0], S)
            return dagger_multiply(W, S, 0), -log_det - self._log_density(W)

        S, parts = jax.lax.scan(split, draws[0], (draws[1:], arrays))
        log_w = -(jnp.sum(parts, axis=0) - self._log_density(S))
        log_z = (n_splits + 1) * _log_one_plaquette(n_colors, self.beta)
        log_ess = 2 * jax.nn.logsumexp(log_w) - jax.nn.logsumexp(2 * log_w)
        return log_z - jnp.mean(log_w), {"batch_ess": jnp.exp(log_ess) / self.batch}

    def _log_density(self, W: Array) -> Float[Array, " batch"]:
        return self.beta / W.shape[0] * trace(W, 0).real


def _log_one_plaquette(n_colors: int, beta: Scalar) -> Scalar:
    r"""$\log z(\beta)$ of one plaquette, by quadrature."""
    angles, log_weight = _grid(n_colors, key=jax.random.key(0))
    return jax.nn.logsumexp(log_weight + beta * jnp.mean(jnp.cos(angles), axis=0))


class CombFit(NamedTuple):
    """The trained flow, and the fits of its parts; `chain` is None without conditional maps."""

    flow: CouplingFlow
    plaquette: FitResult
    chain: FitResult | None


def train_comb(
    flow: CouplingFlow,
    beta: float,
    *,
    key: Key,
    n_plaquette_steps: int = 2000,
    n_chain_steps: int = 2000,
    batch: int = 1024,
    learning_rate: float = 5e-3,
    options: Any = None,
) -> CombFit:
    """Fit a comb flow to SU(2) or SU(3) theory in two dimensions, without a field.

    Args:
        flow: Where to start, from `comb_flow`.
        beta: Inverse coupling, at least 0.
        key: Random key.
        n_plaquette_steps: Optimiser steps for the map of one plaquette.
        n_chain_steps: Optimiser steps for the conditional maps.
        batch: Chains per step of the latter.
        learning_rate: The largest learning rate; it decays to zero along a cosine.
        options: A function from the name of a part, "plaquette" or "chain", to keyword arguments
            for `diffhep.core.fit.fit`: checkpoint, name, on_chunk, progress ...

    Returns:
        The flow on the same lattice, and the fits; their losses are divergences in nats.

    Raises:
        ConfigError: `flow` is no comb, `beta` is negative or not finite, or x64 is off.
        ConvergenceError: Loss or parameters are not finite.
    """
    require_x64("the densities of loops")
    require_real(beta, "beta", "be finite and at least 0", low=0.0)
    comb = flow.bijection
    if not isinstance(comb, Comb):
        raise ConfigError(
            f"Argument `flow` must come from `comb_flow`, but it holds {type(comb).__name__}."
        )

    def fitted(name: str, loss: Any, model: Any, n_steps: int) -> FitResult:
        schedule = optax.cosine_decay_schedule(learning_rate, max(n_steps, 1))
        more = options(name) if options else {}
        part_key = key_for(key, name)
        return fit(
            loss, model, n_steps, key=part_key, learning_rate=schedule, clip_norm=1.0, **more
        )

    plaquette = fitted("plaquette", PlaquetteKL(beta), comb.plaquette, n_plaquette_steps)
    chain = None
    if comb.splits is not None:
        chain = fitted("chain", ChainKL(beta, batch), comb.splits, n_chain_steps)
    trained = Comb(plaquette.model, chain.model if chain else None, comb.n_constrained)
    return CombFit(CouplingFlow(flow.lattice, trained, flow.group), plaquette, chain)
