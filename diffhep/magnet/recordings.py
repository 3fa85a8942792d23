"""Measured magnets: what was applied and what was found, run by run."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffhep.core.datasets import fetch
from diffhep.core.errors import ConfigError

__citations__ = ("arXiv:2202.07747",)


@dataclass(frozen=True)
class Recording:
    """One run of a measurement, in the order of time.

    Attributes:
        name: Of the run.
        u: What was applied, in `u_unit`.
        y: What was found, in `y_unit`.
        y_sigma: Its standard error of measurement.
        u_unit: Unit of the input.
        y_unit: Unit of the output.
    """

    name: str
    u: Float[np.ndarray, " time"]
    y: Float[np.ndarray, " time"]
    y_sigma: Float[np.ndarray, " time"]
    u_unit: str
    y_unit: str


def load(name: str) -> tuple[Recording, ...]:
    """The runs of a measured magnet.

    Args:
        name: "slac_quad_4194": an LCLS-II quadrupole by a rotating coil, six runs, a major loop
            first; input the current in A, output the integrated gradient in T.

    Returns:
        The runs, in the order in which they were measured.

    Raises:
        ConfigError: There is no such set.
        DataError: The file cannot be had.
    """
    if name != "slac_quad_4194":
        raise ConfigError(f"Argument `name` must be 'slac_quad_4194', but it is {name!r}.")
    return _slac_runs(fetch(name))


def _slac_runs(path: Path) -> tuple[Recording, ...]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = sorted({int(row["run"]) for row in rows})

    def column(run: int, key: str) -> np.ndarray:
        return np.array([float(row[key]) for row in rows if int(row["run"]) == run])

    return tuple(
        Recording(
            f"run {run}",
            *(column(run, key) for key in ("I_A", "BL_T", "BL_sigma_T")),
            u_unit="A",
            y_unit="T",
        )
        for run in runs
    )
