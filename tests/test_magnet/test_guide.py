"""The guide of docs/magnet.md, every line of it."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "magnet.md"


def test_the_guide_goes_from_a_file_to_a_corrected_cycle(tmp_path, monkeypatch, capsys):
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "magnet.md", "exec"), {})
    printed = capsys.readouterr().out
    error = float(re.findall(r"flat bottom: ([\d.]+)e-4 T", printed)[0])
    within = float(re.findall(r"within ([\d.]+)e-4 T", printed)[0])
    usual, strange = map(float, re.findall(r"distance ([\d.]+)", printed))
    trims = [float(one) for one in re.findall(r"trim ([-+][\d.]+)", printed)]
    left = [float(one) for one in re.findall(r"error ([-+][\d.]+)", printed)]
    # Fields vary by about 1e-4 T from cycle to cycle; the forecaster leaves little of that.
    assert 0.0 < error < 0.2
    assert error / 3 < within < 3 * error
    assert usual == 0.0
    assert strange > 0.1
    assert len(trims) == len(left) == 4
    assert max(map(abs, left[2:])) < 0.4
