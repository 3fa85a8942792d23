"""More than one device, and more than one host: a mesh, and `jax.distributed` started once.

In a run of several processes all of them run the same program and call the same functions in the
same order. Process 0 alone writes files, on a file system that all of them can read.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffhep.core.checks import require
from diffhep.core.errors import DataError
from diffhep.core.rng import is_typed_key
from diffhep.core.typing import PyTree

ADDRESS, COUNT, INDEX = "DIFFHEP_COORDINATOR", "DIFFHEP_PROCESSES", "DIFFHEP_PROCESS"
"""Environment variables of an explicit start: host:port of process 0, how many, which one."""


def mesh(n: int | None = None, axis: str = "chain") -> Mesh:
    """A mesh of one axis over the first `n` devices of all processes.

    Args:
        n: How many devices; all of them if not given.
        axis: Name of the axis.

    Returns:
        The mesh.

    Raises:
        ConfigError: There are not `n` devices.
    """
    devices = jax.devices()
    count = len(devices) if n is None else n
    rule = f"lie between 1 and the {len(devices)} devices there are"
    require(1 <= count <= len(devices), "n", rule, count)
    return Mesh(np.array(devices[:count]), (axis,))


def grid(divisions: Mapping[str, int]) -> Mesh:
    """A mesh of several axes over the first devices of all processes.

    Args:
        divisions: How many parts each axis has, by its name; neighbours along the last one are
            devices that follow one another, so most likely on one host.

    Returns:
        The mesh.

    Raises:
        ConfigError: A number is below 1, or there are not as many devices as their product.
    """
    counts = dict(divisions)
    require(all(n >= 1 for n in counts.values()), "divisions", "be positive", counts)
    devices, needed = jax.devices(), math.prod(counts.values())
    rule = f"have a product of at most the {len(devices)} devices there are"
    require(needed <= len(devices), "divisions", rule, counts)
    return Mesh(np.array(devices[:needed]).reshape(tuple(counts.values())), tuple(counts))


def initialise() -> bool:
    """Join the other processes of this run, once, before any array is made.

    The processes are found in `DIFFHEP_COORDINATOR`, `DIFFHEP_PROCESSES` and `DIFFHEP_PROCESS`
    where all three are set, else from Slurm where it started more than one task. A second call
    does nothing. On CPUs the processes talk through gloo, on GPUs through NCCL.

    Returns:
        Whether this run has more than one process.

    Raises:
        ConfigError: Some but not all of the three variables are set, or one is no number.
    """
    if jax.distributed.is_initialized():
        return jax.process_count() > 1
    given = {name: os.environ[name] for name in (ADDRESS, COUNT, INDEX) if name in os.environ}
    if given:
        require(len(given) == 3, ADDRESS, f"come with {COUNT} and {INDEX}", sorted(given))
        for name in (COUNT, INDEX):
            require(given[name].isdecimal(), name, "be a whole number", given[name])
        jax.distributed.initialize(given[ADDRESS], int(given[COUNT]), int(given[INDEX]))
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        jax.distributed.initialize()
    else:
        return False
    return jax.process_count() > 1


def is_main() -> bool:
    """Whether this process is the one that writes files and speaks to the user."""
    return jax.process_index() == 0


def to_host(tree: PyTree) -> PyTree:
    """A tree of arrays as NumPy arrays, gathered from every process where it is spread.

    Args:
        tree: Arrays; of typed keys the words are returned.

    Returns:
        The tree, the same in every process.
    """
    leaves = jax.tree.leaves(tree)
    if any(is_typed_key(leaf) for leaf in leaves):
        words = [jax.random.key_data(leaf) if is_typed_key(leaf) else leaf for leaf in leaves]
        return to_host(jax.tree.unflatten(jax.tree.structure(tree), words))
    if all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves):
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)


def any_process(flags: Sequence[bool]) -> list[bool]:
    """Each flag, true where it is true in any process; all of them must call this.

    Args:
        flags: As many in every process.

    Returns:
        The flags that all agree on.
    """
    if jax.process_count() == 1:
        return list(flags)
    from jax.experimental import multihost_utils

    rows = multihost_utils.process_allgather(np.asarray(flags, np.int32))
    return [bool(column.any()) for column in np.asarray(rows).T]


def require_same(number: int, what: str) -> None:
    """Raise a `DataError` unless a number is the same in every process; all of them must call this.

    Args:
        number: What this process found.
        what: What it is, as the subject of a sentence.

    Raises:
        DataError: It is not: the processes do not see the same files.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    found = np.asarray(multihost_utils.process_allgather(np.asarray(number, np.int32))).tolist()
    if len(set(found)) > 1:
        raise DataError(
            f"{what} must be the same in all processes, but they found {found}; the folder must "
            "lie on a file system that all of them share."
        )


def on_main(action: Callable[[], Any]) -> None:
    """Do something in process 0 alone; the others wait, and fail where it failed.

    Args:
        action: What process 0 does; it may not call the other processes.

    Raises:
        DataError: It failed, in the other processes; process 0 raises its own error.
    """
    error: BaseException | None = None
    if is_main():
        try:
            action()
        except BaseException as caught:
            error = caught
    (failed,) = any_process([error is not None])
    if error is not None:
        raise error
    if failed:
        raise DataError("Process 0 could not go on; its message says why.")
