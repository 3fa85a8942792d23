"""The chunked driver: many jitted steps per host visit, checked, saved and resumed.

The chunk is one compiled program whose number of steps is an argument, so that the last, shorter
chunk costs no second compilation and the bits do not depend on how the steps are divided.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from diffhep.core.checkpoint import Checkpoint, Metadata
from diffhep.core.checks import as_integer, require
from diffhep.core.distributed import any_process, require_same, to_host
from diffhep.core.errors import ConfigError, ConvergenceError, Interrupted
from diffhep.core.loop_guard import Guard, finite_guard
from diffhep.core.loop_program import Program, as_state, build_program
from diffhep.core.progress import ProgressBar, Show, StopSignals
from diffhep.core.rng import check_key
from diffhep.core.typing import Key, PyTree

Step = Callable[[Key, PyTree], tuple[PyTree, PyTree]]
"""`step(key, state) -> (state, metrics)`."""

OnChunk = Callable[[int, Any], None]
"""Called with the number of steps done and the chunk's metrics as NumPy arrays."""

OnState = Callable[[int, PyTree], None]
"""Called with the number of steps done and the state, whose buffers the next chunk takes."""


class LoopResult(NamedTuple):
    """Final state, metrics of every step, and the time it took."""

    state: PyTree
    history: PyTree
    seconds: float
    compile_seconds: float


class _Progress(NamedTuple):
    """How far a loop is and the time it took, over all its resumptions."""

    done: int
    seconds: float
    compile_seconds: float


