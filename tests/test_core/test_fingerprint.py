"""Fingerprints: equal for what is set up alike, in any process; different for what is not."""

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from enum import Enum
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.distributed import mesh
from diffhep.core.fingerprint import fingerprint

pytestmark = pytest.mark.instant


class Shape(Enum):
    ROUND = 1
    FLAT = 2


@dataclass(frozen=True)
class Setting:
    n: int
    names: tuple = ("a",)


class Node(eqx.Module):
    weight: jax.Array
    kind: object = eqx.field(static=True)

    def act(self, x):
        return self.weight * x


class Plain:
    def __init__(self, power):
        self.power = power

    def __call__(self, x):
        return x**self.power


def power_of(n):
    return lambda x: x**n


def local_class(sign):
    class Local(eqx.Module):
        def __call__(self, x):
            return sign * x

    return Local()


def node(value=1.0, kind="a"):
    return Node(jnp.full(3, value), kind)


UNLIKE = [
    (1, 2),
    (1, 1.0),
    (1, True),
    ("1", b"1"),
    ([[1], 2], [[1, 2]]),
    ([1], (1,)),
    ({"a": 1}, {"b": 1}),
    ({1, 2}, {1, 3}),
    (np.zeros(2), np.zeros(3)),
    (np.zeros(2), np.zeros(2, np.float32)),
    (np.zeros((1, 2)), np.zeros((2, 1))),
    (np.array(["a", None]), np.array(["b", None])),
    (jax.random.key(0), jax.random.key(1)),
    (jax.random.key(0), jax.random.key(0, impl="rbg")),
    (Shape.ROUND, Shape.FLAT),
    (Setting(1), Setting(2)),
    (Setting(1), Setting(1, ("b",))),
    (node(), node(2.0)),
    (node(), node(kind="b")),
    (node().act, node(2.0).act),
    (Plain(2), Plain(3)),
    (np.sin, np.cos),
    (jnp.sin, jnp.cos),
    (jax.nn.relu, jax.nn.gelu),
    (power_of, node),
    (power_of(1), power_of(2)),
    (power_of(jnp.ones(2)), power_of(jnp.zeros(2))),
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: x.a, lambda x: x.b),
    (lambda x, n=1: x, lambda x, n=2: x),
    (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
    (jax.jit(lambda x: x + 1), jax.jit(lambda x: x + 2)),
    (partial(max, 1), partial(max, 2)),
    (partial(sorted, key=len), partial(sorted, key=str)),
    (local_class(1), local_class(2)),
]


@pytest.mark.parametrize("pair", UNLIKE, ids=range(len(UNLIKE)))
def test_what_differs_has_another_fingerprint(pair):
    one, other = map(fingerprint, pair)
    assert one != other
    assert (one, other) == (fingerprint(pair[0]), fingerprint(pair[1]))


@pytest.mark.parametrize(
    "build",
    [
        node,
        lambda: Plain(2),
        lambda: power_of(2),
        lambda: {"a": 1, "b": [2.0, None, Ellipsis]},
        lambda: local_class(1),
        lambda: jax.jit(power_of(3)),
        object,
    ],
)
def test_what_is_set_up_anew_has_the_same_fingerprint(build):
    assert fingerprint(build()) == fingerprint(build())


def test_order_of_a_mapping_and_the_place_of_an_array_do_not_count():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    spread = jax.device_put(
        jnp.arange(8.0), jax.NamedSharding(mesh(4), jax.sharding.PartitionSpec("chain"))
    )
    assert fingerprint(spread) == fingerprint(np.arange(8.0))


def test_a_thing_that_holds_itself_ends():
    loop = [1]
    loop.append(loop)
    assert fingerprint(loop) != fingerprint([1])

    def recursive(n):
        return recursive(n - 1) if n else 0

    assert len(fingerprint(recursive)) == 16


def test_another_process_finds_the_same():
    script = textwrap.dedent(
        """
        import functools, threading
        import equinox as eqx, jax, jax.numpy as jnp
        from diffhep.core.fingerprint import fingerprint
        WIDTH, LOCK = 2, threading.Lock()
        def named(x):
            return jnp.sum(x) * WIDTH if x in {"a", "b", "c"} else LOCK
        class Loss(eqx.Module):
            scale: jax.Array
            def __call__(self, model):
                return named(model) * self.scale
        things = [named, lambda x: named(x), Loss(jnp.ones(2)), jax.jit(named),
                  functools.partial(jnp.sum, axis=1), {"b", "a", "c"}]
        print(*map(fingerprint, things))
        WIDTH = 3
        print(*map(fingerprint, things))
        """
    )

    def printed(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        words = [sys.executable, "-c", script]
        done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
        return [line.split() for line in done.stdout.splitlines()]

    before, after = printed("1")
    assert [before, after] == printed("2")
    # What the program's functions take from its globals counts.
    changed = [one != other for one, other in zip(before, after, strict=True)]
    assert changed == [True, True, True, True, False, False]
