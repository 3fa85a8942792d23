"""HistFactory workspaces against pyhf: kept numbers, and pyhf itself where it is installed."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError
from diffhep_sbi.asymptotic import cls, upper_limit
from diffhep_sbi.io.histfactory import read_workspace
from diffhep_sbi.mle import profile
from tests.systems.histfactory import FILE, PROFILED, TESTED, workspaces

# pyhf imports what newer versions of jsonschema call deprecated.
pytestmark = [
    pytest.mark.fast,
    pytest.mark.filterwarnings("ignore:.*jsonschema:DeprecationWarning"),
]

# What the issue of a limit is quoted to; pyhf's own minimiser ends within 1e-5.
TOLERANCE = 1e-4
CASES = json.loads(FILE.read_text())


def fits_and_limits_agree(name):
    likelihood = read_workspace(CASES[name]["workspace"])
    expected = CASES[name]["pyhf"]
    found = profile(likelihood, jnp.array(PROFILED))
    best = [expected["best"][label] for label in likelihood.names]
    np.testing.assert_allclose(found.best.theta, best, atol=TOLERANCE)
    np.testing.assert_allclose(found.t, expected["profile"], atol=TOLERANCE)
    tested = cls(likelihood, TESTED)
    assert float(tested.observed) == pytest.approx(expected["cls"], abs=TOLERANCE)
    np.testing.assert_allclose(tested.expected, expected["expected_cls"], atol=TOLERANCE)


def test_fits_and_limits_are_those_of_pyhf():
    fits_and_limits_agree("correlated")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_all_fits_and_limits_are_those_of_pyhf(name):
    fits_and_limits_agree(name)
    found = upper_limit(read_workspace(CASES[name]["workspace"]))
    expected = CASES[name]["pyhf"]
    assert found.observed == pytest.approx(expected["limit"], abs=TOLERANCE)
    np.testing.assert_allclose(found.expected, expected["expected_limits"], atol=TOLERANCE)


def test_the_simple_workspaces_are_those_of_pyhf():
    simple = pytest.importorskip("pyhf").simplemodels
    signal, background = [12.0, 11.0], [50.0, 52.0]
    made = {
        "uncorrelated": simple.uncorrelated_background(signal, background, [3.0, 7.0]),
        "correlated": simple.correlated_background(signal, background, [45.0, 57.0], [55.0, 47.0]),
    }
    for name, model in made.items():
        ours = CASES[name]["workspace"]["channels"]
        theirs = model.spec["channels"]
        assert sorted(ours[0]["samples"], key=str) == sorted(
            ({**s, "modifiers": [dict(m) for m in s["modifiers"]]} for s in theirs[0]["samples"]),
            key=str,
        )


@pytest.mark.parametrize("name", CASES)
def test_likelihood_at_the_best_fit_is_that_of_pyhf(name):
    likelihood = read_workspace(CASES[name]["workspace"])
    expected = CASES[name]["pyhf"]
    best = jnp.array([expected["best"][label] for label in likelihood.names])
    value, slope = jax.jit(jax.value_and_grad(likelihood.log_prob))(best)
    assert -2 * float(value) == pytest.approx(expected["minus_two_log_likelihood"], abs=1e-9)
    # A slope is left only where a signal is held at 0; pyhf's minimiser ends within 1e-3.
    free = np.array(likelihood.is_free) & (np.asarray(best) > 1e-6) | (np.asarray(best) < -1e-6)
    np.testing.assert_allclose(np.asarray(slope)[free], 0.0, atol=1e-2)


@pytest.mark.parametrize("name", CASES)
def test_densities_are_those_of_pyhf_anywhere(name):
    pyhf = pytest.importorskip("pyhf")
    workspace = CASES[name]["workspace"]
    assert workspace == workspaces()[name]
    likelihood, space = read_workspace(workspace), pyhf.Workspace(workspace)
    model = space.model()
    generator = np.random.default_rng(1)
    for _ in range(5):
        values = dict(zip(likelihood.names, likelihood.start.tolist(), strict=True))
        values = {label: at + generator.normal(0.0, 0.4) for label, at in values.items()}
        values |= {likelihood.poi: abs(values[likelihood.poi])}
        theta = jnp.array([values[label] for label in likelihood.names])
        order = [values[label] for label in model.config.par_names]
        expected = float(model.logpdf(order, space.data(model))[0])
        assert float(likelihood.log_prob(theta)) == pytest.approx(expected, rel=1e-9)


def test_a_file_is_read_and_names_are_settled(tmp_path):
    file = tmp_path / "workspace.json"
    file.write_text(json.dumps(workspaces()["imported"]))
    likelihood = read_workspace(file, measurement="fit")
    assert likelihood.poi == "SigXsecOverSM"
    errors = {f"staterror_channel1[{index}]" for index in (0, 1)}
    assert {"lumi", "syst1", *errors} < set(likelihood.names)
    luminosity = likelihood.parameters[likelihood.index("lumi")]
    assert luminosity.high == 1.5
    assert luminosity.is_fixed


def test_bad_workspaces_are_named(tmp_path):
    with pytest.raises(DataError, match="Could not read the workspace"):
        read_workspace(tmp_path / "none.json")
    with pytest.raises(DataError, match="it lacks 'measurements'"):
        read_workspace({"channels": []})
    good = workspaces()["correlated"]
    with pytest.raises(ConfigError, match="one of fit, but it is 'other'"):
        read_workspace(good, measurement="other")
    strange = copy.deepcopy(good)
    strange["channels"][0]["samples"][0]["modifiers"][0]["type"] = "magic"
    with pytest.raises(ConfigError, match=r"one of normfactor.*, but it is 'magic'"):
        read_workspace(strange)
    twice = copy.deepcopy(good)
    twice["channels"][0]["samples"][1]["modifiers"][0]["name"] = "mu"
    with pytest.raises(DataError, match="the name 'mu' for one kind"):
        read_workspace(twice)
