"""What the person at the terminal sees and does: a progress bar, and Ctrl-C."""

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Literal

import jax
import numpy as np
from tqdm import tqdm

from diffhep.core.typing import PyTree

LINE_EVERY_S = 5.0
"""How often a forced progress line is written where there is no terminal."""

Show = bool | Literal["force"]
"""True: a bar on a terminal, else nothing. "force": lines where there is no terminal."""


class StopSignals:
    """Turns the first SIGINT or SIGTERM into a flag, so that a chunk ends and is saved.

    The second one interrupts at once. Outside the main thread signals are left alone.
    """

    requested: bool

    def __init__(self) -> None:
        self.requested = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping at the end of this chunk; once more stops at once", file=sys.stderr)


def _postfix(metrics: PyTree) -> str:
    """The last values of the first few scalar metrics."""
    words = []
    for path, rows in jax.tree_util.tree_leaves_with_path(metrics):
        if rows.ndim == 1 and len(rows) and np.issubdtype(rows.dtype, np.inexact):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            words.append(f"{name}={rows[-1]:.4g}")
    return ", ".join(words[:3])


class ProgressBar:
    """A tqdm bar on a terminal, or now and then a line."""

    def __init__(self, name: str, done: int, total: int, show: Show) -> None:
        on_terminal = sys.stderr.isatty()
        self._name = name
        self._total = total
        self._lines = show == "force" and not on_terminal
        self._last_line = time.monotonic()
        hidden = not (show and on_terminal)
        self._bar = tqdm(desc=name, initial=done, total=total, file=sys.stderr, disable=hidden)

    def update(self, done: int, metrics: PyTree) -> None:
        """Show how far the loop is and what it measured last."""
        if not self._bar.disable:
            self._bar.set_postfix_str(_postfix(metrics), refresh=False)
            self._bar.update(done - self._bar.n)
        due = time.monotonic() - self._last_line > LINE_EVERY_S or done == self._total
        if self._lines and due:
            self._last_line = time.monotonic()
            line = f"{self._name}: {done}/{self._total} {_postfix(metrics)}"
            print(line.rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it should be."""
        self._bar.close()
