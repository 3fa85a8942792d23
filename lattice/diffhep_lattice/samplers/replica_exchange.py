r"""Replica exchange: chains along a ladder of actions that swap their configurations.

Neighbours with actions $S_i$ and $S_{i+1}$ swap with probability $\min(1, e^{-\Delta})$,
$\Delta = S_i(U_{i+1}) + S_{i+1}(U_i) - S_i(U_i) - S_{i+1}(U_{i+1})$, which leaves
$\prod_i e^{-S_i(U_i)}$ invariant. What one end of the ladder changes easily, such as a topological
charge, so reaches the other. A map $f_i$ between neighbours, $U_i \to f_i(U_i)$ and
$U_{i+1} \to f_i^{-1}(U_{i+1})$ before the test, lets the rungs stand further apart.

Reference:
    R. H. Swendsen, J.-S. Wang, Phys. Rev. Lett. 57 (1986) 2607; K. Hukushima, K. Nemoto,
    arXiv:cond-mat/9512035; with maps, R. Abbott et al., arXiv:2404.11674.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from diffhep.core.checks import require, require_shape, require_type
from diffhep.core.citations import cites
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Flag, Key, Scalar
from diffhep_lattice.actions.base import AbstractAction
from diffhep_lattice.flows.base import AbstractBijection
from diffhep_lattice.flows.compose import stack
from diffhep_lattice.samplers.algorithm import MetropolisInfo, metropolis
from diffhep_lattice.samplers.schedule import (
    require_algorithms,
    require_monotone,
    require_one_form,
)

__citations__ = (
    "doi:10.1103/PhysRevLett.57.2607",
    "arXiv:cond-mat/9512035",
    "arXiv:2404.11674",
)

Replicas = Shaped[Array, "replica ..."]
"""A field per rung of the ladder."""


class ReplicaExchangeState(NamedTuple):
    """The configurations of all replicas.

    Attributes:
        position: The fields, the rung of the ladder as the first axis.
    """

    position: Replicas


class ReplicaExchangeInfo(NamedTuple):
    """How the updates and the swaps of one step went.

    Attributes:
        acceptance_probability: Mean over the updates of all replicas.
        accepted: Whether any update or swap was accepted.
        is_finite: Whether all replicas are finite.
        updates: The info of every replica's update, by its rung: "0", "1", ...
        swaps: The test of every pair of neighbours, by the lower rung of the two.
    """

    acceptance_probability: Scalar
    accepted: Flag
    is_finite: Flag
    updates: dict[str, Any]
    swaps: dict[str, MetropolisInfo]


class ReplicaExchange(AbstractSamplingAlgorithm):
    """An update of every replica, then swaps of the even and then of the odd pairs.

    Attributes:
        algorithms: The algorithms of all rungs as one, with a leading axis on every array; each has
            an `action`.
        bijections: The maps from every rung to the next as one, with a leading axis likewise; None
            for none.
        n_replicas: Number of rungs.
    """

    algorithms: Any
    bijections: AbstractBijection | None
    n_replicas: int = eqx.field(static=True)

    def init(self, position: Replicas) -> ReplicaExchangeState:
        """The state that starts at one field per rung."""
        good = position.ndim >= 1 and position.shape[0] == self.n_replicas
        rule = f"have a leading axis of {self.n_replicas} replicas"
        require_shape(good, "position", rule, f"shape {position.shape}")
        return ReplicaExchangeState(position)

    def step(
        self, key: Key, state: ReplicaExchangeState
    ) -> tuple[ReplicaExchangeState, ReplicaExchangeInfo]:
        """One update of every replica and one test of every pair of neighbours."""
        update_key, *swap_keys = jax.random.split(key, 3)
        keys = jax.random.split(update_key, self.n_replicas)
        position, infos = _over_rungs(_update)(self.algorithms, keys, state.position)
        swaps: dict[str, MetropolisInfo] = {}
        for parity, swap_key in enumerate(swap_keys):
            lower = np.arange(parity, self.n_replicas - 1, 2)
            if lower.size:
                position, tests = self._swap(swap_key, position, lower)
                swaps |= {str(rung): _entry(tests, i) for i, rung in enumerate(lower)}
        moved = [infos.accepted, *(test.accepted[None] for test in swaps.values())]
        info = ReplicaExchangeInfo(
            jnp.mean(infos.acceptance_probability),
            jnp.any(jnp.concatenate(moved)),
            jnp.all(infos.is_finite),
            {str(rung): _entry(infos, rung) for rung in range(self.n_replicas)},
            dict(sorted(swaps.items(), key=lambda pair: int(pair[0]))),
        )
        return ReplicaExchangeState(position), info

    def _swap(
        self, key: Key, position: Replicas, lower: np.ndarray
    ) -> tuple[Replicas, MetropolisInfo]:
        """Test swaps of disjoint pairs, given by their lower rungs."""
        upper = lower + 1
        actions = _entry(self.algorithms.action, lower), _entry(self.algorithms.action, upper)
        maps = None if self.bijections is None else _entry(self.bijections, lower)
        keys = jax.random.split(key, len(lower))
        test = _over_rungs(_exchange)
        fields, tests = test((*actions, maps), keys, (position[lower], position[upper]))
        return position.at[lower].set(fields[0]).at[upper].set(fields[1]), tests


def _entry(tree: Any, index: Any) -> Any:
    """Entries of the leading axis of all arrays."""
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, tree)


def _over_rungs(function: Any) -> Any:
    """The same for many modules at once, with one key and one field each."""
    return eqx.filter_vmap(function, in_axes=(eqx.if_array(0), 0, 0))


def _update(algorithm: Any, key: Key, U: Array) -> tuple[Array, Any]:
    state, info = algorithm.step(key, algorithm.init(U))
    return state.position, info


def _exchange(
    pair: tuple[AbstractAction, AbstractAction, AbstractBijection | None],
    key: Key,
    fields: tuple[Array, Array],
) -> tuple[tuple[Array, Array], MetropolisInfo]:
    """Test the swap of two neighbours."""
    low, high, bijection = pair
    up, down = fields
    log_det = jnp.zeros((), float)
    if bijection is not None:
        up, log_det_up = bijection.forward_and_log_det(up)
        down, log_det_down = bijection.inverse_and_log_det(down)
        log_det = log_det_up + log_det_down
    change = (low(down) - low(fields[0])) + (high(up) - high(fields[1])) - log_det
    return metropolis(key, change, (down, up), fields)


def replica_exchange(
    algorithms: Sequence[Any], bijections: Sequence[AbstractBijection] | None = None
) -> ReplicaExchange:
    """Chains along a ladder of actions, each with its own algorithm, that swap configurations.

    A position is the stack of the replicas, the rung as its first axis, so that `sample` takes
    starts of shape (chain, replica, mu, ...), and observables see all rungs: `jax.vmap(plaquette)`
    measures every one, `lambda U: plaquette(U[-1])` the last. All rungs are one batched program.
    The infos are recorded by rung: "swaps/0/acceptance_probability" is the swap of the first two
    rungs, "updates/0/acceptance_probability" the update of the first; `round_trips` counts how
    often a configuration goes up the ladder and back.

    Args:
        algorithms: One sampling algorithm per rung, all of one form:
            `[hmc(WilsonAction(beta)) for beta in betas]`.
        bijections: Maps from every rung to the next, one less than rungs, all of one form; a swap
            then proposes mapped configurations. None swaps them as they are.

    Returns:
        The sampling algorithm, of the product of the densities of all rungs. A step costs a step
        of every algorithm and four evaluations more of every action.

    Raises:
        ConfigError: There are less than 2 algorithms, something is no algorithm, they are not of
            one form, a coupling goes up and down again along the ladder, or the maps are not one
            less or not of one form.
        ShapeError: When a chain starts, its field has no axis of that many replicas.

    Reference:
        R. H. Swendsen, J.-S. Wang, Phys. Rev. Lett. 57 (1986) 2607; K. Hukushima, K. Nemoto,
        arXiv:cond-mat/9512035; with maps, R. Abbott et al., arXiv:2404.11674.
    """
    require_algorithms(algorithms, "algorithms", low=2)
    require_monotone([algorithm.action for algorithm in algorithms], "algorithms")
    if bijections is not None:
        require_type(bijections, Sequence, "bijections", "be a list of bijections")
        n_pairs = len(algorithms) - 1
        rule = f"be {n_pairs}, one from every rung to the next"
        require(len(bijections) == n_pairs, "bijections", rule, len(bijections))
        for bijection in bijections:
            require_type(bijection, AbstractBijection, "bijections", "hold bijections")
        require_one_form(bijections, "bijections")
    maps = None if bijections is None else stack(list(bijections))
    return ReplicaExchange(stack(list(algorithms)), maps, len(algorithms))


@cites("arXiv:cond-mat/0602085")
def round_trips(info: Mapping[str, Any]) -> Int[np.ndarray, " chain"]:
    """How often configurations went from the first rung to the last one and back.

    Args:
        info: What `sample` recorded of a replica exchange: for every pair of rungs
            "swaps/i/accepted", of shape (chain, step).

    Returns:
        Round trips completed in each chain, by all of its configurations together.

    Raises:
        ConfigError: There is no pair.

    Reference:
        H. G. Katzgraber, S. Trebst, D. A. Huse, M. Troyer, arXiv:cond-mat/0602085.
    """
    pairs = sorted(int(name.split("/")[1]) for name in info if _is_swap(name))
    rule = 'hold "swaps/0/accepted" and so on, as the info of sample(replica_exchange(...), ...)'
    require(len(pairs) > 0, "info", rule, sorted(info))
    accepted = np.stack([np.asarray(info[f"swaps/{pair}/accepted"]) for pair in pairs])
    n_pairs, n_chains, n_steps = accepted.shape
    walkers = np.tile(np.arange(n_pairs + 1), (n_chains, 1))
    chains = np.arange(n_chains)
    has_been_up = np.zeros(walkers.shape, bool)
    started = walkers == 0
    count = np.zeros(n_chains, int)
    for step in range(n_steps):
        for pair in (*range(0, n_pairs, 2), *range(1, n_pairs, 2)):
            swapped = accepted[pair, :, step][:, None]
            both = walkers[:, [pair, pair + 1]]
            walkers[:, [pair, pair + 1]] = np.where(swapped, both[:, ::-1], both)
        first, last = walkers[:, 0], walkers[:, -1]
        count += has_been_up[chains, first]
        has_been_up[chains, first] = False
        started[chains, first] = True
        has_been_up[chains, last] = started[chains, last]
    return count


def _is_swap(name: str) -> bool:
    return name.startswith("swaps/") and name.endswith("/accepted")
