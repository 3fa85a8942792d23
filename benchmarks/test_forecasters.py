"""One forecast of one window, compiled, beside the same network in PyTorch, one core each."""

import statistics

import numpy as np
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer

_N_CONTEXT, _N_HORIZON = 200, 100
_N_FORECASTS = 200
_ORDER = ("ours", "torch", "torch", "ours") * 3
_MOST_MS = 5.0
_LEAST_RATIO = 4.0
_SAME = 1e-4

SIZES = {
    "transformer": {"width": 40, "n_heads": 2, "n_layers": 2, "inner": 120},
    "temporal_fusion": {"width": 36, "n_heads": 4},
}
"""Those that the library's forecasters have by default; the peer is told."""


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", sorted(SIZES))
def test_forecast_beside_torch(report, kind, compiled):
    window = {"n_context": _N_CONTEXT, "n_horizon": _N_HORIZON}
    ours_setting = {"kind": kind, **window}
    sizes = {**window, "n_outputs": 6, **SIZES[kind]}
    theirs_setting = {"kind": kind, "sizes": sizes, "compiled": compiled}
    with (
        Peer(None, "forecast_time.py", ours_setting) as ours,
        Peer("torch", "forecasters.py", theirs_setting) as theirs,
    ):
        given = ours.round({})
        answer = theirs.round({name: given[name] for name in ("parameters", "inputs", "past")})
        for name in ("mean", "quantiles"):
            np.testing.assert_allclose(answer[name], given[name], atol=_SAME)
        found = {"ours": [], "torch": []}
        for name in _ORDER:
            found[name].append((ours if name == "ours" else theirs).round({"n": _N_FORECASTS}))
    cpu, least = (
        {name: 1e3 * f(one[what] for one in all_) for name, all_ in found.items()}
        for what, f in (("cpu", statistics.median), ("least", min))
    )
    size = sum(np.size(values) for values in given["parameters"].values())
    wall, spent = given["compiling"]
    what = f"{kind.replace('_', ' ')}, {size} parameters"
    ratio = Row(
        f"{what}: time of {'compiled ' * compiled}PyTorch over ours",
        cpu["torch"] / cpu["ours"],
        "",
        _LEAST_RATIO if kind == "transformer" and not compiled else None,
        detail=f"{cpu['ours']:.2f} against {cpu['torch']:.2f} ms of processor time, "
        f"{least['ours']:.2f} and {least['torch']:.2f} ms at least on the clock; "
        f"PyTorch's first call {answer['first']:.1f} s",
    )
    if compiled:
        report(ratio)
        return
    detail = f"compilation {spent:.1f} s of processor time, {wall:.1f} s on the clock"
    bar = _MOST_MS if kind == "transformer" else None
    report(Row(f"{what}: a forecast", cpu["ours"], "ms", bar, True, detail))
    report(ratio)
