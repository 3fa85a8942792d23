"""How two finished runs are compared."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffhep.core.run import load_data

# What a run costs and how it was called may differ between runs that are the same.
COSTS = {"wall_s", "cpu_s", "peak_rss_mb", "command"}


@pytest.fixture
def stored():
    """Reads results.json without the costs, and the arrays of data.h5, of a finished run."""

    def read(folder):
        results = json.loads(Path(folder, "results.json").read_text())
        kept = {key: value for key, value in results.items() if key not in COSTS}
        return kept, load_data(Path(folder, "data.h5"))

    return read


@pytest.fixture
def assert_same_run(stored):
    """Asserts that two finished runs agree in every claim and every bit of every array."""

    def compare(one, other):
        (results, arrays), (other_results, other_arrays) = stored(one), stored(other)
        assert results == other_results
        assert arrays.keys() == other_arrays.keys()
        for name, array in arrays.items():
            assert array.dtype == other_arrays[name].dtype
            np.testing.assert_array_equal(array, other_arrays[name], err_msg=name)

    return compare
