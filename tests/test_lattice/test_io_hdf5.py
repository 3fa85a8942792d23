"""Ensemble files: growth, checksums, damage, two processes, full disks, and kills at any moment."""

import fcntl
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_lattice.io import EnsembleFile, journal, read, write_nersc
from diffhep_lattice.io.journal import Journal, Patch, StagedFile, journal_path
from tests.systems.links import generator, random_links

pytestmark = pytest.mark.fast

SHAPE = (2, 3, 2, 4)
METADATA = {"action": "Wilson", "beta": 6.0, "lattice": list(SHAPE), "config": "0123456789abcdef"}


@pytest.fixture
def fields(key):
    rng = generator(key)
    return [random_links(SHAPE, rng) for _ in range(4)]


@pytest.fixture
def ensemble(tmp_path, fields):
    """A file with the first three fields, at trajectories 10, 20 and 30."""
    file = EnsembleFile.create(
        tmp_path / "deep" / "a.h5", shape=(4, 3, 3, *SHAPE), metadata=METADATA
    )
    for i, field in enumerate(fields[:3]):
        assert file.append(field, 10 * (i + 1), {"dH": i / 7, "accepted": True}) == i
    return file


def assert_holds(path, fields):
    """The file holds these fields, whole."""
    file = EnsembleFile(path)
    assert len(file) == len(fields)
    for stored, field in zip(file, fields, strict=True):
        np.testing.assert_array_equal(stored.field, field)


def test_what_was_stored_comes_back(ensemble, fields):
    file = EnsembleFile(str(ensemble.path))
    assert file.metadata == METADATA
    assert (file.shape, file.dtype) == ((4, 3, 3, *SHAPE), np.dtype(np.complex128))
    assert file.trajectories == (10, 20, 30)
    assert_holds(file.path, fields[:3])
    for index, number in itertools.product((1, -2), (20,)):
        for stored in (file.read(index), file.read_trajectory(number)):
            np.testing.assert_array_equal(stored.field, fields[1])
            assert stored.trajectory == 20
            assert stored.attributes == {"dH": 1 / 7, "accepted": True}
    assert [stored.trajectory for stored in file] == [10, 20, 30]
    assert [path.name for path in file.path.parent.iterdir()] == ["a.h5"]


def test_many_configurations(tmp_path, key):
    """More than HDF5 keeps in one table of links."""
    values = generator(key).normal(size=(40, 5))
    file = EnsembleFile.create(tmp_path / "many.h5", shape=(5,), dtype=float, metadata={})
    for i, value in enumerate(values):
        EnsembleFile(file.path).append(value, 3 * i + 1)
    assert file.trajectories == tuple(range(1, 121, 3))
    np.testing.assert_array_equal([stored.field for stored in file], values)
    np.testing.assert_array_equal(file.read_trajectory(100).field, values[33])


def test_plain_hdf5_reads_it(ensemble, fields):
    with h5py.File(ensemble.path) as file:
        dataset = file["configurations/00000002"]
        np.testing.assert_array_equal(dataset[()], fields[2])
        assert dataset.attrs["trajectory"] == 30
        assert json.loads(dataset.attrs["attributes"]) == {"dH": 2 / 7, "accepted": True}
        assert json.loads(file.attrs["metadata"]) == METADATA


def test_links_are_read_by_content(ensemble, fields):
    U, metadata = read(ensemble.path, index=1)
    np.testing.assert_array_equal(U, fields[1])
    assert (metadata.format, metadata.precision, metadata.shape) == ("hdf5", 64, SHAPE)
    assert metadata.header["trajectory"] == "20"
    assert metadata.header["beta"] == "6.0"
    assert metadata.checksums["sha256"] == ensemble.read(1).sha256
    with pytest.raises(DataError, match="one configuration if no `index` is given, but it holds 3"):
        read(ensemble.path)
    with pytest.raises(ConfigError, match="`index` must lie within 3 configurations, but it is 3"):
        read(ensemble.path, index=3)


