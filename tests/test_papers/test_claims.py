"""The table of claims: numbers with errors, alignment, comparison with what was expected."""

import math

import pytest

from diffhep.core.run import Claim
from papers.claims import Expected, disagreements, number, table
from papers.harness import merged

pytestmark = pytest.mark.instant


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.697775, 0.00042, "0.69778 ± 0.00042"),
        (-1.5, 0.25, "-1.50 ± 0.25"),
        (123.4, 12.0, "123 ± 12"),
        (0.0, 0.01, "0.000 ± 0.010"),
        (3.2e-7, 1.1e-8, "(3.20 ± 0.11)e-07"),
        (4.56e8, 1.0e6, "(4.560 ± 0.010)e+08"),
        (0.81, None, "0.81"),
        (0.81, 0.0, "0.81 ± 0"),
        (math.nan, 0.1, "nan ± 0.1"),
        (1.0, math.inf, "1 ± inf"),
    ],
)
def test_number_shows_two_digits_of_the_error(value, stderr, text):
    assert number(value, stderr) == text


def test_table_is_aligned_and_says_pass_or_miss():
    claims = [
        Claim("a", 1.0, 0.1, 1.05, "exact", "pull<4"),
        Claim("a longer name", 0.3, None, 0.5, "arXiv:2003.06413", ">="),
    ]
    header, first, second = table(claims).splitlines()
    assert first.endswith("PASS")
    assert second.endswith("MISS")
    for column in ("value", "reference", "source", "rule"):
        start = header.index(column)
        assert first[start - 1] == second[start - 1] == " "
        assert first[start] != " "
        assert second[start] != " "


def test_disagreements_ignore_a_reference_made_by_the_run():
    claim = Claim("cost", 0.1, None, 7.3, "peer", "<=")
    assert disagreements([claim], [Expected("cost", "<=", None, "peer")]) == []
    assert len(disagreements([claim], [Expected("cost", "<=", 7.4, "peer")])) == 1


def test_disagreements_forgive_the_rounding_of_a_reference():
    claim = Claim("plaquette", 0.7, 0.1, 0.1 + 0.2, "exact", "pull<4")
    assert disagreements([claim], [Expected("plaquette", "pull<4", 0.3, "exact")]) == []


def test_overrides_are_merged_key_by_key():
    base = {"a": {"b": 1, "c": 2}, "d": [1, 2]}
    assert merged(base, {"a": {"c": 3}, "d": [4]}) == {"a": {"b": 1, "c": 3}, "d": [4]}
    assert merged(base, {"e": 5})["e"] == 5
    assert base == {"a": {"b": 1, "c": 2}, "d": [1, 2]}
