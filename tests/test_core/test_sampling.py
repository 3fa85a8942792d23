"""Many chains: a Metropolis walk on Gaussians, the same bits however it is cut or spread."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.distributed import mesh
from diffhep.core.errors import ConfigError, ConvergenceError, Interrupted, ShapeError
from diffhep.core.sampling import AbstractSamplingAlgorithm, sample
from diffhep.core.stats import effective_samples, gamma_method

pytestmark = pytest.mark.fast

WIDTHS = (1.0, 3.0)


class WalkState(NamedTuple):
    position: dict
    log_density: jax.Array


class WalkInfo(NamedTuple):
    acceptance_probability: jax.Array
    accepted: jax.Array
    is_finite: jax.Array
    proposal: dict
    label: str


class Metropolis(AbstractSamplingAlgorithm):
    """Random-walk Metropolis for independent Gaussians "a" (2,) and "b" () of known widths."""

    step_size: jax.Array = eqx.field(converter=jnp.asarray)

    def log_density(self, position):
        return -0.5 * (jnp.sum((position["a"] / WIDTHS[0]) ** 2) + (position["b"] / WIDTHS[1]) ** 2)

    def init(self, position):
        return WalkState(position, self.log_density(position))

    def step(self, key, state):
        assert isinstance(self.step_size, jax.core.Tracer)
        key_a, key_b, key_accept = jax.random.split(key, 3)
        proposal = {
            "a": state.position["a"] + self.step_size * jax.random.normal(key_a, (2,)),
            "b": state.position["b"] + self.step_size * jax.random.normal(key_b),
        }
        proposed = self.init(proposal)
        probability = jnp.minimum(1.0, jnp.exp(proposed.log_density - state.log_density))
        accepted = jax.random.uniform(key_accept) < probability
        new = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), proposed, state)
        finite = jnp.isfinite(new.log_density)
        return new, WalkInfo(probability, accepted, finite, proposal, "walk")


OBSERVE = {
    "b": lambda position: position["b"],
    "a": lambda position: position["a"],
    "b_squared": lambda position: position["b"] ** 2,
}


def starts(n_chains):
    return {"a": jnp.zeros((n_chains, 2)), "b": jnp.zeros(n_chains)}


def run(key, n_steps=60, n_chains=8, **settings):
    settings = {"observe": OBSERVE, "chunk": 20, **settings}
    return sample(Metropolis(2.0), starts(n_chains), n_steps, key=key, **settings)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_same_result(one, other):
    assert_same(one[:3], other[:3])


def test_metropolis_reaches_the_gaussian(key):
    result = run(key, n_steps=6000, n_chains=32, chunk=1000)
    series = {name: rows[:, 500:] for name, rows in result.observables.items()}
    # Three tests at four standard errors: false alarm below 2e-4.
    exact = [("b", 0.0), ("b_squared", WIDTHS[1] ** 2)]
    for rows, expected in [(series[name], value) for name, value in exact] + [
        (series["a"][..., 0] * series["a"][..., 1], 0.0)
    ]:
        measured = gamma_method(rows)
        assert effective_samples(rows.size, measured.tau_int) > 1000
        assert abs(measured.mean - expected) < 4 * measured.error
    rate = gamma_method(result.info["accepted"])
    probability = gamma_method(result.info["acceptance_probability"])
    assert abs(rate.mean - probability.mean) < 4 * rate.error


def test_layout_of_what_is_recorded(key):
    result = run(key, n_steps=60, n_chains=8, thin=5)
    assert {name: rows.shape for name, rows in result.observables.items()} == {
        "b": (8, 12),
        "a": (8, 12, 2),
        "b_squared": (8, 12),
    }
    # Scalars inside a field are named by their path; arrays and text are left out.
    assert {name: (rows.shape, rows.dtype.name) for name, rows in result.info.items()} == {
        "acceptance_probability": ((8, 60), "float64"),
        "accepted": ((8, 60), "bool"),
        "is_finite": ((8, 60), "bool"),
        "proposal/b": ((8, 60), "float64"),
    }
    assert result.state.position["a"].shape == (8, 2)
    np.testing.assert_array_equal(result.observables["b"][:, -1], result.state.position["b"])
    assert result.seconds > 0
    assert result.compile_seconds > 0


@pytest.mark.bits
def test_thinning_chunks_and_neighbours_do_not_change_a_chain(key):
    whole = run(key)
    thinned = run(key, thin=5)
    np.testing.assert_array_equal(thinned.observables["a"], whole.observables["a"][:, 4::5])
    assert_same(thinned.info, whole.info)
    assert_same_result(run(key, chunk=7), whole)
    few = run(key, n_chains=4)
    assert_same(few.observables, {name: rows[:4] for name, rows in whole.observables.items()})


@pytest.mark.parametrize("n_devices", [2, 4])
def test_sharded_chains_equal_those_of_one_device_bitwise(n_devices, key):
    spread = run(key, mesh=mesh(n_devices))
    assert len(spread.state.position["a"].sharding.device_set) == n_devices
    assert_same_result(run(key), spread)


def test_interrupted_sharded_run_resumes_on_one_device(key, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")

    def stop(done, record):
        if done == 40:
            assert record.observables["a"].shape == (8, 20, 2)
            assert record.info["accepted"].shape == (8, 20)
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(key, mesh=mesh(), checkpoint=checkpoint, on_chunk=stop)
    assert_same_result(run(key, checkpoint=checkpoint), run(key))


def wide(position):
    return 2.0 * position["a"]


CHANGES = [
    ("algorithm", {"algorithm": Metropolis(1.0)}),
    ("positions", {"positions": {"a": jnp.ones((8, 2)), "b": jnp.zeros(8)}}),
    ("observe", {"observe": {**OBSERVE, "a": lambda position: 2.0 * position["a"]}}),
    ("observe", {"observe": {**OBSERVE, "a": wide}}),
    ("thin", {"thin": 2}),
]


def test_checkpoint_of_another_problem_is_refused(key, tmp_path):
    problem = {"algorithm": Metropolis(2.0), "positions": starts(8), "observe": OBSERVE}
    problem |= {"key": key, "chunk": 20, "checkpoint": Checkpoint(tmp_path / "a")}
    sample(n_steps=20, **problem)
    for part, change in CHANGES:
        with pytest.raises(ConfigError, match=rf"another `{part}`; .*resume=False") as error:
            sample(n_steps=40, **{**problem, **change})
        assert "\n" not in str(error.value)
    # A dict in another order, other devices and chunks, and more steps are no other problem.
    same = {"observe": dict(reversed(OBSERVE.items())), "chunk": 10, "mesh": mesh(2)}
    assert_same_result(sample(n_steps=40, **{**problem, **same}), run(key, n_steps=40))


class Poisoned(Metropolis):
    """Chain 3 of position -7 leaves the finite numbers in its 12th step."""

    def step(self, key, state):
        new, info = super().step(key, state)
        n = state.position["a"][0] + 1
        poison = jnp.where((state.position["b"] == -7) & (n == 12), jnp.nan, 1.0)
        position = {"a": jnp.stack([n, n]), "b": state.position["b"] * poison}
        finite = jnp.isfinite(position["b"])
        return WalkState(position, new.log_density), info._replace(is_finite=finite)


@pytest.mark.parametrize("thin", [1, 4])
def test_bad_chain_and_step_are_named_and_the_state_saved(thin, key, tmp_path):
    positions = starts(5)
    positions["b"] = positions["b"].at[3].set(-7.0)
    checkpoint = Checkpoint(tmp_path / "a")
    with pytest.raises(ConvergenceError, match="but chain 3 did not at step 11") as info:
        sample(
            Poisoned(1.0),
            positions,
            40,
            observe={},
            key=key,
            thin=thin,
            chunk=4,
            checkpoint=checkpoint,
        )
    assert str(checkpoint.path) in str(info.value)
    assert checkpoint.exists()


def test_observable_that_is_not_finite_is_named(key):
    observe = {"log": lambda position: jnp.log(position["b"] - 1e9)}
    with pytest.raises(ConvergenceError, match=r"at step 0 \['observable'\]\['log'\]\[0\] is nan"):
        run(key, observe=observe)


class Bare(AbstractSamplingAlgorithm):
    """Multiplies its position and says nothing about it."""

    factor: float = eqx.field(static=True)

    def init(self, position):
        return WalkState(position, jnp.zeros(()))

    def step(self, key, state):
        return WalkState(state.position * self.factor, state.log_density), None


def test_without_result_code_the_position_is_watched(key):
    with pytest.raises(ConvergenceError, match=r"at step 3 \['position'\]\[1\] is inf"):
        sample(Bare(2e100), jnp.array([0.0, 1.0]), 10, observe={}, key=key)


def test_single_precision_passes_through(key):
    observe = {"x": lambda position: position}
    result = sample(Bare(2.0), jnp.zeros((2, 3), jnp.float32), 4, observe=observe, key=key)
    assert result.observables["x"].dtype == np.float32
    assert result.info == {}


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_settings_are_named(key):
    with pytest.raises(ConfigError, match="`thin` must divide the 60 steps"):
        run(key, thin=7)
    with pytest.raises(ConfigError, match="divides the 6 chains"):
        run(key, n_chains=6, mesh=mesh(4))
    with pytest.raises(ConfigError, match="`chunk`"):
        run(key, chunk=0)
    with pytest.raises(ConfigError, match=r"`thin` must be an integer .*is 2\.0, of type float"):
        run(key, thin=2.0)
    with pytest.raises(ConfigError, match="`observe` must map names to functions"):
        sample(Bare(2.0), jnp.zeros((2, 3)), 1, observe=jnp.sum, key=key)
    with pytest.raises(ShapeError, match="at least one chain"):
        sample(Bare(2.0), jnp.zeros((0, 3)), 1, observe={}, key=key)
    with pytest.raises(ShapeError, match="one leading chain axis"):
        sample(Bare(2.0), jnp.zeros(()), 1, observe={}, key=key)
    with pytest.raises(ShapeError, match="one leading chain axis"):
        sample(Bare(2.0), {"a": jnp.zeros(2), "b": jnp.zeros(3)}, 1, observe={}, key=key)
