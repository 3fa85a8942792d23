"""A digest of what a computation is made of, the same in every process that sets it up alike.

Nothing that differs between two runs of one script goes in: no address, no device, no file path,
no line number, no order of a hash table.
"""

import dataclasses
import dis
import hashlib
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from diffhep.core.distributed import to_host
from diffhep.core.rng import is_typed_key

DIGITS = 16
"""Hexadecimal digits of a fingerprint: 64 bits."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), np.dtype)


def fingerprint(thing: Any) -> str:
    """Digest of an object and of all it is made of.

    Arrays count by dtype, shape and bytes, wherever they lie; modules, dataclasses and containers
    by their type and parts, static ones included. A function that can be imported counts by its
    name; a lambda, a nested function or one of `__main__` by its code, its defaults and the values
    it takes from around it, so that another minor version of Python changes it. What is none of
    these counts by its type alone.

    Args:
        thing: Arrays, numbers, text, modules, dataclasses, containers, functions.

    Returns:
        16 hexadecimal digits, equal for things set up alike.
    """
    digest = hashlib.sha256()
    for token in _tokens(thing, ()):
        digest.update(len(token).to_bytes(8, "little") + token)
    return digest.hexdigest()[:DIGITS]


def _tokens(thing: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    """What is hashed; `around` are the objects that this one is a part of, to end at a cycle."""
    if isinstance(thing, _PLAIN) and not isinstance(thing, Enum):
        yield f"{type(thing).__name__} {thing!r}".encode()
    elif isinstance(thing, (jax.Array, np.ndarray, np.generic)):
        yield from _array_tokens(thing, around)
    elif id(thing) in around:
        yield b"cycle"
    else:
        yield from _parts_tokens(thing, (*around, id(thing)))


def _array_tokens(array: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    """Dtype, shape and content."""
    if is_typed_key(array):
        yield str(jax.random.key_impl(array)).encode()
        array = jax.random.key_data(array)
    value = np.asarray(to_host(array))
    yield f"array {value.dtype} {value.shape}".encode()
    if value.dtype.hasobject:
        yield from _tokens(value.ravel().tolist(), around)
    else:
        yield value.tobytes()


def _parts_tokens(thing: Any, around: tuple[int, ...]) -> Iterator[bytes]:
    """What a composite thing is called, then its parts in an order of their own."""
    function = _python_function(thing)
    if function is not None:
        kind, parts = function, ()
    elif isinstance(thing, (type, ModuleType)):
        kind, parts = thing, ()
    else:
        kind, parts = type(thing), _parts(thing)
    yield _name(kind).encode()
    for part in parts if _is_importable(kind) else (*_definition(kind), *parts):
        yield from _tokens(part, around)
    yield b"end"


def _name(thing: Any) -> str:
    """Module and qualified name of what has one; the name of a module."""
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")
    return f"{getattr(thing, '__module__', '')}:{name}"


def _parts(thing: Any) -> Iterator[Any]:
    """What an object is directly made of, names before values."""
    if isinstance(thing, Enum):
        yield thing.name
    elif isinstance(thing, Mapping):
        for key in sorted(thing, key=str):
            yield from (key, thing[key])
    elif isinstance(thing, (list, tuple)):
        yield from thing
    elif isinstance(thing, (set, frozenset)):
        yield from sorted(map(fingerprint, thing))
    elif isinstance(thing, partial):
        yield from (thing.func, thing.args, thing.keywords)
    elif isinstance(thing, MethodType):
        yield from (thing.__func__, thing.__self__)
    elif dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            yield from (field.name, getattr(thing, field.name, None))
    elif callable(thing):
        # Built-in functions have a name of their own; instances of plain classes, attributes.
        yield _name(thing)
        yield getattr(thing, "__dict__", {})


def _python_function(thing: Any) -> FunctionType | None:
    """The function itself, or the one that a transformation of JAX was made from."""
    if isinstance(thing, FunctionType):
        return thing
    wrapped = None if dataclasses.is_dataclass(thing) else getattr(thing, "__wrapped__", None)
    return wrapped if isinstance(wrapped, FunctionType) else None


def _is_importable(thing: Any) -> bool:
    """Whether a module other than the program itself has a function or class under its name."""
    module = getattr(thing, "__module__", "")
    return isinstance(thing, ModuleType) or (
        module in sys.modules and module != "__main__" and "<" not in thing.__qualname__
    )


def _definition(thing: Any) -> Iterator[Any]:
    """What a function or class that has no name of its own does."""
    if isinstance(thing, FunctionType):
        yield from _function_parts(thing)
    elif isinstance(thing, type):
        yield from (base for base in thing.__bases__ if not _is_importable(base))
        for name in sorted(vars(thing)):
            method = getattr(thing, name, None)
            # Of the special methods all but one are generated or act on construction alone.
            if isinstance(method, FunctionType) and (name == "__call__" or name[:2] != "__"):
                yield from (name, *_function_parts(method))


def _function_parts(function: FunctionType) -> Iterator[Any]:
    """Code, defaults, and the values that a function takes from around it."""
    code = function.__code__
    yield from (*_code_parts(code), function.__defaults__, function.__kwdefaults__)
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that nothing is bound to yet
            yield None
    for name in sorted(_global_names(code)):
        yield from (name, function.__globals__.get(name))


def _code_parts(code: CodeType) -> Iterator[Any]:
    """Instructions, names and constants; a nested function's code in place of its constant."""
    yield from (code.co_code, code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield constant


def _global_names(code: CodeType) -> set[str]:
    """Names that a function and those nested in it look up in their module."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return names.union(*map(_global_names, inner))
