"""Markov chains: the form of an algorithm, and the driver that runs many chains at once."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.checks import as_integer, require, require_shape, require_type
from diffhep.core.distributed import to_host
from diffhep.core.errors import DiffhepError
from diffhep.core.fingerprint import fingerprint
from diffhep.core.loop import run_loop
from diffhep.core.loop_guard import Guard, all_finite, first_non_finite
from diffhep.core.progress import Show
from diffhep.core.rng import check_key, key_at, keys_for_chains
from diffhep.core.typing import Flag, Key, PyTree

Observable = Callable[[PyTree], Array | Mapping[str, Array]]
"""Maps the position of one chain to a scalar or an array, or to several of them by name."""


class SampleRecord(NamedTuple):
    """What one chunk recorded: arrays (chain, step, ...), one row a chain."""

    observables: dict[str, np.ndarray]
    info: dict[str, np.ndarray]


OnSamples = Callable[[int, SampleRecord], None]
"""Called with the number of transitions done and the chunk's record."""

OnStates = Callable[[int, Any], None]
"""Called with the number of transitions done and the states of all chains."""


class AbstractSamplingAlgorithm(eqx.Module):
    """A Markov transition that leaves a density invariant, written for one configuration.

    State is what the next step needs and has a field `position`. Info is a NamedTuple or module of
    what a diagnostician wants; it has `acceptance_probability`, `accepted` and, as result code,
    `is_finite`.
    """

    @abstractmethod
    def init(self, position: PyTree) -> Any:
        """The state of a chain that starts at `position`."""

    @abstractmethod
    def step(self, key: Key, state: Any) -> tuple[Any, Any]:
        """One transition: `(state, info)`."""


class SampleResult(NamedTuple):
    """Final states, and what was recorded: arrays (chain, step), one row a chain."""

    state: PyTree
    observables: dict[str, np.ndarray]
    info: dict[str, np.ndarray]
    seconds: float
    compile_seconds: float


class _Record(NamedTuple):
    """What one kept step measures, chain axis first."""

    observables: dict[str, Any]
    info: dict[str, Any]


class _ChainsState(NamedTuple):
    """All chains, with the stream they draw from."""

    key: Key
    done: Array
    chains: PyTree


def _scalar_fields(info: Any, prefix: str = "") -> dict[str, Array]:
    """The scalars in an Info of one chain; those of a part are called "parts/name/field"."""
    names = getattr(info, "_fields", None) or tuple(getattr(info, "__dataclass_fields__", ()))
    fields = info if isinstance(info, dict) else {name: getattr(info, name) for name in names}
    found: dict[str, Array] = {}
    for name, value in fields.items():
        if not eqx.is_array_like(value):
            found |= _scalar_fields(value, f"{prefix}{name}/")
        elif jnp.ndim(value) == 0:
            found[f"{prefix}{name}"] = jnp.asarray(value)
    return found


class _SampleStep(eqx.Module):
    """`thin` transitions of all chains, then one measurement."""

    algorithm: AbstractSamplingAlgorithm
    observe: dict[str, Observable]
    thin: int = eqx.field(static=True)
    n_chains: int = eqx.field(static=True)

    def transition(self, carry: _ChainsState) -> tuple[_ChainsState, dict[str, Array]]:
        """One transition of every chain."""
        keys = keys_for_chains(key_at(carry.key, carry.done), self.n_chains)

        def one(key: Key, state: Any) -> tuple[Any, dict[str, Array]]:
            new_state, info = self.algorithm.step(key, state)
            return new_state, _scalar_fields(info)

        chains, info = jax.vmap(one)(keys, carry.chains)
        return _ChainsState(carry.key, carry.done + 1, chains), info

    def measure(self, state: Any) -> dict[str, Array]:
        """All observables of one chain."""
        found: dict[str, Array] = {}
        for name, function in self.observe.items():
            value = function(state.position)
            if isinstance(value, Mapping):
                found |= {f"{name}/{part}": jnp.asarray(x) for part, x in value.items()}
            else:
                found[name] = jnp.asarray(value)
        return found

    def __call__(self, key: Key, state: _ChainsState) -> tuple[_ChainsState, _Record]:
        """The loop's key is not used, so that thinning does not change the chain."""
        if self.thin == 1:
            state, info = self.transition(state)
            info = {name: values[None] for name, values in info.items()}
        else:
            # A bound method of a module with traced arrays has no hash, which `scan` asks for.
            state, info = jax.lax.scan(
                lambda carry, _: self.transition(carry), state, None, length=self.thin
            )
        return state, _Record(jax.vmap(self.measure)(state.chains), info)


