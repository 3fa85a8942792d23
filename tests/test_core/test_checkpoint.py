"""Checkpoints: round trip of every kind of leaf, damage of every kind, full disks."""

import ast
import errno
import os
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core import checkpoint as checkpoint_module
from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import DataError

pytestmark = pytest.mark.instant


class State(NamedTuple):
    field: jax.Array
    key: jax.Array
    count: int
    rate: float
    flag: bool
    rows: np.ndarray
    single: np.float32
    activation: object


def build(key, shift=0.0):
    return State(
        field=jnp.arange(6.0).reshape(2, 3) + shift,
        key=jax.random.split(key, 2),
        count=7,
        rate=0.1,
        flag=True,
        rows=np.arange(4, dtype=np.int16),
        single=np.float32(shift),
        activation=jnp.tanh,
    )


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(a) is type(b)
        if jnp.issubdtype(getattr(a, "dtype", None), jax.dtypes.prng_key):
            assert a.dtype == b.dtype
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        if hasattr(a, "dtype"):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b


@pytest.fixture
def pair(tmp_path, key):
    """A checkpoint saved twice, and the two states."""
    checkpoint = Checkpoint(tmp_path / "deep" / "a.ckpt")
    first, second = build(key), build(key, shift=0.5)
    checkpoint.save(first, {"step": 1})
    checkpoint.save(second, {"step": 2, "words": ["a", None, 0.1]})
    return checkpoint, first, second


def test_round_trip_of_every_kind_of_leaf(pair, key, capsys):
    checkpoint, _, second = pair
    restored, metadata = checkpoint.restore(build(jax.random.fold_in(key, 1), 9.0))
    assert_same(restored, second)
    assert restored.activation is jnp.tanh
    assert metadata == {"step": 2, "words": ["a", None, 0.1]}
    assert capsys.readouterr().err == ""
    drawn = jax.vmap(jax.random.normal)(restored.key)
    np.testing.assert_array_equal(drawn, jax.vmap(jax.random.normal)(second.key))


@pytest.mark.parametrize("name", ["threefry2x32", "rbg"])
def test_typed_keys_keep_their_generator(name, tmp_path):
    checkpoint = Checkpoint(tmp_path / "k")
    checkpoint.save(jax.random.key(3, impl=name), {})
    restored, _ = checkpoint.restore(jax.random.key(0, impl=name))
    assert jax.random.key_impl(restored) == name
    shape_alone = jax.eval_shape(lambda: jax.random.key(0, impl=name))
    assert_same(checkpoint.restore(shape_alone)[0], restored)
    other = {"rbg": "threefry2x32", "threefry2x32": "rbg"}[name]
    with pytest.raises(DataError, match="key<"):
        checkpoint.restore(jax.random.key(0, impl=other))


