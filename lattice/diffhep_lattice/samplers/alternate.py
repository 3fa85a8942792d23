"""Several samplers of one density in turn."""

import re
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffhep.core.checks import require, require_type
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.typing import Flag, Key, PyTree, Scalar

__citations__ = ("doi:10.1214/aos/1176325750",)


class AlternateState(NamedTuple):
    """What all samplers of a cycle share.

    Attributes:
        position: The field.
    """

    position: PyTree


class AlternateInfo(NamedTuple):
    """What the samplers of one cycle say.

    Attributes:
        acceptance_probability: Mean over the samplers.
        accepted: Whether any of them moved the chain.
        is_finite: Whether all of them were finite.
        parts: The info of each, by name.
    """

    acceptance_probability: Scalar
    accepted: Flag
    is_finite: Flag
    parts: dict[str, Any]


class Alternate(AbstractSamplingAlgorithm):
    """One step of each of several algorithms, in order.

    Attributes:
        algorithms: Algorithms that leave the same density invariant.
        names: The keys of their infos.
    """

    algorithms: tuple[AbstractSamplingAlgorithm, ...]
    names: tuple[str, ...] = eqx.field(static=True)

    @property
    def action(self) -> Any:
        """The action of the first algorithm that names one, which is that of all; else None."""
        actions = (getattr(algorithm, "action", None) for algorithm in self.algorithms)
        return next((action for action in actions if action is not None), None)

    def init(self, position: PyTree) -> AlternateState:
        """The state of a chain that starts at a field, which every part must be able to do."""
        for algorithm in self.algorithms:
            algorithm.init(position)
        return AlternateState(position)

    def step(self, key: Key, state: AlternateState) -> tuple[AlternateState, AlternateInfo]:
        """One step of each algorithm."""
        position = state.position
        parts: dict[str, Any] = {}
        keys = jax.random.split(key, len(self.algorithms))
        for name, algorithm, part_key in zip(self.names, self.algorithms, keys, strict=True):
            part_state, parts[name] = algorithm.step(part_key, algorithm.init(position))
            position = part_state.position
        infos = list(parts.values())
        info = AlternateInfo(
            jnp.mean(jnp.stack([part.acceptance_probability for part in infos])),
            jnp.any(jnp.stack([part.accepted for part in infos])),
            jnp.all(jnp.stack([part.is_finite for part in infos])),
            parts,
        )
        return AlternateState(position), info


def _require_one_density(algorithms: tuple[AbstractSamplingAlgorithm, ...]) -> None:
    """Raise a `ConfigError` where two actions of one form have other numbers, if these are known.

    Actions of two forms may still be the same: a sum and its terms together.
    """
    first: dict[Any, list[Any]] = {}
    for algorithm in algorithms:
        leaves, form = jax.tree.flatten(getattr(algorithm, "action", None))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            continue
        others = first.setdefault(form, leaves)
        same = all(np.array_equal(a, b) for a, b in zip(leaves, others, strict=True))
        values = [[np.asarray(leaf).tolist() for leaf in found] for found in (others, leaves)]
        rule = "sample the same action, with the same couplings"
        require(same, "algorithms", rule, values)


def alternate(*algorithms: AbstractSamplingAlgorithm) -> Alternate:
    """Make one algorithm of several: a step is one step of each in turn.

    Each part starts anew from the field the one before it left, which costs what its `init`
    costs: an action, or the inverse of a flow. The info holds the parts' own infos, named by their
    classes, with a number from the second of a kind on: `hmc`, `flow_hmc`, `hmc_2`.

    Args:
        *algorithms: Algorithms that leave the same density invariant.

    Returns:
        The combined algorithm.

    Raises:
        ConfigError: No algorithm is given or something else, or the couplings of their actions
            differ.
    """
    require(len(algorithms) >= 1, "algorithms", "hold at least one algorithm", algorithms)
    for algorithm in algorithms:
        rule = "be sampling algorithms, as in alternate(hmc(action), heatbath(action))"
        require_type(algorithm, AbstractSamplingAlgorithm, "algorithms", rule)
    _require_one_density(algorithms)
    kinds = [
        re.sub("(?<=[a-z])(?=[A-Z])", "_", type(algorithm).__name__).lower()
        for algorithm in algorithms
    ]
    counts = [kinds[: index + 1].count(kind) for index, kind in enumerate(kinds)]
    names = tuple(
        kind if count == 1 else f"{kind}_{count}" for kind, count in zip(kinds, counts, strict=True)
    )
    return Alternate(algorithms, names)
