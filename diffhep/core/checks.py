"""Argument checks in one style: "Argument `x` must ..., but ..."."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from diffhep.core.errors import ConfigError, ShapeError


def require(condition: bool, name: str, rule: str, value: Any) -> None:
    """Raise a `ConfigError` unless a static condition holds.

    Args:
        condition: What must be true; a Python bool, known when the function is traced.
        name: The argument's name.
        rule: What the argument must do, as the words after "must".
        value: The value it has.

    Raises:
        ConfigError: `condition` is false.
    """
    if not condition:
        raise ConfigError(f"Argument `{name}` must {rule}, but it is {value!r}.")


def require_shape(condition: bool, name: str, rule: str, value: Any) -> None:
    """Raise a `ShapeError` unless a static condition on a shape, rank or dtype holds.

    Args:
        condition: What must be true; a Python bool, known when the function is traced.
        name: The argument's name.
        rule: What the argument must do, as the words after "must".
        value: The shape, rank or dtype it has.

    Raises:
        ShapeError: `condition` is false.
    """
    if not condition:
        raise ShapeError(f"Argument `{name}` must {rule}, but it has {value}.")


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array, or None while it is being traced and has no value yet."""
    if isinstance(value, Tracer):
        return None
    return np.asarray(value)


def require_real(value: Any, name: str, rule: str, *, low: float | None = None) -> None:
    """Raise a `ConfigError` unless a number is finite and at least `low`.

    A traced value passes: its check belongs to the caller outside `jit`.

    Args:
        value: A number or a scalar array.
        name: The argument's name.
        rule: What the argument must do, as the words after "must".
        low: The smallest value allowed.

    Raises:
        ConfigError: The value is not finite or lies below `low`.
    """
    array = concrete(value)
    if array is None:
        return
    good = bool(np.all(np.isfinite(array))) and (low is None or bool(np.all(array >= low)))
    require(good, name, rule, array.tolist())


def require_x64(what: str) -> None:
    """Raise a `ConfigError` where double precision is needed and switched off.

    Args:
        what: What needs it, as the subject of a sentence.

    Raises:
        ConfigError: `jax_enable_x64` is off.
    """
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ConfigError(
            f"Argument `jax_enable_x64` must be true for {what}, but it is False; "
            'call jax.config.update("jax_enable_x64", True) first.'
        )
