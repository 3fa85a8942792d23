"""What an algorithm is, in words and numbers that JSON can hold."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

LARGEST_SHOWN = 16
"""Entries up to which an array is written out; a larger one is named by its digest."""


def describe(value: Any) -> Any:
    """A module and everything in it as nested dictionaries, lists, numbers and text.

    Args:
        value: Modules, dataclasses, containers, arrays, numbers, functions.

    Returns:
        What JSON can hold; equal for equal settings.
    """
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return _describe_array(np.asarray(value))
    if isinstance(value, Mapping):
        return {str(key): describe(inner) for key, inner in value.items()}
    fields_of = getattr(value, "_asdict", None)
    if isinstance(value, tuple) and fields_of is not None:
        return describe(fields_of())
    if isinstance(value, (tuple, list)):
        return [describe(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__} | describe(fields)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__qualname__", type(value).__name__)


def _describe_array(array: np.ndarray) -> Any:
    if array.size <= LARGEST_SHOWN and array.dtype.kind in "biuf":
        return describe(array.tolist())
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype}{list(array.shape)} {digest[:16]}"
