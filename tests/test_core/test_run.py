"""Run folders: one run a folder, records that survive a kill, claims that cannot pass by NaN."""

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core import environment
from diffhep.core.environment import Usage
from diffhep.core.errors import ConfigError, DataError
from diffhep.core.run import Claim, RunDir, load_attributes, load_data

pytestmark = pytest.mark.instant


@dataclass(frozen=True)
class Inner:
    beta: float = 2.0


@dataclass(frozen=True)
class Config:
    n: int = 3
    inner: Inner = field(default_factory=Inner)


def start(path, config=None, *, resume=False, paper="walk", preset="smoke", seed=1):
    return RunDir.open(
        path, config or Config(), resume=resume, paper=paper, preset=preset, seed=seed
    )


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_new_folder_says_what_runs_and_where(tmp_path):
    start(tmp_path / "a" / "b")
    config = json.loads((tmp_path / "a/b/config.json").read_text())
    assert config["config"] == {"n": 3, "inner": {"beta": 2.0}}
    assert (config["paper"], config["preset"], config["seed"]) == ("walk", "smoke", 1)
    here = json.loads((tmp_path / "a/b/environment.json").read_text())
    assert here["seed"] == 1
    assert here["x64"] is True
    assert here["device"] == {"platform": "cpu", "kind": "cpu", "count": 4, "processes": 1}
    assert here["versions"]["jax"] == jax.__version__
    assert "host_platform_device_count" in here["xla_flags"]
    assert here["git"].keys() == {"commit", "dirty"}


def test_environment_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.describe_environment(0)["git"] == {"commit": None, "dirty": None}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config": Config(n=4)}, ["n = 3", "this run 4"]),
        ({"config": Config(inner=Inner(3.0))}, ["inner.beta = 2.0", "this run 3.0"]),
        ({"paper": "other"}, ["paper = 'walk'", "this run 'other'"]),
        ({"preset": "full"}, ["preset = 'smoke'", "this run 'full'"]),
        ({"seed": 2}, ["seed = 1", "this run 2"]),
    ],
)
def test_a_folder_of_another_run_is_refused(change, words, resume, tmp_path):
    start(tmp_path)
    with pytest.raises(ConfigError) as info:
        start(tmp_path, resume=resume, **change)
    for word in [*words, str(tmp_path), "another folder"]:
        assert word in str(info.value)
    assert "\n" not in str(info.value)


def test_a_folder_of_this_run_needs_resume(tmp_path):
    start(tmp_path)
    with pytest.raises(ConfigError, match=r"--resume.*--out"):
        start(tmp_path)
    start(tmp_path, resume=True)
    here = json.loads((tmp_path / "environment.json").read_text())
    assert len(here["resumed"]) == 1