@pytest.mark.parametrize(
    "leaf",
    [
        np.array([np.nan, -np.inf, -0.0, 5e-324]),
        np.arange(3, dtype=">f8"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.array(2 + 1j),
        np.ones(3, dtype=jnp.bfloat16),
        np.array([True, False]),
    ],
    ids=lambda leaf: f"{leaf.dtype}{leaf.shape}",
)
def test_odd_arrays_keep_value_and_shape(leaf, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    checkpoint.save([leaf], {})
    restored = checkpoint.restore([leaf])[0][0]
    assert restored.shape == leaf.shape
    np.testing.assert_array_equal(restored, leaf)
    restored[...] = 0


def test_sharded_arrays_come_back_sharded(tmp_path):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("chain",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("chain"))
    value = jax.device_put(jnp.arange(8.0), sharding)
    checkpoint = Checkpoint(tmp_path / "a")
    checkpoint.save(value, {})
    restored, _ = checkpoint.restore(value)
    assert restored.sharding == sharding
    np.testing.assert_array_equal(restored, value)


def test_a_flipped_bit_anywhere_is_detected(pair, key, capsys):
    checkpoint, first, _ = pair
    whole = checkpoint.path.read_bytes()
    bits = np.asarray(jax.random.randint(key, (len(whole),), 0, 8))
    for offset, bit in enumerate(bits):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << int(bit)
        checkpoint.path.write_bytes(damaged)
        _, metadata = checkpoint.restore(first)
        assert metadata == {"step": 1}, f"bit {bit} of byte {offset}"
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(checkpoint.path) in error
    checkpoint.path.write_bytes(whole)
    assert checkpoint.restore(first)[1]["step"] == 2


def test_a_cut_off_or_longer_file_is_detected(pair, capsys):
    checkpoint, first, _ = pair
    whole = checkpoint.path.read_bytes()
    for size in [0, 1, 7, 30, 47, 48, 60, len(whole) // 2, len(whole) - 1]:
        checkpoint.path.write_bytes(whole[:size])
        assert checkpoint.restore(first)[1] == {"step": 1}
        assert "going on from" in capsys.readouterr().err
    checkpoint.path.write_bytes(whole + b"\0")
    assert checkpoint.restore(first)[1] == {"step": 1}


def test_previous_is_used_where_a_crash_left_no_current_file(pair):
    checkpoint, first, _ = pair
    checkpoint.path.unlink()
    assert checkpoint.exists()
    restored, _ = checkpoint.restore(first)
    assert_same(restored, first)


def test_both_bad_names_both(pair):
    checkpoint, first, _ = pair
    checkpoint.path.write_bytes(b"x" * 100)
    checkpoint.previous.unlink()
    with pytest.raises(
        DataError, match=r"a\.ckpt: its first bytes.*previous: No such file"
    ) as info:
        checkpoint.restore(first)
    assert "\n" not in str(info.value)


def test_another_format_version_is_refused(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "a")
    monkeypatch.setattr(checkpoint_module, "FORMAT_VERSION", 2)
    checkpoint.save(1.0, {})
    monkeypatch.undo()
    with pytest.raises(DataError, match="its format is 2, not 1"):
        checkpoint.restore(1.0)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        (
            {"a": jnp.zeros(3), "b": 0},
            r"leaf \['a'\] is float64\[3\] and the file has float64\[2\]",
        ),
        ({"a": jnp.zeros(2, jnp.float32), "b": 0}, "float32"),
        ({"a": jnp.zeros(2)}, r"differs in \['b'\]"),
        ({"a": jnp.zeros(2), "b": 0, "c": 1}, r"differs in \['c'\]"),
    ],
)
def test_a_wrong_template_is_named(like, words, tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    checkpoint.save({"a": jnp.zeros(2), "b": 0}, {})
    with pytest.raises(DataError, match=words):
        checkpoint.restore(like)


def test_template_from_metadata(tmp_path):
    checkpoint = Checkpoint(tmp_path / "a")
    checkpoint.save(np.arange(5.0), {"n": 5})
    restored, _ = checkpoint.restore_with(lambda metadata: np.zeros(metadata["n"]))
    np.testing.assert_array_equal(restored, np.arange(5.0))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line_and_the_old_file_stays(pair, key):
    checkpoint, _, second = pair
    temporary = checkpoint.path.with_name("a.ckpt.tmp")
    temporary.symlink_to("/dev/full")
    before = checkpoint.path.read_bytes(), checkpoint.previous.read_bytes()
    with pytest.raises(DataError, match=r"Could not save .*No space left") as info:
        checkpoint.save(build(key, 3.0), {})
    assert "\n" not in str(info.value)
    assert (checkpoint.path.read_bytes(), checkpoint.previous.read_bytes()) == before
    assert not temporary.is_symlink()
    assert_same(checkpoint.restore(second)[0], second)
    checkpoint.save(build(key, 3.0), {"step": 3})
    assert checkpoint.restore(second)[1] == {"step": 3}


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_error_late_in_saving_loses_nothing(function, pair, key, monkeypatch):
    checkpoint, first, _ = pair

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(*((os, "fsync") if function == "fsync" else (Path, "replace")), fail)
    with pytest.raises(DataError, match="Input/output error"):
        checkpoint.save(build(key, 3.0), {})
    monkeypatch.undo()
    assert checkpoint.restore(first)[1]["step"] == 2
    assert not list(checkpoint.path.parent.glob("*.tmp"))


def test_nothing_that_executes_files_is_imported():
    tree = ast.parse(Path(checkpoint_module.__file__).read_text())
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [*node.names, ast.alias(getattr(node, "module", None) or "")]
    }
    assert not imported & {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    source = Path(checkpoint_module.__file__).read_text()
    assert "np.load" not in source
    assert "eval(" not in source
