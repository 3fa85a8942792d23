"""Ensembles from a file of settings: the command line, SU(3), the flow, the community's formats."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.config import from_json, to_json
from diffhep.core.errors import ConfigError, ShapeError
from diffhep.core.stats import gamma_method
from diffhep_lattice.actions import ImprovedAction, WilsonAction
from diffhep_lattice.ensemble import Schedule
from diffhep_lattice.ensemble.__main__ import Command, main, resume_line
from diffhep_lattice.ensemble.flow import FlowMeasurement, scale_series
from diffhep_lattice.ensemble.settings import BulkPlaquette, Settings
from diffhep_lattice.gradient_flow import gradient_flow, scale_t0, scale_w0
from diffhep_lattice.groups import SU2
from diffhep_lattice.io import EnsembleFile, read
from diffhep_lattice.observables import charge_density, energy_density, plane_plaquettes

pytestmark = pytest.mark.fast

SU3 = Settings(
    lattice=(2, 2, 2, 4),
    beta=5.7,
    n_steps=2,
    trajectory_length=0.2,
    n_configurations=2,
    schedule=Schedule(n_warmup=2, measure_every=1, save_every=2),
    observe=("action",),
    formats=("hdf5", "nersc", "ildg"),
)


@pytest.fixture(scope="module")
def su3(tmp_path_factory):
    """A folder with settings.json and the run they make by the command line."""
    folder = tmp_path_factory.mktemp("su3")
    (folder / "settings.json").write_text(to_json(SU3))
    assert main([str(folder / "settings.json"), "--out", str(folder / "run")]) == 0
    return folder


def test_every_format_holds_the_same_links(su3):
    configurations = su3 / "run" / "configurations"
    stored = list(EnsembleFile(configurations / "stream0.h5"))
    assert [each.trajectory for each in stored] == [4, 6]
    for index, each in enumerate(stored):
        # The metadata say which theory it is, also where the file travels alone.
        links, metadata = read(configurations / "stream0.h5", index=index)
        assert (metadata.header["beta"], metadata.header["group"]) == ("5.7", '"su3"')
        for suffix in ("nersc", "lime"):
            path = configurations / f"stream0-{each.trajectory:08d}.{suffix}"
            other, metadata = read(path)
            np.testing.assert_array_equal(other, links)
            assert metadata.precision == 64
        action = -SU3.beta * 6 * 32 * metadata.plaquette
        np.testing.assert_allclose(each.attributes["action"], action, rtol=1e-10)


def test_command_line(su3, capsys):
    words = [str(su3 / "settings.json"), "--out", str(su3 / "run")]
    assert main(words) == 2
    assert "already holds this run" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "exp(-energy_change)" in shown
    assert "results.json" in shown
    other = su3 / "other.json"
    other.write_text(to_json(replace(SU3, beta=5.8)))
    assert main([str(other), "--out", str(su3 / "run"), "--resume"]) == 2
    line = capsys.readouterr().err
    assert "algorithm.action.beta = 5.7 and this run 5.8" in line
    assert line.count("\n") == 1
    plain = json.loads(other.read_text())
    other.write_text(json.dumps({**plain, "betta": 1.0}))
    assert main([str(other), "--out", str(su3 / "new")]) == 2
    assert "'betta'. Did you mean 'beta'?" in capsys.readouterr().err
    assert main([str(su3 / "missing.json"), "--out", str(su3 / "new")]) == 2
    assert not (su3 / "new").exists()
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2


def test_the_command_that_resumes():
    command = Command(Path("a.json"), Path("runs/b c"), reseed=3, n_configurations=20)
    line = "python -m diffhep_lattice.ensemble a.json --out 'runs/b c' --resume"
    assert resume_line(command) == f"{line} --reseed 3 --n-configurations 20"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "su4"}, "`group` must be one of u1, su2, su3"),
        ({"action": "sum"}, "`action` must be one of wilson, symanzik, iwasaki, dbw2"),
        ({"action": "iwasaki", "sampler": "heatbath"}, "`action` must be wilson for a heatbath"),
        ({"sampler": "heatbath", "n_overrelaxation": -1}, "`n_overrelaxation` must be an integer"),
        ({"boundary": "closed"}, "`boundary` must be one of periodic, open"),
        ({"boundary": "open"}, "`margin` must lie between 1 and 1 for these open boundaries"),
        ({"margin": 1}, "`margin` must be 0 for periodic boundaries, but it is 1"),
        ({"boundary": "open", "margin": 1, "observe": ("polyakov_loop",)}, "`observe` must be one"),
        ({"md_precision": "float16"}, "`md_precision` must be one of same, float32"),
        ({"flow_times": (0.0, 0.1, 0.2)}, "`flow_times` must hold at least 4 flow times"),
        ({"flow_times": (0.0, 0.1, 0.3, 0.2)}, "`flow_times` must hold at least 4 flow times"),
        ({"flow_density": True}, "`flow_density` must come with `flow_times`"),
        ({"beta": -1.0}, "`beta` must be finite and at least 0"),
        ({"sampler": "nuts"}, "`sampler` must be one of hmc, heatbath"),
        ({"integrator": "euler"}, "`integrator` must be one of leapfrog"),
        ({"n_steps": 0}, "`n_steps` must be a positive integer"),
        ({"trajectory_length": 0.0}, "`step_size` must be finite and positive"),
        ({"start": "warm"}, "`start` must be one of cold, hot"),
        ({"precision": "float16"}, "`precision` must be one of float64, float32"),
        ({"n_streams": 0}, "`n_streams` must be at least 1"),
        ({"lattice": (4,)}, "`lattice` must have 2 to 4 directions, or 2 for u1"),
        ({"lattice": (4, 1)}, "`shape` must hold one integer of at least 2"),
        ({"group": "u1"}, "`lattice` must have 2 to 4 directions, or 2 for u1"),
        ({"observe": ("colour",)}, "`observe` must be one of plaquette"),
        ({"lattice": (2, 2, 2, 3), "sampler": "heatbath"}, "`shape` must hold multiples of 2"),
        (
            {"lattice": (2, 2, 4), "formats": (), "observe": ("topological_charge",)},
            "`U` must have four directions",
        ),
        ({"formats": ("milc",)}, "`formats` must hold names out of"),
        ({"mesh": {"t": 3}}, "`mesh` must divide the 4 sites along t into equal parts"),
        ({"mesh": {"t": 40}}, "`divisions` must have a product of at most the 4 devices"),
    ],
)
def test_bad_settings_are_named_before_anything_is_written(change, message, tmp_path):
    with pytest.raises((ConfigError, ShapeError), match=message) as info:
        replace(SU3, **change).open(tmp_path / "run")
    assert "\n" not in str(info.value)
    assert not (tmp_path / "run").exists()


def test_settings_survive_json():
    assert from_json(Settings, to_json(SU3)) == SU3
    assert from_json(Settings, '{"lattice": [4, 4], "beta": 1}') == Settings((4, 4), 1.0)


@pytest.mark.parametrize("group", ["u1", "su2", "su3"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_starts(group, precision, key):
    lattice = (2, 4) if group == "u1" else (2, 2, 4)
    settings = Settings(lattice, 1.0, group=group, precision=precision, n_streams=2)
    cold = replace(settings, start="cold").build_start(key=key)
    hot = replace(settings, start="hot").build_start(key=key)
    assert cold.shape == hot.shape == (2, len(lattice), *cold.shape[2:])
    assert cold.dtype == hot.dtype
    assert cold.real.dtype == precision
    action = settings.build_action()
    n_planes = len(lattice) * (len(lattice) - 1) // 2
    assert action(jnp.asarray(cold[0])) == -1.0 * n_planes * np.prod(lattice)
    assert np.any(hot[0] != hot[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(hot, replace(settings, start="hot").build_start(key=key))
    assert jax.random.key_data(key).shape == (2,)


def test_names_build_what_they_say():
    settings = replace(SU3, action="dbw2", boundary="open", margin=1, md_precision="float32")
    action = settings.build_action()
    assert isinstance(action, ImprovedAction)
    assert (float(action.c1), action.boundary) == (-1.4088, "open")
    assert settings.build_algorithm().md_dtype == np.float32
    heatbath = replace(SU3, sampler="heatbath", n_overrelaxation=2).build_algorithm()
    assert (heatbath.n_overrelaxation, type(heatbath.action)) == (2, WilsonAction)
    assert list(replace(SU3, observe=("polyakov_loop",)).build_observables()) == ["polyakov_loop"]


def test_the_plaquette_between_open_boundaries(key):
    U = SU2().haar((3, 2, 2, 6), key=key, dtype=float)
    whole = np.mean(plane_plaquettes(U))
    np.testing.assert_allclose(BulkPlaquette(0)(U), whole, rtol=1e-13)
    # The links at the ends, those that leave the lattice among them, do not count.
    other = SU2().haar((3, 2, 2, 6), key=jax.random.fold_in(key, 1), dtype=float)
    changed = U.at[..., 0].set(other[..., 0]).at[..., -1].set(other[..., -1])
    inner = [BulkPlaquette(1)(V) for V in (U, changed.at[:-1, ..., -1].set(U[:-1, ..., -1]))]
    np.testing.assert_allclose(*inner, rtol=1e-13)
    assert abs(inner[0] - whole) > 1e-3


@pytest.mark.slow
def test_flow_measurements(tmp_path):
    times = (0.0, 0.05, 0.1, 0.2)
    settings = Settings(
        lattice=(2, 2, 2, 8),
        beta=2.4,
        group="su2",
        action="symanzik",
        boundary="open",
        n_steps=2,
        trajectory_length=0.4,
        start="hot",
        n_configurations=1,
        schedule=Schedule(save_every=1),
        observe=("plaquette",),
        margin=3,
        flow_times=times,
        flow_density=True,
    )
    ensemble = settings.open(tmp_path / "run")
    result = ensemble.run(1)
    (stored,) = EnsembleFile(ensemble.configuration_path())
    flow_action = WilsonAction(beta=4.0, group=SU2(), boundary="open")
    flowed = gradient_flow(
        jnp.asarray(stored.field),
        times,
        action=flow_action,
        observe={"energy": energy_density, "charge": charge_density},
    )
    found = {name.removeprefix("flow/"): rows[0, 0] for name, rows in result.observables.items()}
    energy = np.mean(flowed.observed["energy"][..., 3:-3], axis=(1, 2, 3, 4))
    np.testing.assert_allclose(found["energy"], energy, rtol=1e-12)
    charge = np.sum(flowed.observed["charge"][..., 3:-3], axis=(1, 2, 3, 4))
    np.testing.assert_allclose(found["charge"], charge, atol=1e-12)
    density = charge_density(flowed.U, improved=True)
    np.testing.assert_allclose(found["charge_density"], density, atol=1e-12)
    np.testing.assert_allclose(found["improved_charge"][-1], np.sum(density[..., 3:-3]), atol=1e-12)
    names = [row.name for row in result.table]
    assert {"flow/energy[0]", "flow/energy[3]", "flow/charge^2"} <= set(names)
    assert not any("charge_density" in name for name in names)
    # So short a flow does not reach the scales.
    assert "flow/t0" not in names


def test_scales_of_a_run(key):
    """Means and errors by linearisation are those of the jackknife."""
    time = np.linspace(0.0, 4.0, 21)
    noise = 0.05 * np.asarray(jax.random.normal(key, (2, 400, 1)))
    energy = (0.1 + 0.02 * time) * (1.0 + noise) / np.maximum(time, 0.1)
    found = scale_series(time, energy)
    for name, scale in (("flow/t0", scale_t0), ("flow/w0", scale_w0)):
        reference = scale(time, energy.reshape(800, -1))
        mean, error, *_ = gamma_method(found[name])
        assert mean == pytest.approx(reference.value, rel=1e-12)
        assert error == pytest.approx(reference.error, rel=0.2)
    assert set(scale_series(time[:4], energy[:, :, :4])) == set()
    measurement = FlowMeasurement(WilsonAction(beta=6.0, group=SU2()), tuple(time))
    series = measurement.series({"flow/energy": energy, "flow/charge": energy})
    assert list(series) == ["flow/t0", "flow/w0", "flow/charge", "flow/charge^2"]
    assert measurement.series({"flow/energy": energy[:, :0]}) == {}
