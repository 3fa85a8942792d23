"""What to cite for what was run: objects and modules name their sources."""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import resources
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

import jax
import numpy as np

from diffhep.core.errors import ConfigError

T = TypeVar("T")


def _source(entry: str) -> str:
    """What an entry is cited by: its arXiv number, or else its DOI."""
    field = re.search(r"eprint = \{(.+)\}", entry)
    if field:
        return f"arXiv:{field[1]}"
    return f"doi:{re.findall(r'doi = {(.+)}', entry)[0]}"


def _read() -> Mapping[str, str]:
    text = resources.files("diffhep.core").joinpath("references.bib").read_text("utf-8")
    return MappingProxyType({_source(entry): entry for entry in text.rstrip().split("\n\n")})


REFERENCES: Mapping[str, str] = _read()
"""BibTeX by source, "arXiv:number" or "doi:number", from references.bib beside this module."""


def cites(*sources: str) -> Callable[[T], T]:
    """Decorate a function or class with its own sources, where those of its module are others.

    Args:
        *sources: Keys of `REFERENCES`.

    Returns:
        A decorator that puts them into `__citations__` and changes nothing else.

    Raises:
        ConfigError: A source is not in the table.
    """
    for source in sources:
        _entry(source)

    def decorate(thing: T) -> T:
        setattr(thing, "__citations__", sources)  # noqa: B010 - a function declares no attributes
        return thing

    return decorate


def _entry(source: Any) -> str:
    """The entry of a source."""
    if source not in REFERENCES:
        raise ConfigError(f"Argument `thing` must cite entries of REFERENCES, but has {source!r}.")
    return REFERENCES[source]


def _sources(thing: Any) -> tuple[str, ...]:
    """What a thing or its class names itself, or else the module that defines it."""
    own = getattr(thing, "__citations__", None)
    if own is not None or isinstance(thing, ModuleType):
        return own or ()
    definition = thing if hasattr(thing, "__qualname__") else type(thing)
    return getattr(sys.modules.get(definition.__module__), "__citations__", ())


def _members(module: ModuleType) -> Iterator[Any]:
    """What a module or package shows that is defined in it."""
    for name, member in vars(module).items():
        home = member.__name__ if isinstance(member, ModuleType) else _home(member)
        if not name.startswith("_") and f"{home}.".startswith(f"{module.__name__}."):
            yield member


def _home(member: Any) -> str:
    return str(getattr(member, "__module__", ""))


def _parts(thing: Any) -> Iterator[Any]:
    """What an object is directly made of."""
    if isinstance(thing, ModuleType):
        yield from _members(thing)
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for field in dataclasses.fields(thing):
            yield getattr(thing, field.name, None)
    elif isinstance(thing, Mapping):
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset)):
        yield from thing
    elif isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    else:
        yield getattr(thing, "__self__", None)


def _keys(thing: Any, seen: set[int]) -> Iterator[str]:
    """The sources of an object and of all its parts, in the order they are met."""
    if id(thing) in seen or isinstance(thing, (str, bytes, int, float, np.ndarray, jax.Array)):
        return
    seen.add(id(thing))
    yield from _sources(thing)
    for part in _parts(thing):
        yield from _keys(part, seen)


def citation(thing: Any) -> str:
    """BibTeX of everything an object is made of.

    Args:
        thing: An object with all its parts, a class, function or container, or a module or package
            with all it shows. A Python module names its sources in `__citations__`, a tuple of keys
            of `REFERENCES`, for all that is defined in it; what has others names them itself.

    Returns:
        The entries, each once, an empty line between them; empty text where nothing is named.

    Raises:
        ConfigError: A source is not in the table.
    """
    keys = dict.fromkeys(_keys(thing, set()))
    return "\n\n".join(_entry(key) for key in keys)
