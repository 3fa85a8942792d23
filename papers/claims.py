"""Claims as a table, and claims against the paper's expected.json."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffhep.core.errors import DataError
from diffhep.core.run import Claim
from papers.harness import Paper, read_json

# References are written to JSON and back; this is far above that rounding and far below any claim.
REFERENCE_TOLERANCE = 1e-9


class Expected(NamedTuple):
    """What a paper promises to claim: a reference of None is computed by the run itself."""

    name: str
    rule: str
    reference: float | None
    source: str


def read_expected(paper: Paper) -> dict[str, list[Expected]]:
    """The expected claims of every preset, from expected.json.

    Raises:
        DataError: The file is missing or not of the form {preset: [{name, rule, reference,
            source}]}.
    """
    path = paper.folder / "expected.json"
    table = read_json(path)
    try:
        return {preset: [Expected(**row) for row in rows] for preset, rows in table.items()}
    except (TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a table of expected claims: {error}.") from error


def _number_or(missing: Any, value: Any) -> Any:
    """A number as results.json has it, or what null stands for.

    Raises:
        TypeError: It is something else.
    """
    if value is None:
        return missing
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return value


def read_results(path: Path) -> tuple[dict[str, Any], list[Claim]]:
    """A results.json and the claims in it, their verdicts recomputed from value and rule.

    Raises:
        DataError: The file is missing or is not what a run writes.
    """
    results = read_json(path)
    try:
        claims = [
            Claim(
                name=row["name"],
                value=_number_or(math.nan, row["value"]),
                stderr=_number_or(None, row["stderr"]),
                reference=_number_or(math.nan, row["reference"]),
                source=row["source"],
                rule=row["rule"],
            )
            for row in results["claims"]
        ]
    except (TypeError, KeyError) as error:
        raise DataError(f"{path} is not a results.json: {error!r}.") from error
    return results, claims


def disagreements(claims: Sequence[Claim], expected: Sequence[Expected]) -> list[str]:
    """Where claims differ from those expected, one sentence each; empty where they agree."""
    made = {claim.name: claim for claim in claims}
    promised = {row.name: row for row in expected}
    lines = [f"{name}: expected, but not claimed" for name in promised if name not in made]
    lines += [f"{name}: claimed, but not expected" for name in made if name not in promised]
    for name in sorted(made.keys() & promised.keys()):
        claim, row = made[name], promised[name]
        if claim.rule != row.rule:
            lines.append(f"{name}: rule {row.rule!r} expected, {claim.rule!r} claimed")
        if claim.source != row.source:
            lines.append(f"{name}: source {row.source!r} expected, {claim.source!r} claimed")
        if row.reference is not None and not math.isclose(
            claim.reference, row.reference, rel_tol=REFERENCE_TOLERANCE, abs_tol=0.0
        ):
            lines.append(f"{name}: reference {row.reference} expected, {claim.reference} claimed")
    return lines


def number(value: float, stderr: float | None) -> str:
    """`value ± stderr`, the error to two digits and the value to the same place."""
    if stderr is None or not math.isfinite(stderr) or not math.isfinite(value) or stderr <= 0:
        tail = "" if stderr is None else f" ± {stderr:.2g}"
        return f"{value:.6g}{tail}"
    place = 1 - math.floor(math.log10(stderr))
    # A value far above or below one is read better as mantissa and exponent.
    exponent = math.floor(math.log10(max(abs(value), stderr)))
    if -4 <= exponent < 6:
        digits = max(place, 0)
        return f"{value:.{digits}f} ± {stderr:.{digits}f}"
    scale, digits = 10.0**exponent, max(place + exponent, 0)
    return f"({value / scale:.{digits}f} ± {stderr / scale:.{digits}f})e{exponent:+03d}"


def table(claims: Sequence[Claim]) -> str:
    """Claims in aligned columns, the verdict last."""
    header = ("claim", "value ± stderr", "reference", "source", "rule", "")
    rows = [
        (
            claim.name,
            number(claim.value, claim.stderr),
            f"{claim.reference:.6g}",
            claim.source,
            claim.rule,
            "PASS" if claim.passed else "MISS",
        )
        for claim in claims
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    )
