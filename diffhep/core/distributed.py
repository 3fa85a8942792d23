"""More than one device, and more than one host: a mesh, and `jax.distributed` started once."""

import os

import jax
import numpy as np
from jax.sharding import Mesh

from diffhep.core.checks import require

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
