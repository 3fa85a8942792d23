"""Frozen dataclasses to JSON and back, strictly: every key known, every type as declared."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from diffhep.core.errors import ConfigError, DataError

T = TypeVar("T")

HASH_DIGITS = 16
"""Hexadecimal digits of a configuration's hash: 64 bits."""


def _exactly(kind: type, *also: type) -> Any:
    """A cattrs hook that takes a value of one type and changes none of another."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is kind or type(value) in also:
            return kind(value)
        raise ValueError(f"be of type {kind.__name__}, but it is {value!r}")

    return structure


def _converter() -> cattrs.Converter:
    """A converter that refuses unknown keys and never turns one type into another."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind, also in ((bool, ()), (int, ()), (str, ()), (float, (int,))):
        converter.register_structure_hook(kind, _exactly(kind, *also))
    # A setting of 1 where a float is declared is the setting 1.0.
    converter.register_unstructure_hook(float, float)
    return converter


def _to_plain(config: Any) -> Any:
    """The configuration as dictionaries, lists, numbers and text."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"Argument `config` must be a dataclass, but it is {config!r}.")
    return _converter().unstructure(config)


def _dump(config: Any, **layout: Any) -> str:
    try:
        return json.dumps(_to_plain(config), allow_nan=False, **layout)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"Argument `config` must hold finite numbers only: {error}.") from error


def to_json(config: Any) -> str:
    """A configuration as indented JSON, its keys in the order of declaration.

    Args:
        config: An instance of a dataclass of plain values and dataclasses.

    Returns:
        The text, without a newline at the end.

    Raises:
        ConfigError: `config` is no dataclass, or holds a number that is not finite.
    """
    return _dump(config, indent=2)


def config_hash(config: Any) -> str:
    """Content hash of a configuration: the same for equal settings, whatever their order.

    Args:
        config: An instance of a dataclass.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of its canonical JSON.

    Raises:
        ConfigError: As `to_json`.
    """
    text = _dump(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, after a check that it names no key twice."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ConfigError(f"Argument `config` must name each key once, but has {key!r} twice.")
        table[key] = value
    return table


def _leaves(error: BaseException, where: str) -> list[tuple[str, BaseException]]:
    """The innermost errors of a cattrs error, each with the dotted key it belongs to."""
    if not isinstance(error, BaseValidationError):
        return [(where, error)]
    found: list[tuple[str, BaseException]] = []
    for inner in error.exceptions:
        notes = [note for note in getattr(inner, "__notes__", ()) if hasattr(note, "name")]
        notes += [note for note in getattr(inner, "__notes__", ()) if hasattr(note, "index")]
        name = str(getattr(notes[0], "name", getattr(notes[0], "index", ""))) if notes else ""
        found += _leaves(inner, f"{where}.{name}".strip("."))
    return found


def _explain(error: BaseException, where: str) -> str:
    """One sentence on what is wrong with one key."""
    if isinstance(error, ForbiddenExtraKeysError):
        key = sorted(error.extra_fields)[0]
        known = [field.name for field in dataclasses.fields(error.cl)]
        near = difflib.get_close_matches(key, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        place = f" in `{where}`" if where else ""
        listed = ", ".join(known)
        return f"Argument `config` must have known keys{place} ({listed}), but has {key!r}.{hint}"
    if isinstance(error, ConfigError):
        # A class that checks itself does not know under which key it stands.
        return str(error).replace("Argument `", f"Argument `{where}." if where else "Argument `", 1)
    name = where or "config"
    if isinstance(error, KeyError):
        return f"Argument `{name}` must be given, but it is missing."
    if isinstance(error, (AttributeError, TypeError)):
        return f"Argument `{name}` must be a JSON object or list, as declared, but it is neither."
    text = str(error)
    rule = text if text.startswith("be of type") else f"be valid, but: {text}"
    return f"Argument `{name}` must {rule}."


def _no_constant(name: str) -> Any:
    raise ConfigError(f"Argument `config` must hold finite numbers only, but has {name}.")


def parse_settings(text: str) -> Any:
    """What JSON text says, without what JSON allows but no settings should hold.

    Args:
        text: JSON.

    Returns:
        Dictionaries, lists, numbers and text.

    Raises:
        ConfigError: The text is not JSON, names a key twice, or has a number that is not finite.
    """
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(f"Argument `config` must be JSON, but: {error}.") from error


def from_json(cls: type[T], text: str) -> T:
    """A configuration from JSON.

    Args:
        cls: The dataclass.
        text: A JSON object; keys left out take their defaults.

    Returns:
        An instance of `cls`.

    Raises:
        ConfigError: The text is not JSON, a key is unknown, repeated or missing, or a value is
            not of the declared type or refused by its class; the message names the key and lists
            the known ones.
    """
    plain = parse_settings(text)
    try:
        return _converter().structure(plain, cls)
    except BaseValidationError as error:
        where, first = _leaves(error, "")[0]
        raise ConfigError(_explain(first, where)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(_explain(error, "")) from error


def load(cls: type[T], path: Path | str) -> T:
    """A configuration from a JSON file.

    Args:
        cls: The dataclass.
        path: The file.

    Returns:
        An instance of `cls`.

    Raises:
        DataError: The file cannot be read.
        ConfigError: As `from_json`.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise DataError(f"Could not read {path}: {error.strerror}.") from error
    return from_json(cls, text)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one table with dotted keys."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    table: dict[str, Any] = {}
    for key, inner in value.items():
        table.update(_flat(inner, f"{prefix}.{key}".strip(".")))
    return table


def config_difference(a: Any, b: Any) -> list[tuple[str, Any, Any]]:
    """Where two configurations differ.

    Args:
        a: A dataclass, or the mapping that its JSON gives.
        b: The same.

    Returns:
        (dotted key, value in `a`, value in `b`), in the order of `a`; None where a key is missing.
    """
    plain = [value if isinstance(value, Mapping) else _to_plain(value) for value in (a, b)]
    one, other = (_flat(json.loads(json.dumps(value))) for value in plain)
    keys = [*one, *(key for key in other if key not in one)]
    rows = [(key, one.get(key), other.get(key)) for key in keys]
    return [row for row in rows if row[1] != row[2] or (row[0] in one) != (row[0] in other)]
