"""Named streams: independent of order, of the number of chains and of the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core import checks, rng
from diffhep.core.errors import ConfigError, ShapeError

pytestmark = pytest.mark.instant


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def test_names_give_streams_of_their_own(key):
    assert words(rng.key_for(key, "a")) == words(rng.key_for(key, "a"))
    assert len({tuple(words(rng.key_for(key, name))) for name in ("a", "b", "ab", "")}) == 4


def test_chains_keep_their_keys_whatever_runs_beside_them(key):
    few, many = rng.keys_for_chains(key, 3), rng.keys_for_chains(key, 7)
    assert words(few) == words(many[:3])
    assert len({tuple(row) for row in words(many)}) == 7


def test_key_at_is_the_same_traced_or_not(key):
    assert words(rng.key_at(key, 5)) == words(jax.jit(rng.key_at)(key, jnp.asarray(5)))


def test_draw_in_global_shape_is_the_same_on_four_devices(key):
    def draw(k):
        return jax.random.normal(k, (8, 5))

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("chain",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("chain"))
    sharded = jax.jit(draw, out_shardings=sharding)(key)
    assert len(sharded.sharding.device_set) == 4
    np.testing.assert_array_equal(sharded, jax.jit(draw)(key))


@pytest.mark.parametrize("make", [lambda: jax.random.PRNGKey(0), lambda: jnp.zeros(2, jnp.uint32)])
def test_raw_keys_are_refused(make):
    with pytest.raises(ShapeError, match="typed key"):
        rng.key_for(make(), "a")


def test_checks_say_argument_rule_and_value():
    with pytest.raises(ConfigError, match=r"Argument `n` must be even, but it is 3\.$"):
        checks.require(False, "n", "be even", 3)
    with pytest.raises(ShapeError, match=r"Argument `x` must be flat, but it has rank 2\.$"):
        checks.require_shape(False, "x", "be flat", "rank 2")
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="`beta` must be finite"):
            checks.require_real(value, "beta", "be finite and not negative", low=0.0)
    checks.require_real(jnp.array(2.0), "beta", "be finite", low=0.0)


def test_checks_let_traced_values_pass():
    def double(x):
        checks.require_real(x, "x", "be finite", low=0.0)
        return 2 * x

    assert jax.jit(double)(-1.0) == -2.0


def test_missing_double_precision_is_named():
    checks.require_x64("the action")
    with jax.enable_x64(False), pytest.raises(ConfigError, match="`jax_enable_x64` must be true"):
        checks.require_x64("the action")
