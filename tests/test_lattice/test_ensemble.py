"""Ensembles: the same bits however they are cut; settings guarded; failures named and saved."""

import json
import math
import resource
import signal
from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core import run as core_run
from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError, ConvergenceError, DataError, Interrupted, ShapeError
from diffhep.core.run import load_data
from diffhep.core.sampling import AbstractSamplingAlgorithm
from diffhep.core.stats import gamma_method
from diffhep_lattice.ensemble import Ensemble, Schedule, format_table, tabulate
from diffhep_lattice.ensemble.description import describe
from diffhep_lattice.io import EnsembleFile

pytestmark = pytest.mark.fast

SCHEDULE = Schedule(n_warmup=4, measure_every=2, save_every=4)
SHAPE = (2, 2, 4, 4)


class WalkState(NamedTuple):
    position: jax.Array


class WalkInfo(NamedTuple):
    energy_change: jax.Array
    acceptance_probability: jax.Array
    is_finite: jax.Array


class Walk(AbstractSamplingAlgorithm):
    """An autoregressive walk of all links; it leaves the numbers once one is beyond `limit`."""

    memory: jax.Array = eqx.field(converter=jnp.asarray)
    limit: float = eqx.field(static=True, default=math.inf)

    def init(self, position):
        return WalkState(position)

    def step(self, key, state):
        new = self.memory * state.position + jax.random.normal(key, state.position.shape)
        new = jnp.where(jnp.max(jnp.abs(new)) > self.limit, jnp.nan, new)
        change = 0.1 * jnp.sum(new)
        info = WalkInfo(change, jnp.exp(-jnp.abs(change)), jnp.all(jnp.isfinite(new)))
        return WalkState(new), info


OBSERVE = {"mean": jnp.mean, "rows": lambda U: jnp.sum(U, axis=(1, 2))}


def open_walk(out, algorithm=None, schedule=SCHEDULE, **settings):
    settings = {"start": np.zeros(SHAPE), "observe": OBSERVE, "seed": 5, **settings}
    return Ensemble(out, algorithm or Walk(0.9), schedule, **settings)


def stored(ensemble):
    """All that lies in the HDF5 files: trajectory, digest and attributes of every stream."""
    files = [EnsembleFile(ensemble.configuration_path(c)) for c in range(SHAPE[0])]
    return [[(c.trajectory, c.sha256, c.attributes) for c in file] for file in files]


def assert_same_run(one, other):
    """Two finished runs, (ensemble, result): measurements, last and stored configurations."""
    (first, a), (second, b) = one, other
    for field in ("positions", "trajectories", "observables", "info"):
        jax.tree.map(np.testing.assert_array_equal, getattr(a, field), getattr(b, field))
    assert stored(first) == stored(second)
    jax.tree.map(
        np.testing.assert_array_equal, *(load_data(e.path / "data.h5") for e in (first, second))
    )


