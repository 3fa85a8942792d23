"""Tuning of a sampler's step size during warm-up."""

from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from diffhep.core.checks import as_integer, require, require_real, require_shape, require_type
from diffhep.core.rng import check_key, key_at, keys_for_chains
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Key, PyTree
from diffhep_lattice.samplers.hmc import HMC
from diffhep_lattice.samplers.latent_hmc import FlowHMC

__citations__ = ("arXiv:1111.4246",)

Algorithm = TypeVar("Algorithm", HMC, FlowHMC)


class Adapted(NamedTuple):
    """A tuned algorithm and where its warm-up ended.

    Attributes:
        algorithm: The algorithm with the tuned step size.
        positions: The chains' positions after the warm-up.
    """

    algorithm: AbstractSamplingAlgorithm
    positions: PyTree


def adapt_step_size(
    algorithm: Algorithm, positions: PyTree, *, key: Key, n_steps: int = 200, target: float = 0.8
) -> Adapted:
    """Tune the step size of HMC towards a mean acceptance probability, by dual averaging.

    All chains share one step size, driven by their mean acceptance probability. The number of
    integrator steps stays, so the trajectory's length changes with the step size. Samples taken
    while the step size still moves are no samples of the density: use only what comes after.

    Args:
        algorithm: `hmc(...)` or `flow_hmc(...)`; its step size is the first guess.
        positions: Fields to start from, with a leading chain axis on every leaf.
        key: Random key.
        n_steps: Transitions of the warm-up.
        target: Acceptance probability aimed at, in (0, 1).

    Returns:
        The tuned algorithm and the chains' last positions.

    Raises:
        ConfigError: `algorithm` is another one, or `target` or `n_steps` is out of range.
        ShapeError: The leaves of `positions` share no leading axis of at least one chain.

    Reference:
        M. D. Hoffman, A. Gelman, arXiv:1111.4246, section 3.2.
    """
    check_key(key)
    rule = "be made by hmc(...) or flow_hmc(...), which have a step size"
    require_type(algorithm, (HMC, FlowHMC), "algorithm", rule)
    require_real(target, "target", "be between 0 and 1")
    require(0.0 < target < 1.0, "target", "be between 0 and 1", target)
    n_steps = as_integer(n_steps, "n_steps", low=1)
    axes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(positions)}
    good = len(axes) == 1 and axes.isdisjoint({(), (0,)})
    rule = "have one leading axis of at least one chain on every leaf"
    require_shape(good, "positions", rule, f"leading axes {sorted(axes)}")
    step_size, positions = _warm_up(algorithm, positions, key, n_steps, target)
    return Adapted(_with_step_size(algorithm, step_size), positions)


def _with_step_size(algorithm: Algorithm, step_size: jax.Array) -> Algorithm:
    return eqx.tree_at(lambda tuned: tuned.step_size, algorithm, step_size)


@eqx.filter_jit
def _warm_up(
    algorithm: Algorithm, positions: PyTree, key: Key, n_steps: int, target: float
) -> tuple[jax.Array, PyTree]:
    # blackjax takes a second and a half to import, which only those who tune should pay.
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    start, update, finish = dual_averaging_adaptation(target)
    n_chains = jax.tree.leaves(positions)[0].shape[0]

    def transition(carry: tuple[PyTree, PyTree], index: jax.Array) -> tuple[PyTree, None]:
        averaging, states = carry
        tuned = _with_step_size(algorithm, jnp.exp(averaging.log_step_size))
        keys = keys_for_chains(key_at(key, index), n_chains)
        states, info = jax.vmap(tuned.step)(keys, states)
        return (update(averaging, jnp.mean(info.acceptance_probability)), states), None

    averaging = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), start(algorithm.step_size))
    states = jax.vmap(algorithm.init)(positions)
    (averaging, states), _ = jax.lax.scan(transition, (averaging, states), jnp.arange(n_steps))
    return finish(averaging), states.position
