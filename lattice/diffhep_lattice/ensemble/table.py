"""Means, errors and autocorrelation times of what an ensemble measured."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from diffhep.core.checks import require_shape
from diffhep.core.stats import MIN_LENGTH, gamma_method

SHORTEST = 20.0
"""Autocorrelation times below which a series is marked as too short: its error is uncertain by a
third or more, sqrt((W + 1/2) / N) with W of some 3 tau_int, and on average too small."""


MOST_COMPONENTS = 16
"""An array with more components than this has no rows; it is in data.h5 alone."""


class TableRow(NamedTuple):
    """One observable, or one component of it.

    Attributes:
        name: Its name, with the index of the component.
        mean: Mean over all streams and measurements.
        error: Standard error by the Gamma method; not a number below 8 measurements a stream.
        tau_int: Integrated autocorrelation time, in measurements; 1/2 if they are independent.
        tau_int_error: Its error.
        window: Where the sum over autocorrelations was cut, in measurements.
        n_measurements: Measurements of every stream.
    """

    name: str
    mean: float
    error: float
    tau_int: float
    tau_int_error: float
    window: int
    n_measurements: int

    @property
    def is_short(self) -> bool:
        """Whether the series is too short for its autocorrelation: its errors are lower bounds."""
        needed = max(MIN_LENGTH, SHORTEST * self.tau_int if math.isfinite(self.tau_int) else 0.0)
        return self.n_measurements < needed


def _row(name: str, series: np.ndarray) -> TableRow:
    if series.shape[1] < MIN_LENGTH:
        mean = float(series.mean()) if series.size else math.nan
        return TableRow(name, mean, math.nan, math.nan, math.nan, 0, series.shape[1])
    return TableRow(name, *gamma_method(series), series.shape[1])


def tabulate(series: Mapping[str, Shaped[np.ndarray, "..."]]) -> list[TableRow]:
    """Analyse measurements by the Gamma method; streams are pooled.

    Args:
        series: Measurements by name, (stream, step, ...); components of arrays have rows of their
            own, unless there are more than `MOST_COMPONENTS`.

    Returns:
        The rows, in the order of `series`.

    Raises:
        DataError: A measurement is not finite.
        ShapeError: A series has no stream and step axis.

    Reference:
        U. Wolff, Comput. Phys. Commun. 156 (2004) 143, arXiv:hep-lat/0306017.
    """
    rows: list[TableRow] = []
    for name, values in series.items():
        require_shape(values.ndim >= 2, name, "have a stream and a step axis", values.shape)
        if math.prod(values.shape[2:]) > MOST_COMPONENTS:
            continue
        for index in np.ndindex(values.shape[2:]):
            label = name + (f"[{','.join(map(str, index))}]" if index else "")
            rows.append(_row(label, values[(slice(None), slice(None), *index)]))
    return rows


def _rounded(row: TableRow) -> tuple[str, str]:
    """Mean and error with as many digits as two digits of the error need."""
    if not (row.error > 0.0 and math.isfinite(row.error)):
        return f"{row.mean:.10g}", "-" if math.isnan(row.error) else f"{row.error:g}"
    digits = max(0, 1 - math.floor(math.log10(row.error)))
    return f"{row.mean:.{digits}f}", f"{row.error:.{digits}f}"


def format_table(rows: Sequence[TableRow]) -> str:
    """The rows as text in columns; a star marks a series that is too short.

    Args:
        rows: What `tabulate` made.

    Returns:
        Lines without a newline at the end.
    """
    head = ("observable", "mean", "error", "tau_int", "+-", "window", "n", "")
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        tau = [f"{x:.2f}" if math.isfinite(x) else "-" for x in (row.tau_int, row.tau_int_error)]
        numbers = (*_rounded(row), *tau, str(row.window), str(row.n_measurements))
        cells.append((row.name, *numbers, "*" if row.is_short else ""))
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    if any(row.is_short for row in rows):
        lines.append(
            f"* shorter than {SHORTEST:g} tau_int or {MIN_LENGTH} measurements: "
            "error and tau_int are lower bounds"
        )
    return "\n".join(lines)