def finish(ensemble, n=5):
    return ensemble, ensemble.run(n)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbs."""
    return finish(open_walk(tmp_path_factory.mktemp("whole") / "run"))


def test_what_a_run_leaves(whole):
    ensemble, result = whole
    assert result.trajectories.tolist() == list(range(2, 25, 2))
    assert result.observables["mean"].shape == (2, 12)
    assert result.observables["rows"].shape == (2, 12, 2)
    assert result.info["energy_change"].shape == (2, 24)
    data = load_data(ensemble.path / "data.h5")
    np.testing.assert_array_equal(data["observables/rows"], result.observables["rows"])
    np.testing.assert_array_equal(data["info/energy_change"], result.info["energy_change"])
    for stream in range(2):
        file = EnsembleFile(ensemble.configuration_path(stream))
        assert file.trajectories == (8, 12, 16, 20, 24)
        np.testing.assert_array_equal(file.read(-1).field, result.positions[stream])
        for configuration in file:
            row = configuration.trajectory // 2 - 1
            assert configuration.attributes == {
                "mean": result.observables["mean"][stream, row],
                "reseed": 0,
            }
            np.testing.assert_allclose(
                configuration.field.mean(), configuration.attributes["mean"], rtol=1e-12
            )
        assert (file.metadata["stream"], file.metadata["seed"]) == (stream, 5)
        assert file.metadata["algorithm"] == {"kind": "Walk", "memory": 0.9, "limit": "inf"}
    lines = (ensemble.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == result.trajectories.tolist()


def test_table_is_the_gamma_method_after_the_warm_up(whole):
    ensemble, result = whole
    rows = {row.name: row for row in result.table}
    assert list(rows) == [
        "mean",
        "rows[0]",
        "rows[1]",
        "acceptance_probability",
        "exp(-energy_change)",
    ]
    for name, series in [
        ("mean", result.observables["mean"][:, 2:]),
        ("rows[1]", result.observables["rows"][:, 2:, 1]),
        ("exp(-energy_change)", np.exp(-result.info["energy_change"][:, 4:])),
    ]:
        assert rows[name][1:] == (*gamma_method(series), series.shape[1])
    written = json.loads((ensemble.path / "results.json").read_text())["table"]
    assert [row["name"] for row in written] == list(rows)
    assert written[0] == rows["mean"]._asdict()
    text = (ensemble.path / "table.txt").read_text()
    assert "measured every 2 trajectories" in text
    assert format_table(result.table) in text


def test_table_of_short_and_odd_series():
    rng = np.random.default_rng(1)
    slow = np.cumsum(rng.normal(size=(1, 40)), axis=1)
    series = {"short": np.ones((2, 3)), "slow": slow, "still": np.full((1, 20), 0.25)}
    short, walking, still = tabulate(series)
    assert (short.mean, short.n_measurements, short.is_short) == (1.0, 3, True)
    assert math.isnan(short.error)
    assert walking.is_short
    assert not still.is_short
    text = format_table([short, walking, still])
    assert [line.endswith("*") for line in text.splitlines()[1:4]] == [True, True, False]
    assert text.splitlines()[-1].startswith("* shorter than 20 tau_int")
    with pytest.raises(ShapeError, match="`a` must have a stream and a step axis"):
        tabulate({"a": np.zeros(9)})


def test_a_longer_run_goes_on(whole, tmp_path):
    ensemble = open_walk(tmp_path / "run")
    assert ensemble.run(0).trajectories.tolist() == [2, 4]
    ensemble.run(2)
    assert_same_run(finish(open_walk(tmp_path / "run", resume=True)), whole)
    with pytest.raises(ConfigError, match="be enough for the 24 trajectories that are done, but"):
        open_walk(tmp_path / "run", resume=True).run(2)


@pytest.mark.parametrize("chunk", [0, 4])
def test_ctrl_c_saves(chunk, whole, tmp_path, monkeypatch):
    log = core_run.RunDir.log

    def press(self, stage, step, **metrics):
        log(self, stage, step, **metrics)
        if step == 12:
            signal.raise_signal(signal.SIGINT)

    schedule = replace(SCHEDULE, chunk=chunk)
    monkeypatch.setattr(core_run.RunDir, "log", press)
    with pytest.raises(Interrupted, match=r"stopped after 6 of 12 steps; .*segment0.ckpt"):
        open_walk(tmp_path / "run", schedule=schedule).run(5)
    monkeypatch.undo()
    one = finish(open_walk(tmp_path / "run", schedule=schedule, resume=True))
    jax.tree.map(np.testing.assert_array_equal, one[1].observables, whole[1].observables)
    assert stored(one[0]) == stored(whole[0])


def test_streams_do_not_know_each_other(whole, tmp_path):
    alone = open_walk(tmp_path / "run", start=np.zeros((1, *SHAPE[1:]))).run(5)
    np.testing.assert_array_equal(alone.observables["mean"][0], whole[1].observables["mean"][0])
    assert np.all(whole[1].observables["mean"][0] != whole[1].observables["mean"][1])


def test_reseeding_is_recorded_and_repeatable(whole, tmp_path):
    def reseeded(out):
        open_walk(out).run(2)
        # Asked for again, the same number changes nothing: the command of a job can be repeated.
        open_walk(out, resume=True, reseed=7).run(3)
        return finish(open_walk(out, resume=True, reseed=7))

    ensemble, result = one = reseeded(tmp_path / "a")
    assert_same_run(one, reseeded(tmp_path / "b"))
    assert ensemble.reseeds == ((0, 0), (7, 12))
    (row,) = json.loads((ensemble.path / "reseeds.json").read_text())
    assert (row["reseed"], row["after_trajectory"]) == (7, 12)
    attributes = [
        configuration.attributes for configuration in EnsembleFile(ensemble.configuration_path())
    ]
    assert [each["reseed"] for each in attributes] == [0, 0, 7, 7, 7]
    plain = whole[1].observables["mean"]
    np.testing.assert_array_equal(result.observables["mean"][:, :6], plain[:, :6])
    assert np.all(result.observables["mean"][:, 6:] != plain[:, 6:])
    assert result.trajectories.tolist() == whole[1].trajectories.tolist()
    with pytest.raises(ConfigError, match=r"`reseed` must be larger than 7, .* but it is 6"):
        open_walk(tmp_path / "a", resume=True, reseed=6)
    with pytest.raises(ConfigError, match="`reseed` must be at least 1, but it is 0"):
        open_walk(tmp_path / "a", resume=True, reseed=0)


def test_reseeded_from_the_start(whole, tmp_path):
    ensemble = open_walk(tmp_path / "run", reseed=3)
    assert ensemble.reseeds == ((0, 0), (3, 0))
    assert np.all(ensemble.run(1).observables["mean"] != whole[1].observables["mean"][:, :4])


@pytest.mark.parametrize(
    ("change", "key", "values"),
    [
        ({"algorithm": Walk(0.8)}, "algorithm.memory", "= 0.9 and this run 0.8"),
        ({"schedule": replace(SCHEDULE, n_warmup=8)}, "schedule.n_warmup", "= 4 and this run 8"),
        ({"seed": 6}, "seed", "= 5 and this run 6"),
        ({"start": np.zeros((3, 2, 4, 4))}, "shape", r"= \[2, 2, 4, 4\] and this run \[3, 2, 4,"),
        ({"start": np.zeros(SHAPE, np.float32)}, "dtype", "= 'float64' and this run 'float32'"),
        ({"observe": {}}, "observables.mean", "= 'mean' and this run None"),
    ],
)
def test_other_settings_are_refused(change, key, values, whole):
    with pytest.raises(ConfigError, match=f"has {key} {values}") as info:
        open_walk(whole[0].path, resume=True, **change)
    assert "\n" not in str(info.value)


def test_a_folder_in_use_is_refused_without_resume(whole):
    with pytest.raises(ConfigError, match="already holds this run: go on in it with --resume"):
        open_walk(whole[0].path)


def test_a_number_that_is_not_finite_stops_the_run(tmp_path):
    ensemble = open_walk(tmp_path / "run", Walk(1.0, limit=4.0))
    with pytest.raises(
        ConvergenceError, match=r"`ensemble` .* chain \d did not at step \d+"
    ) as info:
        ensemble.run(50)
    step = int(str(info.value).split("at step ")[1].split(".")[0])
    good = Checkpoint(ensemble.path / "checkpoints" / "segment0.ckpt")
    assert str(good.path) in str(info.value)
    assert good.read_metadata()["done"] * 2 <= step
    assert (ensemble.path / "checkpoints" / "segment0.ckpt.failed").exists()
    for stream in range(2):
        file = EnsembleFile(ensemble.configuration_path(stream))
        assert all(trajectory <= step for trajectory in file.trajectories)


@pytest.mark.parametrize(
    ("room", "file"), [(2_000, "segment0.ckpt"), (3_500, "stream0.h5"), (5_000, "data.h5")]
)
def test_a_full_disk_keeps_what_was_there(room, file, whole, tmp_path):
    ensemble = open_walk(tmp_path / "run", checkpoint_every_s=0.0)
    ensemble.run(1)
    files = stored(ensemble)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(DataError, match=rf"Could not .*{file}: File too large") as info:
            open_walk(tmp_path / "run", resume=True, checkpoint_every_s=0.0).run(5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "\n" not in str(info.value)
    now = stored(ensemble)
    assert [rows[:1] for rows in now] == files
    assert_same_run(finish(open_walk(tmp_path / "run", resume=True)), whole)


def test_missing_and_foreign_files_are_refused(tmp_path):
    ensemble = open_walk(tmp_path / "run")
    ensemble.run(2)
    path = ensemble.configuration_path(1)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError, match=r"stream1.h5 must hold trajectory 8 from before the check"):
        open_walk(tmp_path / "run", resume=True)
    path.unlink()
    EnsembleFile.create(path, shape=SHAPE[1:], dtype=float, metadata={"run": "another"})
    with pytest.raises(DataError, match="must be a file of this run, but its metadata differ"):
        open_walk(tmp_path / "run", resume=True)
    path.write_bytes(content)
    (tmp_path / "run" / "reseeds.json").write_text("{")
    with pytest.raises(DataError, match=r"Could not read .*reseeds.json"):
        open_walk(tmp_path / "run", resume=True)


def test_bad_settings_are_named(tmp_path):
    for settings, message in [
        ({"measure_every": 0}, "`measure_every` must be at least 1"),
        ({"measure_every": 3}, "`save_every` must be a positive multiple of measure_every = 3"),
        ({"n_warmup": 5}, "`n_warmup` must be 0 or a multiple of save_every = 10"),
        ({"measure_every": 2, "chunk": 4}, "`chunk` must be 0 or a multiple of 2 that divides 10"),
    ]:
        with pytest.raises(ConfigError, match=message):
            Schedule(**settings)
    with pytest.raises(ConfigError, match="`formats` must hold names out of hdf5, nersc, ildg"):
        open_walk(tmp_path / "a", formats=("milc",))
    with pytest.raises(ConfigError, match="`formats` must be 'hdf5' alone, unless the links"):
        open_walk(tmp_path / "b", formats=("hdf5", "nersc"))
    with pytest.raises(ConfigError, match="`n_configurations` must not be negative"):
        open_walk(tmp_path / "c").run(-1)
    with pytest.raises(ShapeError, match="`start` must have a stream axis"):
        open_walk(tmp_path / "d", start=np.zeros((4, 4)))


def test_nothing_is_stored_without_formats(tmp_path, whole):
    ensemble = open_walk(tmp_path / "run", formats=())
    result = ensemble.run(5)
    np.testing.assert_array_equal(result.positions, whole[1].positions)
    assert not (ensemble.path / "configurations").exists()


def test_descriptions():
    value = {"a": (1, 2.5), "f": np.mean, "x": np.arange(20.0), "z": np.ones(2, complex)}
    described = json.loads(json.dumps(describe(value)))
    assert described["a"] == [1, 2.5]
    assert described["f"] == "mean"
    assert described["x"].startswith("float64[20] ")
    assert described["x"] != describe(np.arange(20.0) + 1)
    assert described["z"] != describe(np.zeros(2, complex))
    assert describe(Walk(jnp.inf))["memory"] == "inf"