def _why_not(algorithm: AbstractSamplingAlgorithm, positions: PyTree, chain: int) -> str:
    """What an algorithm has against a chain's position, as the end of a sentence; "" if nothing.

    Errors of values are raised outside of `jit` alone, which is where this runs.
    """
    try:
        algorithm.init(jax.tree.map(lambda leaf: jnp.asarray(leaf[chain]), positions))
    except DiffhepError as error:
        return f": {str(error).rstrip('.')}"
    return ""


def _sampling_guard(algorithm: AbstractSamplingAlgorithm, thin: int) -> Guard:
    """Every chain's result code is true, and what is measured is finite."""

    def is_good(state: _ChainsState, record: _Record) -> Flag:
        watched = record.observables, state.chains.position
        if "is_finite" in record.info:
            return jnp.all(record.info["is_finite"]) & all_finite(watched[0])
        return all_finite(watched)

    def describe(step: int, state: _ChainsState, record: _Record) -> str:
        codes = record.info.get("is_finite")
        if codes is not None and not np.all(codes):
            substep, chain = (int(i) for i in np.argwhere(~codes)[0])
            why = _why_not(algorithm, state.chains.position, chain)
            return f"chain {chain} did not at step {step * thin + substep}{why}"
        last = (step + 1) * thin - 1
        watched = {"observable": record.observables, "position": state.chains.position}
        return f"at step {last} {first_non_finite(watched)}; the first index is the chain"

    return Guard(is_good, describe)


def _chain_first(rows: np.ndarray) -> np.ndarray:
    """(step, chain, ...) to (chain, step, ...)."""
    return np.ascontiguousarray(np.moveaxis(rows, 1, 0))


def _as_record(record: _Record) -> SampleRecord:
    """The loop's arrays with the chain axis first; info has a row for every transition."""
    info = {name: rows.reshape(-1, rows.shape[-1]) for name, rows in record.info.items()}
    return SampleRecord(
        {name: _chain_first(rows) for name, rows in record.observables.items()},
        {name: _chain_first(rows) for name, rows in info.items()},
    )


def _require_partition(positions: PyTree, mesh: Mesh, partition: PartitionSpec) -> None:
    """Raise a `ConfigError` unless the mesh cuts every position into equal parts."""
    for leaf in jax.tree.leaves(positions):
        for axis, names in enumerate(partition[: np.ndim(leaf)]):
            names = (names,) if isinstance(names, str) else names or ()
            parts = math.prod(mesh.shape[name] for name in names)
            rule = f"cut the {np.shape(leaf)[axis]} entries of axis {axis} into equal parts"
            require(np.shape(leaf)[axis] % parts == 0, "mesh", rule, parts)


def _place(positions: PyTree, mesh: Mesh | None, partition: PartitionSpec) -> PyTree:
    """Positions of the host on the devices of the mesh, each of which gets its part alone."""
    if mesh is None:
        return positions
    sharding = NamedSharding(mesh, partition)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, lambda part: leaf[part]),
        positions,
    )


def _count_chains(positions: PyTree) -> int:
    """The length of the chain axis that all leaves share."""
    axes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(positions)}
    rule = "have one leading chain axis on every leaf, of at least one chain"
    fits = len(axes) == 1 and axes not in ({()}, {(0,)})
    require_shape(fits, "positions", rule, f"leading axes {sorted(axes)}")
    return int(axes.pop()[0])


@eqx.filter_jit
def _start(
    algorithm: AbstractSamplingAlgorithm,
    positions: PyTree,
    mesh: Mesh | None,
    partition: PartitionSpec,
    key_words: np.ndarray | Array,
    key_implementation: str,
) -> _ChainsState:
    """The state of all chains, divided over the mesh; made inside `jit` to span processes."""
    key = jax.random.wrap_key_data(jnp.asarray(key_words), impl=key_implementation)
    chains = jax.vmap(algorithm.init)(positions)
    done = jnp.asarray(0)
    if mesh is not None:
        whole = NamedSharding(mesh, partition)
        by_chain = NamedSharding(mesh, PartitionSpec(*partition[:1]))
        shapes = {leaf.shape for leaf in jax.tree.leaves(positions)}
        chains = jax.tree.map(
            lambda leaf: jax.lax.with_sharding_constraint(
                leaf, whole if leaf.shape in shapes else by_chain
            ),
            chains,
        )
        everywhere = NamedSharding(mesh, PartitionSpec())
        key, done = jax.lax.with_sharding_constraint((key, done), everywhere)
    return _ChainsState(key, done, chains)


def _check_observe(observe: Any) -> None:
    """Raise a `ConfigError` unless every observable is a function under a name."""
    rule = 'map names to functions, as in {"plaquette": plaquette}'
    require_type(observe, Mapping, "observe", rule)
    for name, function in observe.items():
        require(isinstance(name, str) and callable(function), "observe", rule, f"{name!r}")


