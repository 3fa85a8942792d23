"""Jobs that a cluster may stop at any time, put back in the queue by submitit.

A job is a command that goes on where it stopped when it is given again, such as
`python -m diffhep_lattice.ensemble SETTINGS --out DIR --resume`. When the cluster announces that it
will stop the job, because its time is over or another one goes first, the command is asked to save
by SIGTERM and the job is queued again. What submitit keeps of a job is the words of the command.
"""

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from diffhep.core.checks import require
from diffhep.core.errors import ConfigError, DiffhepError

INTERRUPTED = 130
"""Exit status of a command that was asked to stop and has saved its state."""

SAVING_SHARE = 0.8
"""Share of the time between a cluster's signal and its kill that a command has for saving."""

LOCAL_DELAY_S = 30
"""What the local cluster has for `signal_delay_s`, always."""

LOOK_EVERY_S = 1.0
"""How long a signal may wait to be heard, on systems where waiting for a thread blocks it."""


class ResumableCommand:
    """A command that saves and stops on SIGTERM, and goes on when it is given again.

    Args:
        words: The command and its arguments.
        grace_s: Seconds that it has to save after SIGTERM; then it is killed.

    Raises:
        ConfigError: There are no words, or `grace_s` is not positive.
    """

    def __init__(self, words: Sequence[str], grace_s: float = 60.0) -> None:
        require(len(words) > 0, "words", "hold a command", list(words))
        require(grace_s > 0.0, "grace_s", "be positive", grace_s)
        self.words = list(words)
        self.grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._waiter: threading.Thread | None = None

    def __call__(self) -> int:
        """Run the command to its end.

        Returns:
            0.

        Raises:
            DiffhepError: It ended with another status.
        """
        # In a session of its own, or a cluster's signal to the whole group would end it unsaved.
        self._process = subprocess.Popen(self.words, start_new_session=True)
        # Another thread waits, so that this one can hear signals and stop the command meanwhile.
        self._waiter = threading.Thread(target=self._process.wait, daemon=True)
        self._waiter.start()
        try:
            while self._waiter.is_alive():
                self._waiter.join(LOOK_EVERY_S)
        except BaseException:
            self._stop()
            raise
        status = self._process.returncode
        if status == INTERRUPTED:
            # Another task of this job was told to stop; a task that fails now would end the job
            # before it is queued again.
            time.sleep(self.grace_s)
        if status != 0:
            raise DiffhepError(f"{shlex.join(self.words)} ended with status {status}.")
        return 0

    def checkpoint(self) -> Any:
        """Stop the command; called by submitit when the cluster announces the end of the job.

        Returns:
            The same command, to be queued again.
        """
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(ResumableCommand(self.words, self.grace_s))

    def _stop(self) -> None:
        """Ask the command to save; kill it if it takes too long."""
        if self._process is None or self._waiter is None:
            return
        self._process.terminate()
        self._waiter.join(self.grace_s)
        if self._waiter.is_alive():
            self._process.kill()
            self._waiter.join(self.grace_s)


def submit(
    words: Sequence[str],
    *,
    folder: Path | str,
    cluster: str = "slurm",
    timeout_min: int = 60,
    signal_delay_s: int = 90,
    max_requeues: int = 100,
    **parameters: Any,
) -> Any:
    """Queue a command that can be resumed, and queue it again whenever the cluster stops it.

    Args:
        words: The command and its arguments, on every node.
        folder: For submitit's files and the logs; on a file system that the nodes share.
        cluster: "slurm", or "local" for this machine.
        timeout_min: Minutes until the cluster stops it each time.
        signal_delay_s: Seconds before that at which it is told; a chunk of steps and a save should
            fit.
        max_requeues: How often it is queued again after its time was over.
        **parameters: As submitit's `AutoExecutor.update_parameters` takes them: `name`, `nodes`,
            `tasks_per_node`, `gpus_per_node`, `cpus_per_task`, `mem_gb`, `slurm_partition` ...

    Returns:
        submitit's job: `job_id`, `state`, `wait()`, `result()`, `stdout()`.

    Raises:
        ConfigError: submitit is not installed, the cluster is not there, or a parameter is unknown.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError(
            "Argument `cluster` must have submitit installed, but it is missing; "
            "pip install 'diffhep[slurm]'."
        ) from error
    require(timeout_min >= 1, "timeout_min", "be at least 1", timeout_min)
    require(signal_delay_s >= 1, "signal_delay_s", "be at least 1", signal_delay_s)
    require(max_requeues >= 0, "max_requeues", "not be negative", max_requeues)
    require(cluster in ("slurm", "local"), "cluster", "be slurm or local", cluster)
    limit: dict[str, Any] = {f"{cluster}_max_num_timeout": max_requeues}
    parameters |= {"timeout_min": timeout_min, "slurm_signal_delay_s": signal_delay_s}
    try:
        executor = submitit.AutoExecutor(str(folder), cluster=cluster, **limit)
        executor.update_parameters(**parameters)
    except (RuntimeError, ValueError, NameError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"Argument `cluster` must take these settings, but: {reason}.") from error
    delay = signal_delay_s if cluster == "slurm" else LOCAL_DELAY_S
    return executor.submit(ResumableCommand(words, SAVING_SHARE * delay))


@dataclass(frozen=True)
class Command:
    """Queue a command that can be resumed; the words after -- are the command.

    Args:
        words: The command and its arguments.
        folder: For logs; on a file system that the nodes share.
        cluster: slurm, or local for this machine.
        timeout_min: Minutes until the cluster stops it each time.
        signal_delay_s: Seconds before that at which it is told to save.
        nodes: Number of nodes.
        tasks_per_node: Processes on each; one for every GPU.
        gpus_per_node: GPUs on each, if any.
        cpus_per_task: Cores of every process.
        partition: Slurm's partition.
        name: Of the job.
        wait: Stay until the job has ended.
    """

    words: tyro.conf.Positional[tuple[str, ...]]
    folder: Path
    cluster: str = "slurm"
    timeout_min: int = 60
    signal_delay_s: int = 90
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int | None = None
    cpus_per_task: int = 1
    partition: str | None = None
    name: str = "diffhep"
    wait: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The words after `python -m diffhep.core.slurm`.

    Returns:
        0, 1 if the job failed, or 2 for wrong usage.
    """
    command = tyro.cli(
        Command,
        prog="python -m diffhep.core.slurm",
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    # AutoExecutor leaves out what is None.
    parameters: dict[str, Any] = {"slurm_partition": command.partition}
    try:
        job = submit(
            command.words,
            folder=command.folder,
            cluster=command.cluster,
            timeout_min=command.timeout_min,
            signal_delay_s=command.signal_delay_s,
            nodes=command.nodes,
            tasks_per_node=command.tasks_per_node,
            gpus_per_node=command.gpus_per_node,
            cpus_per_task=command.cpus_per_task,
            name=command.name,
            **parameters,
        )
    except DiffhepError as error:
        print(f"slurm: {error}", file=sys.stderr)
        return 2
    print(f"job {job.job_id}; logs in {job.paths.stdout}")
    if not command.wait:
        return 0
    job.wait()
    print(f"job {job.job_id}: {job.state}")
    return 0 if job.exception() is None else 1


if __name__ == "__main__":
    # The job's class must be one that can be imported, not one of `__main__`.
    from diffhep.core import slurm

    sys.exit(slurm.main(sys.argv[1:]))
