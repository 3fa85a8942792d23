"""Set-up of the benchmarks: double precision, and the one table printed at the end."""

from typing import NamedTuple

import jax
import pytest

jax.config.update("jax_enable_x64", True)
# Compilation is timed: nothing may come from a cache.
jax.config.update("jax_enable_compilation_cache", False)


class Row(NamedTuple):
    """One line of the table.

    A `bar` without `at_most` is a least value of the figure, with it a greatest one; None is a
    figure that is only reported.
    """

    what: str
    figure: float
    unit: str
    bar: float | None = None
    at_most: bool = False
    detail: str = ""

    @property
    def passed(self) -> bool:
        if self.bar is None:
            return True
        return self.figure <= self.bar if self.at_most else self.figure >= self.bar

    def cells(self) -> tuple[str, ...]:
        bar = "" if self.bar is None else f"{'<=' if self.at_most else '>='} {self.bar:g}"
        verdict = "" if self.bar is None else ("ok" if self.passed else "MISSED")
        return self.what, f"{self.figure:.4g} {self.unit}".strip(), bar, verdict, self.detail


_TABLE = pytest.StashKey[list[Row]]()


def pytest_configure(config):
    config.stash[_TABLE] = []


@pytest.fixture
def report(request):
    """`report(Row(...), ...)` adds lines to the table and fails the test if a bar is missed."""

    def add(*rows):
        request.config.stash[_TABLE].extend(rows)
        for row in rows:
            assert row.passed, f"{row.what}: {row.figure:.4g} {row.unit} misses {row.cells()[2]}"

    return add


def pytest_terminal_summary(terminalreporter, config):
    rows = [row.cells() for row in config.stash[_TABLE]]
    if not rows:
        return
    header = ("what", "figure", "bar", "", "detail")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    terminalreporter.section("benchmarks")
    for row in [header, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