def test_other_fields_are_no_links(tmp_path):
    file = EnsembleFile.create(tmp_path / "angles.h5", shape=(2, 8, 8), dtype=float, metadata={})
    file.append(jnp.ones((2, 8, 8)), 1)
    np.testing.assert_array_equal(file.read(0).field, np.ones((2, 8, 8)))
    with pytest.raises(DataError, match=r"complex links of shape .*float64 of shape \(2, 8, 8\)"):
        read(file.path)


def test_single_precision_rounds(tmp_path, fields):
    path = tmp_path / "single.h5"
    file = EnsembleFile.create(path, shape=fields[0].shape, dtype=np.complex64, metadata={})
    file.append(fields[0], 1)
    U, metadata = read(path)
    assert U.dtype == np.complex64
    assert metadata.precision == 32
    np.testing.assert_array_equal(U, fields[0].astype(np.complex64))
    with pytest.raises(ShapeError, match="dtype that complex64 can hold, but it has dtype <U1"):
        file.append(np.full(file.shape, "a"), 2)


def test_the_same_trajectory_again(ensemble, fields):
    """A resumed run stores what it makes again once; anything else of that number is refused."""
    size = ensemble.path.stat().st_size
    assert ensemble.append(fields[1], 20) == 1
    assert ensemble.path.stat().st_size == size
    with pytest.raises(DataError, match="one configuration per trajectory, but it has another"):
        ensemble.append(fields[3], 20)
    with pytest.raises(ConfigError, match="larger than the last one stored, 30, but it is 25"):
        ensemble.append(fields[3], 25)
    assert ensemble.append(fields[3], 31) == 3
    assert_holds(ensemble.path, fields)


@pytest.mark.usefixtures("without_shape_checks")
def test_numbers_that_are_no_integers_are_named(ensemble, fields):
    for index in (1.0, "0", True):
        with pytest.raises(ConfigError, match="`index` must be an integer"):
            read(ensemble.path, index=index)
        with pytest.raises(ConfigError, match="`index` must be an integer"):
            ensemble.read(index)
    with pytest.raises(ConfigError, match="`trajectory` must be an integer"):
        ensemble.append(fields[3], 40.5)
    with pytest.raises(ConfigError, match="`trajectory` must fit 64 bits"):
        ensemble.append(fields[3], 10**30)
    with pytest.raises(ConfigError, match="`path` must be a path"):
        read(None)
    with pytest.raises(ConfigError, match="`precision` must be 32 or 64"):
        write_nersc(ensemble.path.with_suffix(".nersc"), fields[0], precision=64.0)


def test_bad_arguments_are_refused(ensemble, fields, tmp_path):
    data = ensemble.path.read_bytes()
    broken = fields[3].copy()
    broken[0, 1, 2, 0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="`field` must be finite"):
        ensemble.append(broken, 40)
    with pytest.raises(ShapeError, match="`field` must have shape"):
        ensemble.append(fields[3][:3], 40)
    with pytest.raises(DataError, match="`attributes` must be what JSON can hold"):
        ensemble.append(fields[3], 40, {"a": object()})
    with pytest.raises(ConfigError, match="`attributes` must fit 60000 bytes of JSON"):
        ensemble.append(fields[3], 40, {"a": "b" * 60000})
    with pytest.raises(ConfigError, match="one of 3 stored numbers from 10 to 30, but it is 11"):
        ensemble.read_trajectory(11)
    with pytest.raises(ConfigError, match="within 3 configurations"):
        ensemble.read(-4)
    with pytest.raises(DataError, match="must not exist yet"):
        EnsembleFile.create(ensemble.path, shape=(1,), metadata={})
    with pytest.raises(ConfigError, match="`shape` must hold positive lengths"):
        EnsembleFile.create(tmp_path / "b.h5", shape=(4, 0), metadata={})
    with pytest.raises(DataError, match=r"Could not open .*missing.h5: No such file"):
        EnsembleFile(tmp_path / "missing.h5")
    assert ensemble.path.read_bytes() == data
    assert not (tmp_path / "b.h5").exists()


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["a"] = 1.0
    with pytest.raises(DataError, match="be a 'diffhep ensemble', but its format is b''"):
        EnsembleFile(path)
    path = tmp_path / "newer.h5"
    EnsembleFile.create(path, shape=(1,), dtype=float, metadata={})
    with h5py.File(path, "r+") as file:
        file.attrs.modify("version", 2)
    with pytest.raises(DataError, match="format version 1, but it is 2"):
        EnsembleFile(path)


