"""HistFactory workspaces of pyhf's documentation, and what pyhf finds for them.

With pyhf and iminuit (the extra `hep`): `python -m tests.systems.histfactory` writes
`histfactory.json` anew.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
PROFILED = (0.0, 0.5, 1.0, 1.5, 2.0)
TESTED = 1.0


def _workspace(channels: dict[str, Any], observed: Any, poi: str, parameters: list[Any]) -> dict:
    """A workspace of channels, each a list of samples."""
    return {
        "version": "1.0.0",
        "channels": [{"name": name, "samples": made} for name, made in channels.items()],
        "measurements": [{"name": "fit", "config": {"poi": poi, "parameters": parameters}}],
        "observations": [{"name": name, "data": data} for name, data in observed.items()],
    }


def _sample(name: str, data: list[float], *modifiers: tuple[str, str, Any]) -> dict:
    """A sample; modifiers are (type, name, data)."""
    made = [{"type": kind, "name": label, "data": what} for kind, label, what in modifiers]
    return {"name": name, "data": data, "modifiers": made}


def _simple(*background: tuple[str, str, Any]) -> dict:
    """The two bins of the examples of `pyhf.simplemodels`."""
    samples = [
        _sample("signal", [12.0, 11.0], ("normfactor", "mu", None)),
        _sample("background", [50.0, 52.0], *background),
    ]
    return _workspace({"singlechannel": samples}, {"singlechannel": [51.0, 48.0]}, "mu", [])


def _imported() -> dict:
    """The notebook "XML Import/Export": luminosity and one uncertainty are fixed."""
    five = {"hi": 1.05, "lo": 0.95}
    luminosity = ("lumi", "lumi", None)
    samples = [
        _sample(
            "signal",
            [20.0, 10.0],
            ("normsys", "syst1", five),
            ("normfactor", "SigXsecOverSM", None),
        ),
        _sample(
            "background1",
            [100.0, 0.0],
            luminosity,
            ("staterror", "staterror_channel1", [5.000000074505806, 0.0]),
            ("normsys", "syst2", five),
        ),
        _sample(
            "background2",
            [0.0, 100.0],
            luminosity,
            ("staterror", "staterror_channel1", [0.0, 10.0]),
            ("normsys", "syst3", five),
        ),
    ]
    parameters = [
        {
            "name": "lumi",
            "auxdata": [1.0],
            "sigmas": [0.1],
            "bounds": [[0.5, 1.5]],
            "inits": [1.0],
            "fixed": True,
        },
        {"name": "syst1", "fixed": True},
    ]
    observed = {"channel1": [122.0, 112.0]}
    return _workspace({"channel1": samples}, observed, "SigXsecOverSM", parameters)


def workspaces() -> dict[str, dict]:
    """The examples of `pyhf.simplemodels`, and one of a notebook of the documentation."""
    shapes = {"hi_data": [45.0, 57.0], "lo_data": [55.0, 47.0]}
    return {
        "uncorrelated": _simple(("shapesys", "uncorr_bkguncrt", [3.0, 7.0])),
        "correlated": _simple(("histosys", "correlated_bkg_uncertainty", shapes)),
        "imported": _imported(),
    }


def reference(workspace: dict) -> dict[str, Any]:
    """What pyhf finds for a workspace."""
    import pyhf

    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-8, strategy=2))
    space = pyhf.Workspace(workspace)
    model = space.model()
    data = space.data(model)
    best, value = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
    fixed = [
        pyhf.infer.mle.fixed_poi_fit(mu, data, model, return_fitted_val=True)[1] for mu in PROFILED
    ]
    observed, expected = pyhf.infer.hypotest(
        TESTED, data, model, test_stat="qtilde", return_expected_set=True
    )
    limit, bands = pyhf.infer.intervals.upper_limits.upper_limit(data, model, rtol=1e-7)
    names = model.config.par_names
    return {
        "best": dict(zip(names, np.asarray(best).tolist(), strict=True)),
        "minus_two_log_likelihood": float(value),
        "profile": [float(other) - float(value) for other in fixed],
        "cls": float(observed),
        "expected_cls": [float(one) for one in expected],
        "limit": float(limit),
        "expected_limits": [float(one) for one in bands],
    }


if __name__ == "__main__":
    made = {
        name: {"workspace": workspace, "pyhf": reference(workspace)}
        for name, workspace in workspaces().items()
    }
    FILE.write_text(json.dumps(made, indent=1) + "\n")
