"""What `sample` records of a nested Info."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from diffhep.core.sampling import AbstractSamplingAlgorithm, sample

pytestmark = pytest.mark.instant


class Part(NamedTuple):
    accepted: Array


class Whole(NamedTuple):
    acceptance_probability: Array
    accepted: Array
    is_finite: Array
    parts: dict
    profile: Array


class State(NamedTuple):
    position: Array


class Counter(AbstractSamplingAlgorithm):
    """Adds its stride; accepts in its second part only."""

    stride: Array = eqx.field(converter=jnp.asarray)

    def init(self, position):
        return State(position)

    def step(self, key, state):
        del key
        yes, no = jnp.array(True), jnp.array(False)
        parts = {"first": Part(no), "second": Part(yes)}
        return State(state.position + self.stride), Whole(
            jnp.array(0.5), yes, yes, parts, jnp.zeros(3)
        )


def test_parts_are_recorded_by_their_path(key):
    result = sample(Counter(2.0), jnp.zeros(3), 4, observe={}, key=key, progress=False)
    assert set(result.info) == {
        "acceptance_probability",
        "accepted",
        "is_finite",
        "parts/first/accepted",
        "parts/second/accepted",
    }
    assert not result.info["parts/first/accepted"].any()
    assert result.info["parts/second/accepted"].all()
    np.testing.assert_array_equal(result.state.position, 8.0)