def test_a_damaged_configuration_leaves_the_others(ensemble, fields):
    at = ensemble.path.read_bytes().index(fields[1].tobytes())
    with ensemble.path.open("r+b") as file:
        file.seek(at + 1001)
        file.write(b"\xff")
    with pytest.raises(DataError, match=r"data of SHA-256 [0-9a-f]{64} at trajectory 20") as info:
        ensemble.read(1)
    assert "\n" not in str(info.value)
    for index in (0, 2):
        np.testing.assert_array_equal(ensemble.read(index).field, fields[index])


@pytest.mark.parametrize("room", [0, 100, 9_000, 27_648 + 300])
def test_a_full_disk_leaves_what_was_there(room, ensemble, fields):
    """The disk is full at once, within the links, or only when the journal is written."""
    data = ensemble.path.read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) + room, hard))
    try:
        with pytest.raises(DataError, match=r"Could not write .*File too large.*untouched") as info:
            ensemble.append(fields[3], 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "\n" not in str(info.value)
    assert ensemble.path.read_bytes() == data
    assert [path.name for path in ensemble.path.parent.iterdir()] == ["a.h5"]
    ensemble.append(fields[3], 40)
    assert_holds(ensemble.path, fields)


def test_a_full_disk_for_the_journal(ensemble, fields, monkeypatch):
    data = ensemble.path.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(ensemble.path), "replace", full)
        with pytest.raises(DataError, match=r"No space left.*untouched") as info:
            ensemble.append(fields[3], 40)
    assert "\n" not in str(info.value)
    assert ensemble.path.read_bytes() == data
    assert [path.name for path in ensemble.path.parent.iterdir()] == ["a.h5"]


def test_another_process_is_waited_for(ensemble, fields, monkeypatch):
    monkeypatch.setattr(journal, "LOCK_PATIENCE_S", 0.05)
    with ensemble.path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert len(ensemble) == 3
        with pytest.raises(DataError, match=r"another process has held it for 0\.05 s"):
            ensemble.append(fields[3], 40)
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process has held it"):
            ensemble.read(0)
    ensemble.append(fields[3], 40)
    assert_holds(ensemble.path, fields)


def test_bytes_left_by_a_kill_are_cut_off(ensemble, fields):
    clean = ensemble.path.read_bytes()
    ensemble.path.write_bytes(clean + b"left over")
    assert_holds(ensemble.path, fields[:3])
    ensemble.append(fields[3], 40)
    assert_holds(ensemble.path, fields)
    with h5py.File(ensemble.path) as file:
        assert file.id.get_filesize() == ensemble.path.stat().st_size
    ensemble.path.write_bytes(clean[:-1])
    with pytest.raises(DataError, match=r"be a readable HDF5 ensemble|be an HDF5 file of"):
        ensemble.append(fields[3], 40)


def test_a_journal_of_another_file_is_refused(ensemble, fields):
    place = journal_path(ensemble.path)
    size = ensemble.path.stat().st_size
    place.write_bytes(Journal(size, size, (Patch(0, b"abc", b"def"),)).encode())
    for action in (lambda: ensemble.read(0), lambda: ensemble.append(fields[3], 40)):
        with pytest.raises(DataError, match=r"be the file that a\.h5\.journal was written for"):
            action()
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=r"a\.h5\.journal must be a journal with a valid checksum"):
        ensemble.read(0)
    place.unlink()
    assert_holds(ensemble.path, fields[:3])


