"""Command line of the papers: `python -m papers list | run | plot | check`."""

import contextlib
import errno
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro

from diffhep.core.errors import DiffhepError, Interrupted
from diffhep.core.run import Claim, check_data
from papers import claims as claims_of
from papers import harness

PAPERS = Path(__file__).parent
CACHE = PAPERS.parent / ".cache" / "jax"
# Small programs are compiled by the hundred; caching those above this many seconds pays.
CACHE_FROM_S = 0.2
# A smoke run compiles far longer than it computes: XLA's plainer emitters, not optimised.
SMOKE_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"

PASSED, MISSED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class List:
    """List the papers and their presets."""


@dataclass(frozen=True)
class Run:
    """Run a preset of a paper: results.json, data.h5 and figures in one folder.

    Exit status: 0 every claim passes, 1 some claim is missed, 2 wrong usage or bad input,
    3 a defect of the program (with traceback), 130 interrupted (state saved).

    Args:
        name: The paper; `list` names them.
        preset: How much work: smoke (seconds), demo (minutes), full (the published setting).
        out: Folder of the run; runs/NAME-PRESET when left out.
        seed: Seed of everything random.
        resume: Go on where an earlier run in the same folder stopped.
        config: JSON file of settings on top of the preset.
    """

    name: tyro.conf.Positional[str]
    preset: str = "demo"
    out: Path | None = None
    seed: int = 0
    resume: bool = False
    config: Path | None = None


@dataclass(frozen=True)
class Plot:
    """Draw the figures of a run again from its data.h5.

    Args:
        name: The paper.
        preset: Names the default folder.
        out: Folder of the run; runs/NAME-PRESET when left out.
    """

    name: tyro.conf.Positional[str]
    preset: str = "demo"
    out: Path | None = None


@dataclass(frozen=True)
class Check:
    """Hold the results.json of a run, or the committed record, against expected.json.

    Args:
        name: The paper.
        out: Folder of the run; the paper's record/ when left out.
    """

    name: tyro.conf.Positional[str]
    out: Path | None = None


def run_folder(options: Run | Plot) -> Path:
    """The folder asked for, or runs/NAME-PRESET."""
    return options.out or Path("runs") / f"{options.name}-{options.preset}"


def command_line(options: Run, *, resume: bool) -> str:
    """The shell command that repeats or resumes a run from the current folder."""
    interpreter = Path(sys.executable)
    if interpreter.is_relative_to(Path.cwd()):
        interpreter = interpreter.relative_to(Path.cwd())
    words = [str(interpreter), "-m", "papers", "run", options.name, "--preset", options.preset]
    words += ["--out", str(run_folder(options)), "--seed", str(options.seed)]
    words += ["--config", str(options.config)] if options.config else []
    words += ["--resume"] if resume else []
    return shlex.join(words)


def list_papers(folder: Path) -> int:
    """Print one line a paper: name, title, presets."""
    for paper in harness.known_papers(folder):
        presets = ", ".join(claims_of.read_expected(paper))
        print(f"{paper.name}: {paper.title} [{presets}]")
    return PASSED


def run_paper(options: Run, folder: Path) -> int:
    """Run, print the table of claims and where the figures are."""
    paper = harness.find(folder, options.name)
    directory = run_folder(options)
    # Found out before the hours of a run, not after.
    promised = claims_of.read_expected(paper)
    harness.one_of("preset", options.preset, list(promised))
    claims, figures = harness.execute(
        paper,
        preset=options.preset,
        directory=directory,
        seed=options.seed,
        resume=options.resume,
        overrides=options.config,
        command=command_line(options, resume=False),
    )
    results, _ = claims_of.read_results(directory / "results.json")
    print(f"{paper.name} {options.preset}: {results['wall_s']:.1f} s, seed {options.seed}\n")
    # Settings other than the preset's own have other references.
    differing = claims_of.disagreements(claims, promised[options.preset])
    status = verdict(claims, [] if options.config else differing)
    print(f"\nresults: {directory / 'results.json'}")
    for figure in figures:
        print(f"figure: {figure}")
    return status


def plot_paper(options: Plot, folder: Path) -> int:
    """Redraw and print where the figures are."""
    paper = harness.find(folder, options.name)
    for figure in harness.draw(paper, run_folder(options)):
        print(f"figure: {figure}")
    return PASSED


def check_paper(options: Check, folder: Path) -> int:
    """Print the table of a results.json and where it differs from expected.json."""
    paper = harness.find(folder, options.name)
    directory = options.out or paper.folder / "record"
    check_data(directory)
    results, claims = claims_of.read_results(directory / "results.json")
    preset = str(results.get("preset"))
    print(f"{paper.name} {preset}: {directory / 'results.json'}\n")
    promised = claims_of.read_expected(paper)
    harness.one_of("preset", preset, list(promised))
    return verdict(claims, claims_of.disagreements(claims, promised[preset]))


def verdict(claims: Sequence[Claim], differing: Sequence[str]) -> int:
    """Print the table of claims and the differences; the exit status they make."""
    print(claims_of.table(claims))
    for line in differing:
        print(f"expected.json: {line}")
    good = not differing and all(claim.passed for claim in claims)
    return PASSED if good else MISSED


def parsed(arguments: Sequence[str]) -> List | Run | Plot | Check:
    """The command line as an object; a wrong one ends with one line on stderr and status 2."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                List | Run | Plot | Check,  # pyright: ignore[reportArgumentType]
                prog="python -m papers",
                description="Run the papers, redraw their figures, check their records.",
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code:
            print(f"papers: {one_line(complaint.getvalue())}", file=sys.stderr)
        raise


def one_line(boxed: str) -> str:
    """The first paragraph inside a box drawn by tyro, without the box."""
    lines = [re.sub(r"^[│╭╰]?\s*|\s*[│╮╯]?$", "", line) for line in boxed.splitlines()]
    ends = [i for i, line in enumerate(lines) if i and not line.strip("─ ")]
    paragraph = lines[1 : ends[0]] if ends else lines
    return f"{' '.join(paragraph)}; see python -m papers --help"


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"papers: {' '.join(message.split())}", file=sys.stderr)


def main(arguments: Sequence[str], folder: Path = PAPERS) -> int:
    """Run one command.

    Args:
        arguments: The words after `python -m papers`.
        folder: Where the papers are.

    Returns:
        The exit status: 0 passed, 1 a claim missed, 2 wrong usage or bad input, 3 a defect,
        130 interrupted.
    """
    try:
        options = parsed(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        match options:
            case List():
                return list_papers(folder)
            case Run():
                return run_paper(options, folder)
            case Plot():
                return plot_paper(options, folder)
            case Check():
                return check_paper(options, folder)
    except (Interrupted, KeyboardInterrupt) as stop:
        complain(str(stop) or "interrupted")
        if isinstance(options, Run):
            print(f"resume: {command_line(options, resume=True)}", file=sys.stderr)
        return INTERRUPTED
    except DiffhepError as error:
        complain(str(error))
        return BAD_INPUT
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        complain(f"the disk is full: {error}" if full else str(error))
        return BAD_INPUT
    except Exception:
        traceback.print_exc()
        return DEFECT


def enable_jax(cache: Path) -> None:
    """What a program switches on and a library never does: float64 and the compilation cache."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", CACHE_FROM_S)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


if __name__ == "__main__":
    enable_jax(CACHE)
    if {"smoke", "--preset=smoke"} & set(sys.argv):
        # XLA reads its flags when the first array is made: only a program can set them.
        os.environ["XLA_FLAGS"] = f"{SMOKE_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
    sys.exit(main(sys.argv[1:]))
