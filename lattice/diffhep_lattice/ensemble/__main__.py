"""Command line of ensembles: `python -m diffhep_lattice.ensemble SETTINGS --out DIR`."""

import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro

from diffhep.core.config import load
from diffhep.core.distributed import initialise, is_main
from diffhep.core.errors import DiffhepError, Interrupted
from diffhep_lattice.ensemble.settings import Settings

DONE, BAD_INPUT, DEFECT, INTERRUPTED = 0, 2, 3, 130


@dataclass(frozen=True)
class Command:
    """Generate an ensemble of gauge configurations in a folder, or go on with it.

    Exit status: 0 done, 2 wrong usage or bad input, 3 a defect of the program (with traceback),
    130 interrupted (state saved).

    Args:
        settings: JSON file of the ensemble's settings.
        out: Folder of the run.
        resume: Go on where an earlier run in the same folder stopped.
        reseed: Draw random numbers from the last checkpoint on from a stream of this number.
        n_configurations: So many configurations in all, instead of the number in the settings.
        progress: Write a line now and then where there is no terminal.
    """

    settings: tyro.conf.Positional[Path]
    out: Path
    resume: bool = False
    reseed: int | None = None
    n_configurations: int | None = None
    progress: bool = False


def run(command: Command) -> None:
    """Run the ensemble and print its table."""
    settings = load(Settings, command.settings)
    ensemble = settings.open(
        command.out,
        resume=command.resume,
        reseed=command.reseed,
        progress="force" if command.progress else True,
    )
    wanted = command.n_configurations
    ensemble.run(settings.n_configurations if wanted is None else wanted)
    if is_main():
        print((ensemble.path / "table.txt").read_text(), end="")
        print(f"\nresults: {ensemble.path / 'results.json'}")


def resume_line(command: Command) -> str:
    """The shell command that goes on."""
    words = ["python", "-m", "diffhep_lattice.ensemble", str(command.settings)]
    words += ["--out", str(command.out), "--resume"]
    for name in ("reseed", "n_configurations"):
        value = getattr(command, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The words after `python -m diffhep_lattice.ensemble`.

    Returns:
        The exit status.
    """
    command = tyro.cli(
        Command,
        prog="python -m diffhep_lattice.ensemble",
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    try:
        initialise()
        run(command)
    except (Interrupted, KeyboardInterrupt) as stop:
        if is_main():
            print(f"ensemble: {stop or 'interrupted'}", file=sys.stderr)
            print(f"resume: {resume_line(command)}", file=sys.stderr)
        return INTERRUPTED
    except DiffhepError as error:
        print(f"ensemble: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        return DEFECT
    return DONE


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    sys.exit(main(sys.argv[1:]))
