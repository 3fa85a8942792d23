"""Measured magnets: read where they are, named where they are not."""

import os
from pathlib import Path

import numpy as np
import pytest

from diffhep.core.datasets import LOCAL_COPY, REGISTRY
from diffhep.core.errors import ConfigError, DataError
from diffhep.magnet import datasets

pytestmark = pytest.mark.instant

SLAC = REGISTRY["slac_quad_4194"].name_on_disk


def test_what_cannot_be_downloaded_says_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.setenv(LOCAL_COPY, str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(DataError, match=r"strplt files.*diff_hysteresis.*DIFFHEP_DATA"):
        datasets.load("slac_quad_4194")


def test_unknown_set():
    with pytest.raises(ConfigError, match=r"must be one of 'slac_quad_4194'.*but it is 'slac'"):
        datasets.load("slac")


local = pytest.mark.skipif(
    not (Path(os.environ.get(LOCAL_COPY, "/nowhere")) / SLAC).exists(),
    reason=f"the files are not in a folder that {LOCAL_COPY} names",
)


@local
def test_quadrupole():
    runs = datasets.load("slac_quad_4194")
    assert [one.u.size for one in runs] == [61, 42, 22, 42, 10, 10]
    assert all(np.all(one.y_sigma > 0) for one in runs)
    assert max(one.y.max() for one in runs) == pytest.approx(5.2, abs=0.05)


@local
def test_steel():
    """Loss, coercive field strength and remanence of M400-50A as quoted."""
    loop = {one.name: one for one in datasets.load("fesi_steel")}["M400_50A"]
    n = loop.u.size // 2 + 1
    falling, rising = loop.y[:n][::-1], loop.y[n - 1 :]
    h = loop.u[n - 1 :]
    assert np.trapezoid(falling - rising, h) == pytest.approx(478.17, abs=0.01)
    assert np.interp(0.0, rising, h) == pytest.approx(39.61, abs=0.01)
    assert np.interp(0.0, h, falling) == pytest.approx(1.0842, abs=1e-4)


@local
def test_ferrites():
    sequences = datasets.load("magnetx_3c90")
    assert len(sequences) == 75
    assert {one.u.size for one in sequences} == {1000}
    assert {one.n_known for one in sequences} <= set(range(100, 901))
    losses = datasets.load_core_losses()
    assert {column.shape for column in losses} == {(2446,)}
    assert 0.0 < losses.duty.min() < losses.duty.max() < 1.0
