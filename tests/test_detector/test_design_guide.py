"""The guide to one's own simulator does what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.fast

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "detector_design.md"


def test_the_guide_finds_the_best_design(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL))
    names = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    assert re.search(r"resolution 0\.0\d+ \+- 0\.00\d+ from \d+ events", capsys.readouterr().out)
    trace, problem = names["trace"], names["problem"]
    # The best of a scan along the budget, from a million events in all.
    scan = []
    for depth in np.linspace(11.0, 22.0, 23):
        design = problem.start.replace(depth=depth, layer=depth / (24.0 - 0.5 * depth))
        energy = problem.simulate(design, 40_000, 1)[:, 0]
        scan.append(energy.std() / energy.mean())
    assert trace.value < 1.05 * min(scan) + 3 * trace.error
    assert float(problem.constraint(trace.design)) < 1e-6
    assert list((tmp_path / "calls").glob("*.ckpt"))
