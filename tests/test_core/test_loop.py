"""The loop: the same bits however it is cut, killed or resumed; failures named and saved."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import (
    ConfigError,
    ConvergenceError,
    DataError,
    Interrupted,
    ShapeError,
)
from diffhep.core.loop import run_loop
from diffhep.core.loop_guard import Guard
from diffhep.core.rng import key_at

pytestmark = pytest.mark.fast

START = {"x": jnp.zeros(5), "count": jnp.asarray(0), "name": "static"}


def walk(key, state):
    x = 0.9 * state["x"] + jnp.sin(jax.random.normal(key, (5,)))
    state = {"x": x, "count": state["count"] + 1, "name": state["name"]}
    return state, {"mean": x.mean(), "x": x, "count": state["count"]}


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_same_result(one, other):
    assert_same(eqx.filter(one.state, eqx.is_array), eqx.filter(other.state, eqx.is_array))
    assert_same(one.history, other.history)


def stop_at(step, action):
    def on_chunk(done, metrics):
        if done == step:
            action()

    return on_chunk


def interrupt():
    signal.raise_signal(signal.SIGINT)


def test_loop_equals_the_plain_loop(key):
    result = run_loop(walk, START, 23, key=key, chunk=10)
    state, rows = START, []
    for i in range(23):
        state, metrics = walk(key_at(key, i), state)
        rows.append(metrics)
    assert result.state["name"] == "static"
    np.testing.assert_allclose(result.state["x"], state["x"], rtol=1e-12)
    np.testing.assert_allclose(result.history["x"], [row["x"] for row in rows], rtol=1e-12)
    np.testing.assert_array_equal(result.history["count"], np.arange(1, 24))
    assert isinstance(result.history["x"], np.ndarray)
    assert result.seconds > 0
    assert result.compile_seconds > 0


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_chunks_do_not_change_the_bits(chunk, key, tmp_path):
    whole = run_loop(walk, START, 40, key=key, chunk=13)
    seen = []
    parts = run_loop(
        walk,
        START,
        40,
        key=key,
        chunk=chunk,
        checkpoint=Checkpoint(tmp_path / "a"),
        checkpoint_every_s=0.0,
        on_chunk=lambda done, metrics: seen.append((done, len(metrics["mean"]))),
    )
    assert_same_result(whole, parts)
    assert [done for done, _ in seen] == [*range(chunk, 40, chunk), 40]
    assert sum(count for _, count in seen) == 40


def test_state_given_is_not_consumed(key):
    run_loop(walk, START, 3, key=key)
    np.testing.assert_array_equal(START["x"], np.zeros(5))


def test_arrays_of_a_module_are_arguments_of_one_program(key):
    class Step(eqx.Module):
        rate: jax.Array

        def __call__(self, key, state):
            assert isinstance(self.rate, jax.core.Tracer)
            return state * self.rate, {}

    result = run_loop(Step(jnp.asarray(2.0)), jnp.ones(2), 10, key=key)
    np.testing.assert_array_equal(result.state, [1024.0, 1024.0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_kept(dtype, key):
    def step(key, state):
        return 0.5 * state + jax.random.normal(key, (3,), dtype), {"sum": state.sum()}

    result = run_loop(step, jnp.zeros(3, dtype), 4, key=key)
    assert result.state.dtype == result.history["sum"].dtype == dtype


def test_ctrl_c_ends_the_chunk_saves_and_resumes_to_the_same_bits(key, tmp_path, capsys):
    # A process started in the background has SIGINT ignored.
    before = signal.getsignal(signal.SIGINT)
    whole = run_loop(walk, START, 50, key=key, chunk=10)
    checkpoint = Checkpoint(tmp_path / "a")
    settings = {"key": key, "chunk": 10, "checkpoint": checkpoint, "checkpoint_every_s": 1e9}
    for done in (20, 30):
        with pytest.raises(Interrupted, match=rf"after {done} of 50 steps.*step {done} is in"):
            run_loop(walk, START, 50, **settings, on_chunk=stop_at(done, interrupt))
    assert "once more stops at once" in capsys.readouterr().err
    resumed = run_loop(walk, START, 50, **settings)
    assert_same_result(whole, resumed)
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_in_the_last_chunk_is_not_swallowed(key, tmp_path):
    settings = {"key": key, "chunk": 10, "checkpoint": Checkpoint(tmp_path / "a")}
    with pytest.raises(Interrupted):
        run_loop(walk, START, 20, **settings, on_chunk=stop_at(20, interrupt))
    assert run_loop(walk, START, 20, **settings).state["count"] == 20


def test_interrupt_while_the_device_works_is_caught(key, tmp_path):
    def slow(key, x):
        return jax.lax.fori_loop(0, 100, lambda _, y: jnp.sin(y) + 0.5, x), {}

    checkpoint = Checkpoint(tmp_path / "a")
    # The signal comes a moment after the first chunk, while the second is being computed.
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    seen = []

    def on_chunk(done, _):
        seen.append(done)
        if len(seen) == 1:
            timer.start()

    with pytest.raises(Interrupted) as info:
        run_loop(
            slow,
            jnp.ones(10_000),
            10**6,
            key=key,
            chunk=20,
            checkpoint=checkpoint,
            on_chunk=on_chunk,
        )
    timer.join()
    _, metadata = checkpoint.restore((jnp.ones(10_000), {}))
    assert metadata["done"] == seen[-1]
    assert f"step {seen[-1]} is in" in str(info.value)


def test_keyboard_interrupt_in_a_callback_saves(key, tmp_path):
    def press():
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"step 10 is in"):
        run_loop(
            walk,
            START,
            20,
            key=key,
            chunk=10,
            checkpoint=Checkpoint(tmp_path / "a"),
            on_chunk=stop_at(10, press),
        )


def test_second_ctrl_c_stops_at_once_and_names_what_is_saved(key, tmp_path):
    def press_twice():
        interrupt()
        interrupt()
        raise ZeroDivisionError

    def run(**settings):
        with pytest.raises(Interrupted) as info:
            run_loop(walk, START, 20, key=key, chunk=10, **settings)
        return str(info.value)

    checkpoint = Checkpoint(tmp_path / "a")
    assert "step 10 is in" in run(checkpoint=checkpoint, on_chunk=stop_at(10, press_twice))
    assert "nothing is saved" in run(on_chunk=stop_at(10, press_twice))


def test_finished_loop_returns_at_once_without_compiling(key, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    first = run_loop(walk, START, 20, key=key, checkpoint=checkpoint)
    again = run_loop(walk, START, 20, key=key, checkpoint=checkpoint)
    assert_same_result(first, again)
    assert (again.seconds, again.compile_seconds) == (first.seconds, first.compile_seconds)
    longer = run_loop(walk, START, 35, key=key, checkpoint=checkpoint)
    assert_same_result(longer, run_loop(walk, START, 35, key=key))
    assert longer.seconds > first.seconds
    fresh = run_loop(walk, START, 5, key=key, checkpoint=checkpoint, resume=False)
    assert fresh.history["mean"].shape == (5,)


def test_fresh_start_leaves_nothing_of_the_old_run_to_fall_back_on(key, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    run_loop(walk, START, 20, key=key, checkpoint=checkpoint)
    settings = {"key": key, "checkpoint": checkpoint, "resume": False}
    run_loop(walk, {**START, "x": jnp.ones(5)}, 20, **settings)
    checkpoint.path.write_bytes(b"damaged")
    resumed = run_loop(walk, {**START, "x": jnp.ones(5)}, 20, key=key, checkpoint=checkpoint)
    fresh = run_loop(walk, {**START, "x": jnp.ones(5)}, 20, key=key)
    assert_same_result(resumed, fresh)


def test_checkpoint_of_another_loop_is_refused(key, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    run_loop(walk, START, 20, key=key, checkpoint=checkpoint, name="one")
    with pytest.raises(ConfigError, match="whose loop is 'two'"):
        run_loop(walk, START, 20, key=key, checkpoint=checkpoint, name="two")
    with pytest.raises(ConfigError, match="whose key is"):
        run_loop(walk, START, 20, key=key_at(key, 1), checkpoint=checkpoint, name="one")
    with pytest.raises(ConfigError, match="at least the 20 steps"):
        run_loop(walk, START, 10, key=key, checkpoint=checkpoint, name="one")


def test_damaged_checkpoint_falls_back_and_ends_in_the_same_bits(key, tmp_path, capsys):
    whole = run_loop(walk, START, 50, key=key, chunk=10)
    checkpoint = Checkpoint(tmp_path / "a")
    settings = {"key": key, "chunk": 10, "checkpoint": checkpoint, "checkpoint_every_s": 0.0}
    with pytest.raises(Interrupted):
        run_loop(walk, START, 50, **settings, on_chunk=stop_at(30, interrupt))
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-3])
    seen = []
    resumed = run_loop(walk, START, 50, **settings, on_chunk=lambda done, _: seen.append(done))
    assert seen == [30, 40, 50]
    assert_same_result(whole, resumed)
    assert f"warning: {checkpoint.path}" in capsys.readouterr().err


def explode(key, state):
    new = jnp.where(state["n"] == 17, jnp.nan, 1.0)
    return {"n": state["n"] + 1, "x": new * jnp.ones(3)}, {"loss": new, "fine": 1.0}


def test_nan_stops_at_its_step_and_keeps_the_last_good_state(key, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    start = {"n": jnp.asarray(0), "x": jnp.ones(3)}
    seen = []
    with pytest.raises(ConvergenceError) as info:
        run_loop(
            explode,
            start,
            100,
            key=key,
            chunk=5,
            name="fit",
            checkpoint=checkpoint,
            checkpoint_every_s=0.0,
            on_chunk=lambda done, _: seen.append(done),
        )
    text = str(info.value)
    assert text.startswith("Loop `fit` must stay finite, but at step 17 metric ['loss'] is nan.")
    assert "\n" not in text
    assert seen == [5, 10, 15]
    like = (start, {"loss": np.zeros(15), "fine": np.zeros(15)})
    (state, _), metadata = checkpoint.restore(like)
    assert (metadata["done"], int(state["n"])) == (15, 15)
    failed = Checkpoint(tmp_path / "a.failed")
    (state, history), _ = failed.restore(
        jax.tree.map(lambda x: x, (start, {"loss": np.zeros(18), "fine": np.zeros(18)}))
    )
    assert np.isnan(state["x"]).all()
    assert np.isnan(history["loss"][17])
    assert np.isfinite(history["loss"][:17]).all()


def test_nan_in_the_state_alone_names_the_leaf(key):
    def step(key, state):
        return {
            "x": state["x"].at[2].add(jnp.where(state["x"][0] > 3, jnp.inf, 1.0)).at[0].add(1)
        }, {}

    with pytest.raises(ConvergenceError, match=r"at step 4 state leaf \['x'\]\[2\] is inf\.$"):
        run_loop(step, {"x": jnp.zeros(3)}, 10, key=key)


def test_guard_of_ones_own(key):
    guard = Guard(lambda s, m: s < 5, lambda step, s, m: f"at step {step} it is {s}")
    with pytest.raises(ConvergenceError, match=r"but at step 4 it is 5\.$"):
        run_loop(lambda key, s: (s + 1, {}), jnp.asarray(0), 10, key=key, guard=guard)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda key, s: ({"a": s["a"].astype(jnp.float32)}, {}), "float64.3. into float32.3."),
        (lambda key, s: ({"a": s["a"][:2]}, {}), r"\['a'\] from float64\[3\] into float64\[2\]"),
        (lambda key, s: ({"b": s["a"]}, {}), r"\['a'\] from float64\[3\] into no array"),
        (lambda key, s: ((s["a"],), {}), "into no array"),
    ],
)
def test_step_that_changes_the_state_is_named(step, words, key):
    with pytest.raises(ShapeError, match=words) as info:
        run_loop(step, {"a": jnp.zeros(3)}, 2, key=key)
    assert "\n" not in str(info.value)


def test_settings_are_checked(key):
    with pytest.raises(ConfigError, match="`n_steps` must be an integer of at least 0"):
        run_loop(walk, START, -1, key=key)
    with pytest.raises(ConfigError, match="`chunk` must be an integer of at least 1"):
        run_loop(walk, START, 1, key=key, chunk=0)
    empty = run_loop(walk, START, 0, key=key)
    assert empty.history["x"].shape == (0, 5)
    np.testing.assert_array_equal(empty.state["x"], START["x"])


def test_a_full_disk_keeps_the_old_checkpoint(key, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "a")

    def fill_disk():
        (tmp_path / "a.tmp").symlink_to("/dev/full")

    settings = {"key": key, "chunk": 10, "checkpoint": checkpoint, "checkpoint_every_s": 0.0}
    with pytest.raises(DataError, match="No space left"):
        run_loop(walk, START, 50, **settings, on_chunk=stop_at(30, fill_disk))
    assert_same_result(run_loop(walk, START, 50, **settings), run_loop(walk, START, 50, key=key))


def test_progress_lines_where_there_is_no_terminal(key, capsys):
    run_loop(walk, START, 20, key=key, name="walk")
    assert capsys.readouterr().err == ""
    run_loop(walk, START, 20, key=key, name="walk", progress="force")
    assert capsys.readouterr().err.startswith("walk: 20/20 mean=")


def test_history_of_many_steps_is_cheap(key):
    n_steps = 100_000
    start = time.perf_counter()
    result = run_loop(
        lambda key, s: (s + 1.0, {"s": s}), jnp.zeros(()), n_steps, key=key, chunk=1000
    )
    spent = time.perf_counter() - start - result.compile_seconds
    np.testing.assert_array_equal(result.history["s"], np.arange(n_steps))
    # A tenth of a millisecond a step would already be a host visit each.
    assert spent < 10.0


SCRIPT = """
    import json, sys, time
    import jax, jax.numpy as jnp
    jax.config.update("jax_enable_x64", True)
    from diffhep.core.checkpoint import Checkpoint
    from diffhep.core.loop import run_loop

    def step(key, x):
        x = 0.9 * x + jnp.sin(jax.random.normal(key, (5,)))
        return x, {"mean": x.mean()}

    def on_chunk(done, metrics):
        print(done, flush=True)
        time.sleep(float(sys.argv[2]))

    checkpoint = Checkpoint(sys.argv[1])
    result = run_loop(step, jnp.zeros(5), 60, key=jax.random.key(5), chunk=7,
                      checkpoint=checkpoint, checkpoint_every_s=0.0, on_chunk=on_chunk)
    words = [float(x).hex() for x in [*result.state, *result.history["mean"]]]
    print(json.dumps(words), flush=True)
"""


def test_killed_process_resumes_to_the_same_bits(tmp_path, key):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def command(name, pause):
        return [sys.executable, str(script), str(tmp_path / name), str(pause)]

    def finish(name):
        done = subprocess.run(command(name, 0.0), capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        return int(lines[0]), json.loads(lines[-1])

    first, whole = finish("whole")
    assert first == 7
    pauses = np.asarray(jax.random.uniform(key, (2,), maxval=0.3))
    for pause in pauses:
        with subprocess.Popen(command("parts", 0.1), stdout=subprocess.PIPE, text=True) as process:
            # Once the second chunk is told, the first is saved.
            process.stdout.readline()
            process.stdout.readline()
            time.sleep(float(pause))
            process.send_signal(signal.SIGKILL)
    first, parts = finish("parts")
    assert first > 7
    assert parts == whole
