"""Figures of one look: sizes of a printed column or page, and files that say where they come from.

matplotlib is imported when a figure is made, and its global state is left as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Literal

from diffhep.core.checks import require
from diffhep.core.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCH = {"column": 3.375, "page": 6.75}
"""Widths of a column and of a page of the Physical Review."""

ASPECT = 0.7
"""Height of a panel over the width of a column."""

DPI = 200
"""Resolution of the PNG: sharp on a screen and far below 300 kB."""

# The palette of M. Okabe and K. Ito, distinct to colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def style() -> dict[Any, Any]:
    """Matplotlib settings of the house.

    Returns:
        A table for `matplotlib.rc_context`.
    """
    from cycler import cycler

    return {
        "font.size": 8.0,
        "axes.labelsize": 8.0,
        "axes.titlesize": 8.0,
        "legend.fontsize": 7.0,
        "xtick.labelsize": 7.0,
        "ytick.labelsize": 7.0,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.0,
        "lines.markersize": 3.0,
        "errorbar.capsize": 1.5,
        "legend.frameon": False,
        "xtick.direction": "in",
        "ytick.direction": "in",
        "xtick.top": True,
        "ytick.right": True,
        "axes.prop_cycle": cycler(color=list(COLOURS)),
        # Text stays text in the PDF, and its objects get no random names.
        "pdf.fonttype": 42,
        "svg.hashsalt": "diffhep",
    }


def figure(
    width: Literal["column", "page"] = "column",
    *,
    rows: int = 1,
    columns: int = 1,
    height_inch: float | None = None,
    **options: Any,
) -> tuple["Figure", Any]:
    """A figure in the house style, without a window behind it.

    Args:
        width: Of a printed column, or of a page.
        rows: Rows of panels.
        columns: Columns of panels.
        height_inch: Height in inches; by default each panel has the house's aspect.
        **options: Passed on to `Figure.subplots`, `sharex` for example.

    Returns:
        The figure and its axes: one, or an array of them where there are several panels.

    Raises:
        ConfigError: `width` is neither of the two, or there is no panel.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    require(width in WIDTH_INCH, "width", f"be one of {', '.join(WIDTH_INCH)}", width)
    require(rows >= 1 and columns >= 1, "rows, columns", "be at least 1", (rows, columns))
    width_inch = WIDTH_INCH[width]
    height = height_inch or ASPECT * rows * width_inch / columns
    with rc_context(style()):
        made = Figure(figsize=(width_inch, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(made)
        axes = made.subplots(rows, columns, **options)
    return made, axes


def save(made: "Figure", path: Path | str, metadata: Mapping[str, str] | None = None) -> list[Path]:
    """Write a figure as PNG and PDF, with metadata inside and the same bytes every time.

    Args:
        made: The figure.
        path: Where to, without suffix.
        metadata: Title, Author, Subject or Keywords; both formats know these.

    Returns:
        The two files, the PNG first.

    Raises:
        DataError: A file cannot be written.
        ConfigError: The metadata has a key that a PDF does not know.
    """
    from matplotlib import rc_context

    known = ("Title", "Author", "Subject", "Keywords")
    entries = dict(metadata or {})
    for key in entries:
        require(key in known, "metadata", f"have keys among {', '.join(known)}", key)
    stem = Path(path)
    # Dates and version strings would make every file a different one.
    undated = {
        ".png": {**entries, "Software": "diffhep"},
        ".pdf": {**entries, "Creator": "diffhep", "Producer": "diffhep", "CreationDate": None},
    }
    files: list[Path] = []
    for suffix, inside in undated.items():
        file = stem.with_name(stem.name + suffix)
        try:
            with rc_context(style()):
                made.savefig(file, dpi=DPI, metadata=inside)
        except OSError as error:
            raise DataError(f"Could not write {file}: {error.strerror or error}.") from error
        files.append(file)
    return files


def save_panels(
    draw: Sequence[Callable[[Any, Any], None]],
    data: Any,
    path: Path | str,
    *,
    title: str,
    rows: int = 1,
    height_inch: float | None = None,
) -> list[Path]:
    """Draw and save a figure as wide as a page, its panels labelled (a), (b) and so on.

    Args:
        draw: For each panel, row after row, the function that is called with its axes and `data`.
        data: What the functions draw.
        path: Where to, without suffix.
        title: The title in the metadata.
        rows: Rows of panels, equally long.
        height_inch: Height in inches; by default each panel has the house's aspect.

    Returns:
        The two files, the PNG first.

    Raises:
        DataError: A file cannot be written.
        ConfigError: The panels do not fill the rows.
    """
    from matplotlib import rc_context

    fills = len(draw) > 0 and rows >= 1 and len(draw) % rows == 0
    require(fills, "rows", f"divide the number of panels, {len(draw)}", rows)
    columns = len(draw) // rows
    with rc_context(style()):
        made, axes = figure(
            "page", rows=rows, columns=columns, height_inch=height_inch, squeeze=False
        )
        for label, panel, draw_panel in zip(ascii_lowercase, axes.ravel(), draw, strict=False):
            draw_panel(panel, data)
            panel.set_title(f"({label})", loc="left")
    return save(made, path, {"Title": title})