def test_a_journal_goes_with_its_file(ensemble, fields):
    """One that a removed ensemble left does not touch a new ensemble of the same name."""
    size = ensemble.path.stat().st_size
    journal_path(ensemble.path).write_bytes(Journal(size, size, ()).encode())
    ensemble.path.unlink()
    again = EnsembleFile.create(ensemble.path, shape=ensemble.shape, metadata={})
    again.append(fields[0], 1)
    assert_holds(again.path, fields[:1])


def test_staged_files_behave_as_files(tmp_path, key):
    """Random writes, reads and truncations, against the same on bytes in memory."""
    rng = generator(key)
    for attempt in range(20):
        path = tmp_path / f"file{attempt}"
        before = rng.bytes(200)
        path.write_bytes(before)
        expected = bytearray(before)
        with path.open("r+b") as file:
            staged = StagedFile(file.fileno(), len(before))
            for _ in range(30):
                at, size = int(rng.integers(0, 260)), int(rng.integers(1, 60))
                new = rng.bytes(size)
                expected.extend(bytes(max(0, at + size - len(expected))))
                expected[at : at + size] = new
                staged.seek(at)
                assert staged.write(new) == size
                at, size = int(rng.integers(0, 300)), int(rng.integers(1, 300))
                staged.seek(at)
                assert staged.read(size) == bytes(expected[at : at + size])
                assert staged.seek(0, os.SEEK_END) == len(expected)
            assert path.read_bytes()[:200] == before
            staged.truncate(250)
            staged.commit(path)
        assert path.read_bytes()[:250] == bytes(expected[:250]).ljust(250, b"\0")
        assert not journal_path(path).exists()


KILLED = """
    import os, shutil, sys, warnings
    from pathlib import Path
    import numpy as np
    warnings.simplefilter("ignore")
    from diffhep_lattice.io import EnsembleFile
    import h5py

    folder = Path(sys.argv[1])
    fields = np.load(folder / "fields.npy")
    calls = ["pwrite", "fsync", "ftruncate", "unlink", "replace", "open"]

    def die_at(moment, torn):
        count = 0
        def wrap(function):
            def wrapped(*args, **options):
                nonlocal count
                count += 1
                if count == moment:
                    if torn and function is pwrite:
                        pwrite(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                    os._exit(9)
                return function(*args, **options)
            return wrapped
        pwrite = os.pwrite
        for name in calls:
            setattr(os, name, wrap(getattr(os, name)))

    def check(path, n):
        file = EnsembleFile(path)
        assert len(file) == n, (len(file), n)
        for stored, field in zip(file, fields, strict=False):
            assert np.array_equal(stored.field, field)

    outcomes = set()
    for torn in (False, True):
        for moment in range(1, 200):
            path = folder / f"{torn}-{moment}" / "a.h5"
            path.parent.mkdir()
            shutil.copy(folder / "a.h5", path)
            child = os.fork()
            if child == 0:
                die_at(moment, torn)
                EnsembleFile(path).append(fields[3], 40)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status in (0, 9), status
            journal = (path.parent / "a.h5.journal").exists()
            n = len(EnsembleFile(path))
            assert n in (3, 4) and (n == 4 or not journal) and (n == 4 or status == 9)
            check(path, n)
            outcomes.add((n, journal, status))
            assert EnsembleFile(path).append(fields[3], 40) == 3
            check(path, 4)
            assert not (path.parent / "a.h5.journal").exists()
            with h5py.File(path) as file:
                assert file.id.get_filesize() == path.stat().st_size
            shutil.rmtree(path.parent)
            if status == 0:
                break
        assert status == 0
        print(moment)
    assert outcomes == {(3, False, 9), (4, True, 9), (4, False, 9), (4, False, 0)}, outcomes
"""


def test_a_kill_at_any_moment_of_an_append(ensemble, fields, tmp_path):
    """The process dies at each call that changes a file, before it and halfway through."""
    shutil.copy(ensemble.path, tmp_path / "a.h5")
    np.save(tmp_path / "fields.npy", np.stack(fields))
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    assert min(map(int, finished.stdout.split())) > 10
