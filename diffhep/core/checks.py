"""Argument checks in one style: "Argument `x` must ..., but ..."."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.typing import Scalar


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


def describe_value(value: Any) -> str:
    """What an argument is, in a few words on one line: its value where that is short, its type."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, (bool, int, float, complex, str, np.generic)):
        return f"{value!r}, of type {type(value).__name__}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}"
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    return f"of type {type(value).__name__}"


def require_type(value: Any, kinds: type | tuple[type, ...], name: str, rule: str) -> None:
    """Raise a `ConfigError` unless an argument is an object of a kind.

    Args:
        value: The object.
        kinds: Its class or classes.
        name: The argument's name.
        rule: What the argument must be, as the words after "must".

    Raises:
        ConfigError: `value` is something else.
    """
    if not isinstance(value, kinds):
        raise ConfigError(f"Argument `{name}` must {rule}, but it is {describe_value(value)}.")


def is_integer(value: Any) -> bool:
    """Whether something is an integer of Python or NumPy; a bool is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def as_integer(value: Any, name: str, *, low: int) -> int:
    """An integer setting as a Python int, whether it is one or NumPy's.

    Args:
        value: The number; a bool is none, nor is a float with an integer's value.
        name: The argument's name.
        low: The smallest value allowed.

    Returns:
        The integer.

    Raises:
        ConfigError: `value` is no integer or lies below `low`.
    """
    rule = f"be an integer of at least {low}"
    if not is_integer(value):
        raise ConfigError(f"Argument `{name}` must {rule}, but it is {describe_value(value)}.")
    require(int(value) >= low, name, rule, int(value))
    return int(value)


def require_counts(settings: Any, low: int, *names: str) -> None:
    """Raise a `ConfigError` that names the first setting which is no integer of at least `low`.

    Args:
        settings: An object, a dataclass of settings as a rule.
        low: The smallest value allowed.
        *names: Its attributes that are counts.

    Raises:
        ConfigError: One of them is no integer or lies below `low`.
    """
    for name in names:
        as_integer(getattr(settings, name), name, low=low)


def require_positive(settings: Any, *names: str) -> None:
    """Raise a `ConfigError` that names the first setting which is not finite and positive.

    Args:
        settings: An object, a dataclass of settings as a rule.
        *names: Its attributes that are positive numbers.

    Raises:
        ConfigError: One of them is not finite or not positive.
        ShapeError: One of them is an array with axes.
    """
    for name in names:
        value = getattr(settings, name)
        require_scalar(value, name)
        require(0.0 < value < math.inf, name, "be finite and positive", value)


def require_scalar(value: Any, name: str) -> None:
    """Raise an error unless an argument is one real number, traced or not.

    Args:
        value: A number, an array of rank zero, or a tracer of one; a bool is no number.
        name: The argument's name.

    Raises:
        ConfigError: `value` is no real number.
        ShapeError: It is an array with axes.
    """
    rule = "be one real number"
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        require_shape(np.shape(value) == (), name, rule, f"shape {np.shape(value)}")
        kinds = (jnp.floating, jnp.integer)
        good = any(jnp.issubdtype(value.dtype, kind) for kind in kinds)
    else:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good:
        raise ConfigError(f"Argument `{name}` must {rule}, but it is {describe_value(value)}.")


def as_scalar(value: Any, name: str) -> Scalar:
    """A real setting as an array of rank zero, so that a new value does not compile anew.

    Args:
        value: A number, an array of rank zero, or a tracer of one.
        name: The argument's name.

    Returns:
        The number in the default floating dtype.

    Raises:
        ConfigError: `value` is no real number.
        ShapeError: It is an array with axes.
    """
    require_scalar(value, name)
    return jnp.asarray(value, dtype=float)


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
        ConfigError: The value is no real number, is not finite or lies below `low`.
        ShapeError: It is an array with axes.
    """
    require_scalar(value, name)
    array = concrete(value)
    if array is None:
        return
    good = bool(np.isfinite(array)) and (low is None or bool(array >= low))
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
