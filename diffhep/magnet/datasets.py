"""Measured magnets and materials: what was applied and what was found, run by run."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.io import loadmat

from diffhep.core.datasets import fetch
from diffhep.core.errors import ConfigError

__citations__ = ("arXiv:2202.07747",)

SAMPLING_S = 1.0 / 16e6
"""Time step of the ferrite's recordings."""

STEELS = ("M270_50A", "M330_50A", "M400_50A", "M400_50AP", "M800_65A")
"""Grades of electrical steel."""


@dataclass(frozen=True)
class Recording:
    """One run of a measurement, in the order of time.

    Attributes:
        name: Of the run.
        u: What was applied, in `u_unit`.
        y: What was found, in `y_unit`.
        u_unit: Unit of the input.
        y_unit: Unit of the output.
        y_sigma: Standard error of each output, where it is known.
        dt_s: Seconds between samples; None of a static measurement.
        temperature_C: Where it is known.
        n_known: Leading outputs that a forecaster may use; None where there is no such rule.
    """

    name: str
    u: Float[np.ndarray, " time"]
    y: Float[np.ndarray, " time"]
    u_unit: str
    y_unit: str
    y_sigma: Float[np.ndarray, " time"] | None = None
    dt_s: float | None = None
    temperature_C: float | None = None
    n_known: int | None = None


class CoreLosses(NamedTuple):
    """Losses of a core under triangular waveforms of the flux density.

    Attributes:
        frequency_Hz: Of the waveform.
        amplitude_T: Largest flux density; the smallest is its negative.
        duty: Share of the period in which the flux rises.
        loss_W_m3: Measured loss per volume.
    """

    frequency_Hz: Float[np.ndarray, " waveform"]
    amplitude_T: Float[np.ndarray, " waveform"]
    duty: Float[np.ndarray, " waveform"]
    loss_W_m3: Float[np.ndarray, " waveform"]


def load(name: str) -> tuple[Recording, ...]:
    """The runs of a measured magnet or material.

    - "slac_quad_4194", current / A to integrated gradient / T: an LCLS-II quadrupole by a rotating
      coil, six runs, a major loop first.
    - "fesi_steel", field strength / (A/m) to flux density / T: static major loops of five grades,
      falling, then rising; beyond 10 kA/m extrapolated.
    - "magnetx_3c90", flux density / T to field strength / (A/m): 75 transients of a ferrite, to be
      forecast after `n_known` samples.

    Args:
        name: One of them.

    Returns:
        The runs, in the order in which they were measured.

    Raises:
        ConfigError: There is no such set.
        DataError: A file cannot be had, or is not the one of the registry.
    """
    if name not in _LOADERS:
        known = ", ".join(repr(one) for one in _LOADERS)
        raise ConfigError(f"Argument `name` must be one of {known}, but it is {name!r}.")
    return _LOADERS[name]()


def load_core_losses() -> CoreLosses:
    """2446 losses of the ferrite N87 at 25 degrees centigrade, 50 to 500 kHz.

    Returns:
        The losses.

    Raises:
        DataError: The file cannot be had, or is not the one of the registry.
    """
    table = loadmat(fetch("n87_core_loss"), squeeze_me=True)
    return CoreLosses(table["f_vec"], table["B_mat"][1], table["d_mat"][1], table["p_meas_vec"])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _slac_runs() -> tuple[Recording, ...]:
    rows = _rows(fetch("slac_quad_4194"))

    def column(run: str, key: str) -> np.ndarray:
        return np.array([float(row[key]) for row in rows if row["run"] == run])

    runs = sorted({row["run"] for row in rows}, key=int)
    return tuple(
        Recording(
            f"run {run}",
            column(run, "I_A"),
            column(run, "BL_T"),
            u_unit="A",
            y_unit="T",
            y_sigma=column(run, "BL_sigma_T"),
        )
        for run in runs
    )


def _steel_loops() -> tuple[Recording, ...]:
    loops = []
    for grade in STEELS:
        rows = _rows(fetch(f"fesi_{grade}"))
        names = ("H_A_per_m", "B_rising_T", "B_falling_T")
        h, rising, falling = (np.array([float(row[key]) for row in rows]) for key in names)
        u, y = np.append(h[::-1], h[1:]), np.append(falling[::-1], rising[1:])
        loops.append(Recording(grade, u, y, u_unit="A/m", y_unit="T"))
    return tuple(loops)


def _ferrite_transients() -> tuple[Recording, ...]:
    with np.load(fetch("magnetx_3c90"), allow_pickle=False) as table:
        rows = zip(table["B"], table["H"], table["T"], table["n_known"], strict=True)
        return tuple(
            Recording(
                f"sequence {index}",
                np.asarray(b, float),
                np.asarray(h, float),
                u_unit="T",
                y_unit="A/m",
                dt_s=SAMPLING_S,
                temperature_C=float(temperature),
                n_known=int(n_known),
            )
            for index, (b, h, temperature, n_known) in enumerate(rows)
        )


_LOADERS: dict[str, Callable[[], tuple[Recording, ...]]] = {
    "slac_quad_4194": _slac_runs,
    "fesi_steel": _steel_loops,
    "magnetx_3c90": _ferrite_transients,
}
