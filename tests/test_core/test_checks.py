"""Checks of arguments: what passes, and the one line that refuses the rest."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checks import (
    as_integer,
    as_scalar,
    require_counts,
    require_positive,
    require_real,
    require_type,
)
from diffhep.core.errors import ConfigError, ShapeError

pytestmark = pytest.mark.instant


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_every_kind_of_integer_passes(value):
    assert type(as_integer(value, "n", low=1)) is int


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True, of type bool"),
        (np.True_, "np.True_, of type bool"),
        (2.0, "2.0, of type float"),
        (np.float64(2.0), "np.float64(2.0), of type float64"),
        ("3", "'3', of type str"),
        (None, "None, of type NoneType"),
        (0, "0"),
    ],
)
def test_what_is_no_positive_integer_is_refused(value, shown):
    with pytest.raises(ConfigError) as caught:
        as_integer(value, "n", low=1)
    assert str(caught.value) == f"Argument `n` must be an integer of at least 1, but it is {shown}."


@pytest.mark.parametrize(
    "value", [2, 2.5, np.float32(2.5), np.array(2.5), jnp.array(2), jnp.bfloat16(2.5)]
)
def test_a_number_becomes_a_leaf(value):
    leaf = as_scalar(value, "beta")
    assert (leaf.dtype, leaf.shape) == (jnp.float64, ())
    assert float(leaf) == float(value)


def test_a_tracer_passes():
    def double(x):
        require_real(x, "x", "be at least 0", low=0.0)
        return 2.0 * as_scalar(x, "x")

    assert float(jax.jit(double)(-1.0)) == -2.0


@pytest.mark.parametrize("value", [True, jnp.array(True), 2j, "2", None, [2.0]])
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(ConfigError, match="Argument `beta` must be one real number, but it is "):
        as_scalar(value, "beta")
    with pytest.raises(ConfigError, match="Argument `beta` must be one real number, but it is "):
        require_real(value, "beta", "be finite")


def test_an_array_is_no_number():
    for check in (as_scalar, lambda x, name: require_real(x, name, "be finite")):
        with pytest.raises(ShapeError, match=r"`beta` must be one real number.* shape \(2,\)"):
            check(jnp.ones(2), "beta")
        with pytest.raises(ShapeError):
            jax.jit(lambda x, check=check: check(x, "beta") or x)(jnp.ones(2))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.0, "2.0, of type float"),
        ([1], "of type list"),
        (int, "the class int"),
        (jnp.ones((2, 3)), "an array of shape (2, 3) and dtype float64"),
        (as_scalar, "the function as_scalar"),
    ],
)
def test_an_object_of_another_kind_is_named(value, shown):
    require_type({}, (dict, str), "names", "be a dictionary")
    with pytest.raises(ConfigError) as caught:
        require_type(value, dict, "names", "be a dictionary")
    assert str(caught.value) == f"Argument `names` must be a dictionary, but it is {shown}."


@dataclass(frozen=True)
class Settings:
    n_steps: object = 3
    rate: object = 0.1


@pytest.mark.parametrize("value", [0, 2.0, True, "3", None])
def test_a_setting_that_is_no_count_is_named(value):
    require_counts(Settings(), 1, "n_steps")
    with pytest.raises(ConfigError, match="`n_steps` must be an integer of at least 1"):
        require_counts(Settings(n_steps=value), 1, "n_steps")


@pytest.mark.parametrize("value", [0.0, -1, np.inf, np.nan, "1", None])
def test_a_setting_that_is_not_positive_is_named(value):
    require_positive(Settings(), "n_steps", "rate")
    with pytest.raises(ConfigError, match="`rate` must"):
        require_positive(Settings(rate=value), "n_steps", "rate")
