"""Measured magnets: read where they are, named where they are not."""

import os
from pathlib import Path

import numpy as np
import pytest

from diffhep.core.datasets import LOCAL_COPY, REGISTRY
from diffhep.core.errors import ConfigError, DataError
from diffhep.magnet import recordings

pytestmark = pytest.mark.instant

SLAC = REGISTRY["slac_quad_4194"].name_on_disk


def test_what_cannot_be_downloaded_says_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setenv(LOCAL_COPY, str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(DataError, match=r"strplt files.*diff_hysteresis.*DIFFHEP_DATA"):
        recordings.load("slac_quad_4194")


def test_unknown_set():
    with pytest.raises(ConfigError, match="'slac_quad_4194', but it is 'slac'"):
        recordings.load("slac")


@pytest.mark.skipif(
    not (Path(os.environ.get(LOCAL_COPY, "/nowhere")) / SLAC).exists(),
    reason=f"the file is not in a folder that {LOCAL_COPY} names",
)
def test_quadrupole():
    runs = recordings.load("slac_quad_4194")
    assert [one.u.size for one in runs] == [61, 42, 22, 42, 10, 10]
    assert all(np.all(one.y_sigma > 0) for one in runs)
    assert max(one.y.max() for one in runs) == pytest.approx(5.2, abs=0.05)
