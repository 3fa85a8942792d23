"""Find the papers in a folder, load one, settle its configuration, run it and draw its figures."""

import difflib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from diffhep.core import config as core_config
from diffhep.core.checks import require
from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep.core.run import Claim, RunDir, check_data, load_data


@dataclass(frozen=True)
class Paper:
    """One reproduced paper: a folder with run.py, plot.py, expected.json and README.md."""

    name: str
    folder: Path

    @property
    def title(self) -> str:
        """The first heading of the README, or nothing."""
        readme = self.folder / "README.md"
        lines = readme.read_text().splitlines() if readme.exists() else []
        return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def known_papers(folder: Path) -> list[Paper]:
    """Every subfolder with a run.py, sorted by name."""
    return [Paper(path.parent.name, path.parent) for path in sorted(folder.glob("*/run.py"))]


def one_of(kind: str, name: str, known: list[str]) -> str:
    """`name` itself where it is known; otherwise a `ConfigError` that lists what is."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known) or "none"
    raise ConfigError(f"Argument `{kind}` must be one of {listed}, but it is {name!r}.{hint}")


def find(folder: Path, name: str) -> Paper:
    """The paper called `name` in `folder`.

    Raises:
        ConfigError: There is none; the message lists those that exist.
    """
    papers = {paper.name: paper for paper in known_papers(folder)}
    return papers[one_of("paper", name, list(papers))]


def load(paper: Paper, part: str) -> ModuleType:
    """Execute `run` or `plot` of a paper as the module `papers.<name>.<part>`."""
    name = f"papers.{paper.name}.{part}"
    path = paper.folder / f"{part}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ConfigError(f"Argument `paper` must have a {part}.py, but {path} does not exist.")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their annotations up through sys.modules.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def merged(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `overrides` on top, nested mappings merged key by key."""
    both = {
        key: merged(base[key], value)
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        else value
        for key, value in overrides.items()
    }
    return {**base, **both}


def settle(module: ModuleType, preset: str, overrides: Path | None) -> Any:
    """The configuration of a preset, with the settings of a JSON file on top.

    Args:
        module: The paper's loaded run.py.
        preset: A key of its `PRESETS`.
        overrides: A JSON file with some of the settings, nested as the configuration is.

    Returns:
        An instance of the paper's `Config`.

    Raises:
        ConfigError: The preset, or a key in the file, is unknown; the file is not JSON; a value is
            of another type, or the paper's `Config` refuses it.
        DataError: The file cannot be read, or is not a JSON object.
    """
    config = module.PRESETS[one_of("preset", preset, list(module.PRESETS))]
    if overrides is None:
        return config
    settings = core_config.parse_settings(read_text(overrides))
    if not isinstance(settings, dict):
        raise DataError(f"{overrides} must hold a JSON object of settings.")
    base = json.loads(core_config.to_json(config))
    return core_config.from_json(type(config), json.dumps(merged(base, settings)))


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: It does not exist or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        DataError: It does not exist or is not text.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text: {error}.") from error


def draw(paper: Paper, directory: Path) -> list[Path]:
    """Draw the figures of a run folder from its data.h5 alone.

    Returns:
        The files written.

    Raises:
        DataError: The folder has no data.h5, or it is damaged.
    """
    if not (directory / "data.h5").is_file():
        raise DataError(f"{directory / 'data.h5'} does not exist: run the paper first.")
    check_data(directory)
    figures = directory / "figures"
    figures.mkdir(exist_ok=True)
    return list(load(paper, "plot").plot(load_data(directory / "data.h5"), figures))


def execute(
    paper: Paper,
    *,
    preset: str,
    directory: Path,
    seed: int,
    resume: bool,
    overrides: Path | None,
    command: str,
) -> tuple[list[Claim], list[Path]]:
    """Run a preset of a paper into a folder: results.json first, then the figures.

    Args:
        paper: The paper.
        preset: A key of its `PRESETS`.
        directory: The run folder, new or to be resumed.
        seed: Seed of the one key everything random is derived from.
        resume: Go on in a folder that holds an earlier part of the same run.
        overrides: A JSON file of settings on top of the preset, or None.
        command: The command line, kept in results.json.

    Returns:
        The claims and the figure files.

    Raises:
        DiffhepError: Whatever the run raises.
    """
    require(-(2**63) <= seed < 2**63, "seed", "be an integer of 64 bits", seed)
    module = load(paper, "run")
    config = settle(module, preset, overrides)
    run_dir = RunDir.open(
        directory, config, resume=resume, paper=paper.name, preset=preset, seed=seed
    )
    try:
        claims = list(module.run(config, run_dir, key=jax.random.key(seed)))
    except (ConfigError, ShapeError):
        # Settings refused before anything was computed must not bar the folder to better ones.
        run_dir.withdraw()
        raise
    run_dir.write_results(claims, command=command)
    return claims, draw(paper, directory)
