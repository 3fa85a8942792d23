"""HistFactory workspaces in pyhf's JSON: read into a likelihood, evaluated in JAX.

Modifiers normfactor, shapefactor, lumi, normsys, histosys, shapesys and staterror, with the
interpolation that pyhf takes by default (codes 4 and 4p).

Reference:
    L. Heinrich et al., J. Open Source Softw. 6 (2021) 2823; K. Cranmer et al., HistFactory,
    CERN-OPEN-2012-016.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi.binned import (
    AbstractModifier,
    BinFactors,
    BinnedChannel,
    NormFactor,
    NormVariation,
    Sample,
    ShapeVariation,
)
from diffhep_sbi.constraints import AbstractConstraint, GaussianConstraint, PoissonConstraint
from diffhep_sbi.likelihood import Likelihood, Observation, Parameter

__citations__ = ("doi:10.21105/joss.02823",)

KINDS = ("normfactor", "shapefactor", "lumi", "normsys", "histosys", "shapesys", "staterror")
"""Modifiers that are read."""

# What pyhf starts and bounds the parameters of a modifier with.
_FREE = (1.0, 0.0, 10.0)
_FACTOR = (1.0, 1e-10, 10.0)
_PULL = (0.0, -5.0, 5.0)


class _Block(NamedTuple):
    """The parameters of one name, and the term that constrains them."""

    names: tuple[str, ...]
    start: tuple[float, float, float]
    constraint: AbstractConstraint | None = None
    auxiliary: np.ndarray | None = None
    is_fixed: np.ndarray | None = None


def read_workspace(
    source: Mapping[str, Any] | str | Path, *, measurement: str | None = None
) -> Likelihood:
    """A workspace as a likelihood with its observed data.

    Parameters of several bins are named "name[0]", "name[1]" and so on.

    Args:
        source: The workspace as a dictionary, or a file of it.
        measurement: Name of the measurement; the first one where left out.

    Returns:
        The likelihood; its parameters, bounds and starting values are those of pyhf.

    Raises:
        DataError: The file cannot be read, is no workspace, or its parts do not fit.
        ConfigError: There is no such measurement, or a modifier that is not known.
    """
    workspace = _load(source)
    try:
        return _build(workspace, measurement)
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"Argument `source` must be a workspace, but it lacks {error}.") from error


def _load(source: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        return json.loads(Path(source).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"Could not read the workspace {source}: {error}.") from error


def _build(workspace: Mapping[str, Any], measurement: str | None) -> Likelihood:
    config = _measurement(workspace, measurement)["config"]
    settings = {entry["name"]: entry for entry in config.get("parameters", [])}
    blocks: dict[str, _Block] = {}
    channels = []
    for channel in workspace["channels"]:
        samples = []
        for sample in channel["samples"]:
            modifiers = []
            for modifier in sample["modifiers"]:
                made, block = _modifier(modifier, sample, channel, settings)
                _add(blocks, modifier["name"], block)
                modifiers.append(made)
            samples.append(Sample(sample["data"], tuple(modifiers), sample["name"]))
        channels.append(BinnedChannel(samples=tuple(samples), name=channel["name"]))
    parameters = tuple(
        parameter
        for name, block in blocks.items()
        for parameter in _parameters(block, settings.get(name, {}))
    )
    constrained = [block for block in blocks.values() if block.constraint is not None]
    counts = {entry["name"]: entry["data"] for entry in workspace["observations"]}
    observed = Observation(
        tuple(jnp.asarray(counts[channel.name], dtype=float) for channel in channels),
        tuple(jnp.asarray(block.auxiliary, dtype=float) for block in constrained),
    )
    terms = tuple(block.constraint for block in constrained if block.constraint is not None)
    return Likelihood(tuple(channels), parameters, config["poi"], terms, observed)


def _measurement(workspace: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    found = {entry["name"]: entry for entry in workspace["measurements"]}
    if name is None:
        return workspace["measurements"][0]
    if name not in found:
        known = ", ".join(found)
        raise ConfigError(f"Argument `measurement` must be one of {known}, but it is {name!r}.")
    return found[name]


def _modifier(
    modifier: Mapping[str, Any],
    sample: Mapping[str, Any],
    channel: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> tuple[AbstractModifier, _Block]:
    """A modifier and the parameters it brings."""
    kind, name, data = modifier["type"], modifier["name"], modifier["data"]
    one, n_bins = (name,), len(sample["data"])
    each = tuple(f"{name}[{index}]" for index in range(n_bins))
    if kind == "normfactor":
        return NormFactor(one), _Block(one, _FREE)
    if kind == "shapefactor":
        return BinFactors(each), _Block(each, _FREE)
    if kind == "lumi":
        return NormFactor(one), _luminosity(one, settings.get(name, {}))
    pull = _Block(one, _PULL, GaussianConstraint(one, 1.0), np.zeros(1))
    if kind == "normsys":
        return NormVariation(one, data["hi"], data["lo"]), pull
    if kind == "histosys":
        return ShapeVariation(one, data["hi_data"], data["lo_data"]), pull
    if kind == "shapesys":
        return BinFactors(each), _poisson_block(each, sample["data"], data)
    if kind == "staterror":
        return BinFactors(each), _statistical_block(each, name, channel)
    known = ", ".join(KINDS)
    raise ConfigError(f"Argument `type` of a modifier must be one of {known}, but it is {kind!r}.")


def _luminosity(names: tuple[str, ...], setting: Mapping[str, Any]) -> _Block:
    centre, sigma = setting["auxdata"][0], setting["sigmas"][0]
    start = (float(centre), 0.0, 10.0 * float(centre))
    return _Block(names, start, GaussianConstraint(names, sigma), np.array([centre]))


def _poisson_block(names: tuple[str, ...], nominal: Any, error: Any) -> _Block:
    """Uncorrelated uncertainties: the counts of an auxiliary experiment as precise as stated."""
    counts, errors = np.asarray(nominal, float), np.asarray(error, float)
    good = (counts > 0) & (errors > 0)
    tau = np.where(good, counts, 1.0) ** 2 / np.where(good, errors, 1.0) ** 2
    return _Block(names, _FACTOR, PoissonConstraint(names, tau), tau, ~good)


def _statistical_block(names: tuple[str, ...], name: str, channel: Mapping[str, Any]) -> _Block:
    """Statistical uncertainties of all samples that share the modifier, in quadrature."""
    shared = list(_sharing(name, channel))
    counts = np.sum([nominal for nominal, _ in shared], axis=0)
    variance = np.sum([error**2 for _, error in shared], axis=0)
    good = (counts > 0) & (variance > 0)
    sigma = np.where(good, np.sqrt(variance) / np.where(good, counts, 1.0), 1.0)
    return _Block(names, _FACTOR, GaussianConstraint(names, sigma), np.ones(len(names)), ~good)


def _sharing(name: str, channel: Mapping[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for sample in channel["samples"]:
        for modifier in sample["modifiers"]:
            if (modifier["type"], modifier["name"]) == ("staterror", name):
                yield np.asarray(sample["data"], float), np.asarray(modifier["data"], float)


def _add(blocks: dict[str, _Block], name: str, block: _Block) -> None:
    """Enter a block; a name that is used again must bring the same parameters."""
    known = blocks.setdefault(name, block)
    same = known.names == block.names and type(known.constraint) is type(block.constraint)
    if not same:
        raise DataError(f"Argument `source` must use the name {name!r} for one kind of modifier.")


def _parameters(block: _Block, setting: Mapping[str, Any]) -> Iterator[Parameter]:
    """The parameters of a block, with the measurement's own settings."""
    n_terms = len(block.names)
    starts = setting.get("inits", [block.start[0]] * n_terms)
    bounds = setting.get("bounds", [block.start[1:]] * n_terms)
    fixed = np.zeros(n_terms, bool) if block.is_fixed is None else block.is_fixed
    fixed = fixed | bool(setting.get("fixed", False))
    for name, start, (low, high), is_fixed in zip(block.names, starts, bounds, fixed, strict=True):
        yield Parameter(name, start, low, high, bool(is_fixed))
