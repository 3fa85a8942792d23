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


def _workspace(samples: list[Any], observed: list[float], parameters: list[Any]) -> dict:
    """A workspace of one channel whose parameter of interest is mu."""
    return {
        "version": "1.0.0",
        "channels": [{"name": "channel", "samples": samples}],
        "measurements": [{"name": "fit", "config": {"poi": "mu", "parameters": parameters}}],
        "observations": [{"name": "channel", "data": observed}],
    }


def _sample(name: str, data: list[float], *modifiers: tuple[str, str, Any]) -> dict:
    """A sample; modifiers are (type, name, data)."""
    made = [{"type": kind, "name": label, "data": what} for kind, label, what in modifiers]
    return {"name": name, "data": data, "modifiers": made}


def workspaces() -> dict[str, dict]:
    """One with uncorrelated, one with correlated shapes, and the HistFactory manual's example."""
    signal = _sample("signal", [12.0, 11.0], ("normfactor", "mu", None))
    shapes = {"hi_data": [45.0, 57.0], "lo_data": [55.0, 47.0]}
    five = {"hi": 1.05, "lo": 0.95}
    return {
        "uncorrelated": _workspace(
            [signal, _sample("background", [50.0, 52.0], ("shapesys", "gamma", [3.0, 7.0]))],
            [51.0, 48.0],
            [],
        ),
        "correlated": _workspace(
            [signal, _sample("background", [50.0, 52.0], ("histosys", "shape", shapes))],
            [51.0, 48.0],
            [],
        ),
        "manual": _workspace(
            [
                _sample(
                    "signal",
                    [20.0, 10.0],
                    ("normfactor", "mu", None),
                    ("normsys", "syst1", five),
                    ("lumi", "lumi", None),
                ),
                _sample(
                    "background1",
                    [100.0, 0.0],
                    ("staterror", "stat", [5.0, 0.0]),
                    ("normsys", "syst2", five),
                    ("lumi", "lumi", None),
                ),
                _sample(
                    "background2",
                    [0.0, 100.0],
                    ("staterror", "stat", [0.0, 10.0]),
                    ("normsys", "syst3", five),
                    ("lumi", "lumi", None),
                ),
            ],
            [122.0, 112.0],
            [
                {
                    "name": "lumi",
                    "auxdata": [1.0],
                    "sigmas": [0.1],
                    "bounds": [[0.5, 1.5]],
                    "inits": [1.0],
                }
            ],
        ),
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
    names = [
        name.replace("[0]", "") if name == "mu[0]" else name for name in model.config.par_names
    ]
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