class _Loop:
    """One run: its state on the device and its history on the host."""

    def __init__(
        self,
        program: Program,
        state: PyTree,
        n_steps: int,
        key: Key,
        name: str,
        identity: Mapping[str, str],
    ) -> None:
        self.identity = dict(identity)
        self.program = program
        self.state = state
        self.n_steps = n_steps
        self.name = name
        self.key_words = np.asarray(jax.random.key_data(key))
        self.history = jax.tree.map(
            lambda leaf: np.zeros((n_steps, *leaf.shape), leaf.dtype), program.metrics_like
        )
        self.progress = _Progress(0, 0.0, 0.0)
        self.saved: int | None = None

    def compile(self) -> None:
        """Compile the chunk and note how long it took."""
        start = time.perf_counter()
        self.run = self.program.compile(self.state, self.key_words)
        spent = self.progress.compile_seconds + time.perf_counter() - start
        self.progress = self.progress._replace(compile_seconds=spent)

    def advance(self, guard: Guard, checkpoint: Checkpoint | None) -> PyTree:
        """Run one chunk and return its metrics."""
        start, chunk = self.progress.done, self.program.chunk
        stop = min((start // chunk + 1) * chunk, self.n_steps)
        clock = time.perf_counter()
        self.state, buffers, reached, good = self.run(
            self.state, self.program.step_arrays, self.key_words, np.int32(start), np.int32(stop)
        )
        done = int(reached)
        rows = jax.tree.map(lambda buffer: buffer[: done - start], to_host(buffers))
        jax.tree.map(
            lambda rows, new: rows.__setitem__(slice(start, done), new), self.history, rows
        )
        seconds = self.progress.seconds + time.perf_counter() - clock
        self.progress = self.progress._replace(done=done, seconds=seconds)
        if not bool(good):
            self._fail(guard, checkpoint)
        return rows

    def _fail(self, guard: Guard, checkpoint: Checkpoint | None) -> None:
        """Save what went wrong beside the last good state and raise."""
        step = self.progress.done - 1
        last = jax.tree.map(lambda rows: rows[step], self.history)
        what = guard.describe(step, to_host(self.state), last)
        text = f"Loop `{self.name}` must stay finite, but {what}."
        if checkpoint is not None:
            failed = Checkpoint(checkpoint.path.with_name(checkpoint.path.name + ".failed"))
            self.save(failed)
            text += f" The last good state is in {checkpoint.path}, this one in {failed.path}."
        raise ConvergenceError(text)

    def _head(self, count: int) -> PyTree:
        return jax.tree.map(lambda rows: rows[:count], self.history)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the state and the history so far."""
        metadata = {"loop": self.name, "key": self.key_words.tolist()}
        metadata |= {"identity": self.identity, **self.progress._asdict()}
        checkpoint.save((self.state, self._head(self.progress.done)), metadata)
        self.saved = self.progress.done

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take state and history from a checkpoint of this very loop."""

        def build_like(metadata: Metadata) -> PyTree:
            self._check_metadata(metadata, checkpoint)
            return self.state, self._head(metadata["done"])

        (self.state, rows), metadata = checkpoint.restore_with(build_like)
        self.progress = _Progress(*(metadata[name] for name in _Progress._fields))
        self.saved = self.progress.done
        done = slice(self.progress.done)
        jax.tree.map(lambda mine, saved: mine.__setitem__(done, saved), self.history, rows)

    def _check_metadata(self, metadata: Metadata, checkpoint: Checkpoint) -> None:
        """Raise a `ConfigError` unless the checkpoint belongs to this loop."""
        otherwise = "; use another checkpoint file, or resume=False to start anew"
        for field, mine in (("loop", self.name), ("key", self.key_words.tolist())):
            if metadata.get(field) != mine:
                raise ConfigError(
                    f"Argument `checkpoint` must belong to this loop, whose {field} is {mine!r}, "
                    f"but in {checkpoint.path} it is {metadata.get(field)!r}{otherwise}."
                )
        theirs = metadata.get("identity", {})
        for part in [*self.identity, *theirs]:
            if theirs.get(part) != self.identity.get(part):
                raise ConfigError(
                    f"Argument `checkpoint` must belong to this loop, but {checkpoint.path} was "
                    f"made with another `{part}`{otherwise}."
                )
        rule = f"be at least the {metadata['done']} steps already in {checkpoint.path}"
        require(metadata["done"] <= self.n_steps, "n_steps", rule, self.n_steps)

    def interrupted(self, checkpoint: Checkpoint | None) -> Interrupted:
        """The error for a loop that the user stopped."""
        text = f"Loop `{self.name}` was stopped after {self.progress.done} of {self.n_steps} steps"
        if checkpoint is None or self.saved is None:
            return Interrupted(f"{text}; it has no checkpoint, so nothing is saved.")
        where = f"the state of step {self.saved} is in {checkpoint.path}"
        return Interrupted(f"{text}; {where}: start again with resume to go on.")


def _drive(
    loop: _Loop,
    guard: Guard,
    checkpoint: Checkpoint | None,
    every_s: float,
    on_chunk: OnChunk | None,
    on_state: OnState | None,
    bar: ProgressBar,
) -> None:
    """Advance chunk by chunk to the end, saving now and then."""
    with StopSignals() as stop:
        last_save = time.monotonic()
        loop.compile()
        while loop.progress.done < loop.n_steps:
            rows = loop.advance(guard, checkpoint)
            bar.update(loop.progress.done, rows)
            if on_chunk is not None:
                try:
                    on_chunk(loop.progress.done, rows)
                except KeyboardInterrupt:
                    stop.requested = True
            if on_state is not None:
                on_state(loop.progress.done, loop.program.whole(loop.state))
            # Signals and clocks differ between processes, which must go on or stop together.
            stops, due = any_process([stop.requested, time.monotonic() - last_save >= every_s])
            is_last = stops or loop.progress.done == loop.n_steps
            if checkpoint is not None and (is_last or due):
                loop.save(checkpoint)
                last_save = time.monotonic()
            if stops:
                raise loop.interrupted(checkpoint)


def run_loop(
    step: Step,
    state: PyTree,
    n_steps: int,
    *,
    key: Key,
    chunk: int = 100,
    name: str = "loop",
    checkpoint: Checkpoint | None = None,
    checkpoint_every_s: float = 10.0,
    on_chunk: OnChunk | None = None,
    on_state: OnState | None = None,
    progress: Show = True,
    resume: bool = True,
    guard: Guard | None = None,
    identity: Mapping[str, str] = MappingProxyType({}),
) -> LoopResult:
    """Apply a step many times, in chunks that never leave the device, and survive interruptions.

    Step `i` gets the key `key_at(key, i)`. A loop that was killed and runs again with the same
    checkpoint ends in the bits of one left alone. Ctrl-C and SIGTERM end the chunk, save and
    raise. Memory on the device: the state (its input buffers are reused) and `chunk` steps of
    metrics; on the host: all metrics.

    Args:
        step: `step(key, state) -> (state, metrics)`; metrics are a pytree of arrays. It may be an
            `eqx.Module`: its arrays are then arguments of the compiled program, not constants.
        state: Any pytree; what is not a NumPy or JAX array in it is static.
        n_steps: How many steps the loop has in all, those before a resumption included.
        key: Random key.
        chunk: Steps per host visit.
        name: For messages and the progress bar.
        checkpoint: Where state and history are kept; saved at the start, at most every
            `checkpoint_every_s`, and at the end. Several processes need a file system they share.
        checkpoint_every_s: Least time between two saves, in seconds; 0 saves every chunk.
        on_chunk: Called on the host with the number of steps done and the chunk's metrics. Steps
            after the last save are reported again by a resumed loop.
        on_state: Called after it, before a save, with the number of steps done and the state; what
            is to be kept of it must be copied.
        progress: Whether to show a bar; "force" writes lines where there is no terminal.
        resume: Go on from the checkpoint where there is one.
        guard: What must hold at every step; finite state and metrics if not given.
        identity: What else tells this loop from others that have its name and key: a `fingerprint`
            by the name of each part. A checkpoint with another one is refused.

    Returns:
        Final state; the metrics as NumPy arrays with a leading step axis; seconds in chunks and
        seconds of compilation, both summed over resumptions.

    Raises:
        ConvergenceError: The guard failed; names the first step. What failed is saved as
            `*.failed` beside the last good checkpoint.
        Interrupted: The user stopped the loop; the state is saved.
        ShapeError: The step changes the structure, a shape or a dtype of the state.
        ConfigError: A number is out of range, or the checkpoint is of another loop.
        DataError: The checkpoint cannot be written, none can be read, or the processes do not
            see the same one.
    """
    check_key(key)
    n_steps = as_integer(n_steps, "n_steps", low=0)
    chunk = as_integer(chunk, "chunk", low=1)
    watch = finite_guard() if guard is None else guard
    arrays, static = as_state(state)
    program = build_program(step, arrays, static, key, min(chunk, max(n_steps, 1)), watch)
    loop = _Loop(program, arrays, n_steps, key, name, identity)
    if checkpoint is not None:
        found = resume and checkpoint.exists()
        require_same(found, f"Whether {checkpoint.path} exists")
        if found:
            loop.restore(checkpoint)
            require_same(loop.progress.done, f"The step saved in {checkpoint.path}")
        else:
            # Nothing of an earlier run may be left for a damaged file to fall back on.
            checkpoint.remove()
            loop.save(checkpoint)
    if loop.progress.done < n_steps:
        bar = ProgressBar(name, loop.progress.done, n_steps, progress)
        try:
            _drive(loop, watch, checkpoint, checkpoint_every_s, on_chunk, on_state, bar)
        except KeyboardInterrupt:
            raise loop.interrupted(checkpoint) from None
        finally:
            bar.close()
    final = program.whole(loop.state)
    return LoopResult(final, loop.history, loop.progress.seconds, loop.progress.compile_seconds)
