"""The settings of lueckmann2021, its tasks and what is published of them."""

import bz2
import hashlib
import zipfile
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.datasets import Dataset
from diffhep.core.errors import ConfigError, DataError
from papers.lueckmann2021 import tasks
from papers.lueckmann2021.config import PRESETS, Calibration, Point, Training
from papers.lueckmann2021.published import published

pytestmark = pytest.mark.instant


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Point("three_moons"), "task.*be one of two_moons"),
        (lambda: Point("sir", methods=("abc",)), "methods.*be among nre"),
        (lambda: Point("sir", (100,)), "n_simulations.*at least 200"),
        (lambda: Point("sir", n_observations=11), "n_observations.*1 to 10"),
        (lambda: Training(n_members=0), "n_members.*at least 1"),
        (lambda: Training(least_epochs=0), "least_epochs.*at least 1"),
        (lambda: Training(learning_rate=0.0), "learning_rate.*positive"),
        (lambda: Calibration(("sir",)), "problems.*latent_gaussian or two_moons"),
        (lambda: replace(PRESETS["smoke"], points=()), "points.*at least one"),
        (lambda: replace(PRESETS["large"], exact=True), "points.*two_moons or gaussian_linear"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_large_budgets_are_drawn_as_often_as_asked():
    settings = Training(n_steps=1200, batch=128, least_epochs=10)
    found = {n: settings.n_epochs_for(n) for n in (1000, 10_000, 100_000)}
    # 1200 steps of 55 and of 128 events; of 100,000 events they would be one and a half epochs.
    assert found == {1000: 66, 10_000: 15, 100_000: 10}


def test_published_numbers_are_looked_up():
    assert published("sir", "npe", 10_000) == 0.680
    assert published("sir", "flow_matching", 10_000) == 0.680
    assert published("two_moons", "nre", 1000) == 0.822
    assert published("two_moons", "nre", 2000) is None


def test_observations_and_references_are_read_from_the_published_file(tmp_path, monkeypatch):
    path = tmp_path / "tiny.whl"
    folder = "sbibm/tasks/two_moons/files/num_observation_1"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{folder}/observation.csv", "data_1,data_2\n-0.5,0.25\n")
        table = "parameter_1,parameter_2\n0.1,0.2\n0.3,0.4\n"
        wheel.writestr(
            f"{folder}/reference_posterior_samples.csv.bz2", bz2.compress(table.encode())
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"sbibm": Dataset(path.as_uri(), digest, "MIT")}
    monkeypatch.setattr(tasks, "BENCHMARK", entry)
    monkeypatch.setenv("DIFFHEP_DATA", str(tmp_path))
    task = tasks.build_task("two_moons", 1, 2, False, None)
    np.testing.assert_array_equal(task.x, [[-0.5, 0.25]])
    np.testing.assert_array_equal(task.references, [[[0.1, 0.2], [0.3, 0.4]]])
    monkeypatch.setattr(tasks, "BENCHMARK", {"sbibm": Dataset(path.as_uri(), "0" * 64, "MIT")})
    with pytest.raises(DataError, match="must have SHA-256"):
        tasks.build_task("two_moons", 1, 2, False, None)


def test_stein_identities_tell_a_posterior_from_another():
    """Exact draws of a normal posterior, and the same ones shifted by a tenth of their width."""
    problem, prior = tasks.build_problem("gaussian_linear")
    x = jnp.linspace(-0.5, 0.5, 10)
    normal = np.random.default_rng(1).standard_normal((4000, 10))
    draws = np.asarray(x) / 2 + 0.05**0.5 * normal
    for shift, is_good in ((0.0, True), (0.1, False)):
        moved = draws + shift * 0.05**0.5
        task = tasks.Task("gaussian_linear", problem, prior, x[None], [moved])
        # Twenty numbers at 4.5 errors: one false alarm in 7000 seeds.
        assert (np.abs(tasks.stein_pulls(task)).max() < 4.5) == is_good
