"""Peers: other implementations, each in an environment of its own, timed in the same run.

A peer is a folder `benchmarks/peers/NAME` with a `requirements.txt` and scripts. A script gets its
setting as JSON on the command line, then reads one line of JSON per round from its standard input
and answers each with one line of JSON. It stays alive between rounds, so that a benchmark can take
turns with it: both see the same machine.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_CACHE = _HERE.parent / ".cache" / "peers"


def environment(peer: str) -> Path:
    """The Python interpreter of a peer's own environment, made on the first use.

    Args:
        peer: Name of a folder in `benchmarks/peers`.

    Returns:
        Path of the interpreter; the environment is made anew where `requirements.txt` changed.
    """
    requirements = _HERE / "peers" / peer / "requirements.txt"
    content = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = _CACHE / peer
    python, stamp = folder / "bin" / "python", folder / "requirements.sha256"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", requirements]
        subprocess.run([python, *install], check=True)
        stamp.write_text(content, encoding="utf-8")
    return python


class Peer:
    """A peer's script that answers rounds until the `with` block ends.

    Args:
        peer: Name of a folder in `benchmarks/peers`; None for a program of this library in
            `benchmarks`, where it needs a process of its own.
        script: File in that folder.
        setting: Given to the script as JSON, its only command-line argument.
    """

    def __init__(self, peer: str | None, script: str, setting: dict[str, Any]) -> None:
        python = sys.executable if peer is None else environment(peer)
        folder = _HERE if peer is None else _HERE / "peers" / peer
        self._command = [python, folder / script, json.dumps(setting)]

    def __enter__(self) -> "Peer":
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *exception: object) -> None:
        # Closing the standard input ends the script's loop.
        self._process.communicate()

    def round(self, request: dict[str, Any]) -> dict[str, Any]:
        """One round: a request, an answer.

        Raises:
            RuntimeError: The script ended without an answer; its error is on standard error.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The peer has no pipes.")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The peer {self._command[1]} ended without an answer.")
        return json.loads(answer)