def sample(
    algorithm: AbstractSamplingAlgorithm,
    positions: PyTree,
    n_steps: int,
    *,
    observe: dict[str, Observable],
    key: Key,
    thin: int = 1,
    chunk: int = 100,
    name: str = "sample",
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 10.0,
    mesh: Mesh | None = None,
    partition: PartitionSpec | None = None,
    on_chunk: OnSamples | None = None,
    on_states: OnStates | None = None,
    progress: Show = True,
    resume: bool = True,
) -> SampleResult:
    """Run many chains of one algorithm as one batched program and record them.

    Chain `c` in step `i` draws from a key that depends on `key`, `i` and `c` alone: neither the
    number of chains beside it, nor `thin`, `chunk` or the mesh changes its course.

    Args:
        algorithm: The transition, written for one configuration.
        positions: Starting positions, any pytree with a leading chain axis on every leaf.
        n_steps: Transitions of every chain in all.
        observe: What to measure on the position of one chain, by name; inside `jit`, once per
            kept step.
        key: Random key.
        thin: Every `thin`-th position is measured; divides `n_steps`. Info is kept at every step.
        chunk: Transitions per host visit.
        name: For messages and the progress bar.
        checkpoint: Where the chains are saved and go on from; one of another algorithm, other
            positions, observables, thinning or key is refused.
        checkpoint_every_s: Least time between two saves, in seconds.
        mesh: Devices over which the chains are divided; their number divides that of the chains.
        partition: The mesh's axes over which each axis of a position is divided, the chain axis
            first; what else a state holds is divided like the chains. If not given, the chains
            are divided over the whole mesh.
        on_chunk: Called with the number of transitions done and the chunk's `SampleRecord`.
        on_states: Called after it with the number of transitions done and the states of all
            chains, which must be copied to be kept.
        progress: Whether to show a bar; "force" writes lines where there is no terminal.
        resume: Go on from the checkpoint where there is one.

    Returns:
        Final states; observables (chain, n_steps / thin, ...); every scalar field of the
        algorithm's Info (chain, n_steps); seconds and compile_seconds.

    Raises:
        ConvergenceError: A chain's `is_finite` is false, or an observable is not finite; names
            chain and step, and what `algorithm.init` has against the chain's position. With a
            checkpoint, all positions of that step are saved beside it as `*.failed`.
        Interrupted: The user stopped the run; the state is saved.
        ConfigError: `thin` does not divide `n_steps`, or the mesh not the number of chains or
            another axis of the positions; the checkpoint is of another problem, and the message
            says what differs.
        ShapeError: The leaves of `positions` share no leading axis, or there is no chain.
    """
    check_key(key)
    require_type(algorithm, AbstractSamplingAlgorithm, "algorithm", "be a sampling algorithm")
    _check_observe(observe)
    n_steps, thin = as_integer(n_steps, "n_steps", low=0), as_integer(thin, "thin", low=1)
    chunk = as_integer(chunk, "chunk", low=1)
    require(n_steps % thin == 0, "thin", f"divide the {n_steps} steps", thin)
    n_chains = _count_chains(positions)
    positions = jax.tree.map(np.asarray, to_host(positions))
    spec = PartitionSpec(() if mesh is None else mesh.axis_names)
    if mesh is not None and partition is None:
        rule = f"have a number of devices that divides the {n_chains} chains"
        require(n_chains % mesh.size == 0, "mesh", rule, mesh.size)
    elif mesh is not None and partition is not None:
        _require_partition(positions, mesh, partition)
        spec = partition

    def report(done: int, record: _Record) -> None:
        if on_chunk is not None:
            on_chunk(done * thin, _as_record(record))

    def show(done: int, state: _ChainsState) -> None:
        if on_states is not None:
            on_states(done * thin, state.chains)

    parts = {"algorithm": algorithm, "positions": positions, "observe": observe, "thin": thin}
    identity = {} if checkpoint is None else {name: fingerprint(x) for name, x in parts.items()}
    result = run_loop(
        _SampleStep(algorithm, observe, thin, n_chains),
        _start(
            algorithm,
            _place(positions, mesh, spec),
            mesh,
            spec,
            np.asarray(jax.random.key_data(key)),
            str(jax.random.key_impl(key)),
        ),
        n_steps // thin,
        key=key,
        chunk=max(1, chunk // thin),
        name=name,
        checkpoint=checkpoint,
        checkpoint_every_s=checkpoint_every_s,
        on_chunk=report,
        on_state=show,
        progress=progress,
        resume=resume,
        guard=_sampling_guard(algorithm, thin),
        identity=identity,
    )
    record = _as_record(result.history)
    return SampleResult(
        result.state.chains, record.observables, record.info, result.seconds, result.compile_seconds
    )