def test_foreign_files_are_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for resume in (False, True):
        with pytest.raises(ConfigError, match=r"no config\.json"):
            start(tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_start_left_is_no_foreign_file(tmp_path):
    (tmp_path / "config.json.tmp").write_text("{")
    start(tmp_path, resume=True)


def test_a_damaged_config_and_a_file_in_the_way(tmp_path):
    start(tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json"):
        start(tmp_path / "a", resume=True)
    (tmp_path / "b").write_text("")
    with pytest.raises(DataError, match="Could not open"):
        start(tmp_path / "b")


def test_metrics_are_appended_as_plain_json(tmp_path):
    run_dir = start(tmp_path)
    run_dir.log("train", 1, loss=jnp.asarray(0.5), best=np.float32(0.25), rows=np.arange(2))
    run_dir.log("train", 2, loss=math.nan, note="slow")
    assert lines(tmp_path) == [
        {"stage": "train", "step": 1, "loss": 0.5, "best": 0.25, "rows": [0, 1]},
        {"stage": "train", "step": 2, "loss": None, "note": "slow"},
    ]


def test_a_resumed_run_replaces_the_steps_that_it_repeats(tmp_path):
    run_dir = start(tmp_path)
    for step in (10, 20, 30):
        run_dir.log("train", step, run=1)
    run_dir.log("sample", 5, run=1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "sample", "st')
    resumed = start(tmp_path, resume=True)
    resumed.log("train", 20, run=2)
    resumed.log("train", 30, run=2)
    resumed.log("sample", 6, run=2)
    expected = [("train", 10, 1), ("sample", 5, 1), ("train", 20, 2), ("train", 30, 2)]
    expected.append(("sample", 6, 2))
    assert [tuple(line.values()) for line in lines(tmp_path)] == expected


def test_checkpoints_of_stages(tmp_path, key):
    run_dir = start(tmp_path)
    checkpoint = run_dir.checkpoint("train")
    assert checkpoint.path == tmp_path / "checkpoints" / "train.ckpt"
    checkpoint.save({"key": key}, {})
    assert start(tmp_path, resume=True).checkpoint("train").exists()
    for name in ("", "a/b", ".hidden", "../a"):
        with pytest.raises(ConfigError, match="`stage`"):
            run_dir.checkpoint(name)


def test_data_round_trip_with_groups_and_attributes(tmp_path):
    run_dir = start(tmp_path)
    arrays = {
        "hmc/charge": np.arange(6.0).reshape(2, 3),
        "hmc/deep/accepted": np.array([True, False]),
        "count": np.int32(3),
        "loss": jnp.ones(2, jnp.float32),
        "empty": np.zeros((0, 4)),
    }
    path = run_dir.save_data(arrays, {"title": "walk", "beta": 2.0})
    stored = run_dir.load_data()
    assert stored.keys() == arrays.keys()
    for name, value in arrays.items():
        assert stored[name].dtype == value.dtype
        np.testing.assert_array_equal(stored[name], value)
    assert load_attributes(path) == {"title": "walk", "beta": 2.0}
    run_dir.save_data({"only": np.zeros(1)})
    assert list(load_data(path)) == ["only"]


def test_data_files_of_equal_arrays_are_equal_bytes(tmp_path):
    files = [start(tmp_path / name).save_data({"g/a": np.arange(3.0)}) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_failing_to_write_data_leaves_the_old_file(tmp_path, monkeypatch):
    run_dir = start(tmp_path)
    run_dir.save_data({"a": np.zeros(3)})

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.File, "create_dataset", fail)
    with pytest.raises(DataError, match=r"Could not write .*data\.h5: .*No space left"):
        run_dir.save_data({"a": np.ones(3)})
    monkeypatch.undo()
    np.testing.assert_array_equal(run_dir.load_data()["a"], np.zeros(3))
    assert not list(tmp_path.glob("*.tmp"))


def test_missing_and_damaged_data(tmp_path):
    for name in ("none.h5", "bad.h5"):
        (tmp_path / "bad.h5").write_bytes(b"no HDF5")
        with pytest.raises(DataError, match=name):
            load_data(tmp_path / name)
        with pytest.raises(DataError, match=name):
            load_attributes(tmp_path / name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_by_every_text_file(tmp_path):
    run_dir = start(tmp_path)
    (tmp_path / "results.json.tmp").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"results\.json: No space left"):
        run_dir.write_results([])
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    run_dir._logged.add("train")
    with pytest.raises(DataError, match=r"metrics\.jsonl: No space left"):
        run_dir.log("train", 1)


def test_figure_path(tmp_path):
    path = start(tmp_path).figure_path("history")
    assert path == tmp_path / "figures" / "history"
    assert path.parent.is_dir()


@pytest.mark.parametrize(
    ("value", "stderr", "reference", "rule", "passed"),
    [
        (1.39, 0.1, 1.0, "pull<4", True),
        (1.41, 0.1, 1.0, "pull<4", False),
        (0.59, 0.1, 1.0, "pull<4", False),
        (1.24, 0.1, 1.0, "pull<2.5", True),
        (1.26, 0.1, 1.0, "pull<2.5", False),
        (1.0, None, 1.0, "pull<4", False),
        (1.0, math.nan, 1.0, "pull<4", False),
        (1.0, math.inf, 1.0, "pull<4", False),
        (1.0, 0.0, 1.0, "pull<4", True),
        (1.1, 0.0, 1.0, "pull<4", False),
        (math.nan, 0.1, 1.0, "pull<4", False),
        (1.0, None, 1.0, ">=", True),
        (0.9, None, 1.0, ">=", False),
        (1.0, None, 1.0, "<=", True),
        (1.1, None, 1.0, "<=", False),
        (1.0, None, 1.0, ">", False),
        (1.1, None, 1.0, ">", True),
        (1.0, None, 1.0, "<", False),
        (0.9, None, 1.0, "<", True),
        (math.inf, None, 1.0, ">=", False),
        (math.nan, None, 1.0, "<=", False),
        (1.0, None, math.nan, "<=", False),
        (1.0, None, -math.inf, ">", False),
    ],
)
def test_rules_of_claims(value, stderr, reference, rule, passed):
    claim = Claim("a", value, stderr, reference, "exact", rule)
    assert claim.passed is passed
    assert claim.as_json()["pass"] is passed


@pytest.mark.parametrize("rule", ["==", "pull<", "pull<x", "pull>4", ""])
def test_unknown_rules_are_named(rule):
    with pytest.raises(ConfigError, match="`rule` must be one of pull<k"):
        Claim("a", 1.0, 0.1, 1.0, "exact", rule)


def test_results_have_the_fields_of_the_contract(tmp_path):
    run_dir = start(tmp_path)
    claims = [
        Claim("plaquette", 0.7, 0.01, 0.7, "exact", "pull<4"),
        Claim("ess", math.nan, None, 0.5, "arXiv:2003.06413", ">="),
    ]
    path = run_dir.write_results(claims, command="run it", extra={"tau": np.float64(3.0)})
    results = json.loads(path.read_text())
    assert list(results)[:6] == ["paper", "preset", "wall_s", "cpu_s", "peak_rss_mb", "claims"]
    assert results["peak_rss_mb"] > 10
    assert results["command"] == "run it"
    assert results["extra"] == {"tau": 3.0}
    assert results["claims"] == [
        {"name": "plaquette", "value": 0.7, "stderr": 0.01, "reference": 0.7,
         "source": "exact", "rule": "pull<4", "pass": True},
        {"name": "ess", "value": None, "stderr": None, "reference": 0.5,
         "source": "arXiv:2003.06413", "rule": ">=", "pass": False},
    ]  # fmt: skip


def test_cost_is_summed_over_resumptions(tmp_path):
    first = Usage(tmp_path / "usage.json")
    time.sleep(0.05)
    before = first.note(now=True)
    assert before["wall_s"] >= 0.05
    second = Usage(tmp_path / "usage.json")
    time.sleep(0.05)
    after = second.note(now=True)
    assert after["wall_s"] >= before["wall_s"] + 0.049
    assert after["cpu_s"] >= before["cpu_s"]
    assert after["peak_rss_mb"] >= before["peak_rss_mb"]
    (tmp_path / "usage.json").write_text("{")
    assert Usage(tmp_path / "usage.json").total()["wall_s"] < 0.05


def test_importing_the_core_changes_no_setting_and_loads_nothing_heavy():
    code = (
        "import sys, jax, diffhep.core.run, diffhep.core.plotting, diffhep.core.sampling, "
        "diffhep.core.fit, diffhep.core.datasets, diffhep.core.citations; "
        "print(jax.config.jax_enable_x64, [m for m in ('matplotlib', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"
