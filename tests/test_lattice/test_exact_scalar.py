"""Exact results of scalar fields against every value of the tables, quadrature and identities."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import gamma, i0, i1, ive

from diffhep.core.errors import ConfigError
from diffhep_lattice import exact
from diffhep_lattice.exact.scalar import _site_quadrature

pytestmark = pytest.mark.instant

_TABLES = json.loads(
    (Path(__file__).parent.parent / "systems" / "phi4_2d.json").read_text(encoding="utf-8")
)


def agree(row, n_nodes):
    length, coupling, *expected = row
    found = exact.phi4((length, length), -4.0, float(coupling), n_nodes=n_nodes)
    for value, text in zip((found.phi2, found.phi4, found.chi2), expected, strict=True):
        # The last digit may be rounded the other way where the next ones are 4999 or 5000.
        assert abs(value - float(text)) < 0.6 * 10.0 ** -len(text.partition(".")[2])


@pytest.mark.parametrize("row", _TABLES["phi4"], ids=lambda row: f"L{row[0]}-{row[1]}")
def test_phi4_table_is_reproduced_to_every_digit(row):
    agree(row, 12)


@pytest.mark.slow
@pytest.mark.parametrize("row", _TABLES["phi4_slow"], ids=lambda row: f"L{row[0]}-{row[1]}")
def test_phi4_table_of_four_by_four(row):
    """The table is good to 7 digits here; its last digits are not."""
    length, coupling, *expected = row
    found = exact.phi4((length, length), -4.0, float(coupling), n_nodes=10)
    for value, text in zip((found.phi2, found.phi4, found.chi2), expected, strict=True):
        assert value == pytest.approx(float(text), rel=5e-7)


@pytest.mark.parametrize("row", _TABLES["free"], ids=lambda row: f"L{row[0]}-{row[1]}")
def test_free_table_is_reproduced_to_every_digit(row):
    length, mass_squared, expected = row
    found = exact.free_scalar((length, length), float(mass_squared)).phi2
    assert f"{found:.{len(expected) - 2}f}" == expected


def test_propagator_is_the_inverse_of_the_quadratic_form():
    """Built link by link, with doubled links where a length is 2."""
    shape, mass_squared = (2, 3), 0.7
    index = np.arange(6).reshape(shape)
    form = mass_squared * np.eye(6)
    for axis in (0, 1):
        for a, b in zip(index.ravel(), np.roll(index, -1, axis).ravel(), strict=True):
            form[[a, b], [a, b]] += 1.0
            form[[a, b], [b, a]] -= 1.0
    covariance = 0.5 * np.linalg.inv(form)
    found = exact.free_scalar(shape, mass_squared)
    position = np.fft.ifftn(found.propagator).real
    np.testing.assert_allclose(covariance[0].reshape(shape), position, atol=1e-14)
    assert found.log_z == pytest.approx(0.5 * np.linalg.slogdet(np.pi * 2 * covariance)[1])
    slices = covariance.reshape(2, 3, 2, 3).sum((0, 2)) / 2
    np.testing.assert_allclose(found.correlator, slices[0], atol=1e-14)


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_transfer_matrix_solves_the_free_field(shape):
    found, expected = exact.phi4(shape, 1.5, 0.0, n_nodes=24), exact.free_scalar(shape, 1.5)
    assert found.phi2 == pytest.approx(expected.phi2, rel=1e-9)
    assert found.phi4 == pytest.approx(3 * expected.phi2**2, rel=1e-8)
    assert found.chi2 == pytest.approx(expected.chi2, rel=1e-8)
    assert found.log_z == pytest.approx(expected.log_z, abs=1e-9)
    np.testing.assert_allclose(found.correlator, expected.correlator, rtol=1e-8)


def test_time_may_be_any_axis():
    one, other = (exact.phi4(shape, -4.0, 8.0, n_nodes=8) for shape in ((2, 3), (3, 2)))
    for name in ("phi2", "phi4", "chi2", "log_z"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-6)


def test_virial_theorem():
    """<phi dS/dphi> = 1 with the action of the nearest neighbours in an exact mean."""
    shape, m2, coupling = (2, 2), -4.0, 8.0
    found = exact.phi4(shape, m2, coupling)
    h = 1e-4
    # d(log Z)/d(scale of the fields) vanishes: V = <2 S_2 + 4 S_4>, S_2 by d/dm2 and links.
    d_mass = (
        exact.phi4(shape, m2 + h, coupling).log_z - exact.phi4(shape, m2 - h, coupling).log_z
    ) / (2 * h)
    assert -d_mass / 4 == pytest.approx(found.phi2, rel=1e-7)
    d_coupling = (
        exact.phi4(shape, m2, coupling + h).log_z - exact.phi4(shape, m2, coupling - h).log_z
    ) / (2 * h)
    assert -d_coupling / 4 == pytest.approx(found.phi4, rel=1e-7)


def test_quadrature_is_exact_for_polynomials():
    """Gaussian moments, and those of the quartic weight by their gamma functions."""
    node, log_weight = _site_quadrature(2.0, 0.0, 6)
    weight = np.exp(log_weight)
    assert weight.sum() == pytest.approx(np.sqrt(np.pi / 2), rel=1e-13)
    assert weight @ node**10 == pytest.approx(945 * 0.25**5 * np.sqrt(np.pi / 2), rel=1e-12)
    node, log_weight = _site_quadrature(0.0, 8.0, 6)
    for power in (0, 2, 4, 10):
        expected = gamma((power + 1) / 4) / (2 * 8.0 ** ((power + 1) / 4))
        assert np.exp(log_weight) @ node**power == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.7, 2.0])
def test_xy_chain(beta):
    """Z = sum_n I_n(beta)^N on a periodic chain of N sites."""
    found = exact.xy((5,), beta)
    n = np.arange(-30, 31)
    ratio = ive(np.abs(n), beta) / ive(0, beta)
    assert found.log_z == pytest.approx(5 * np.log(i0(beta)) + np.log(np.sum(ratio**5)))
    up = ive(np.abs(n + 1), beta) / ive(0, beta)
    assert found.correlator[2] == pytest.approx(
        np.sum(ratio**3 * up**2) / np.sum(ratio**5), abs=1e-12
    )
    slope = np.sum(ratio**4 * 0.5 * (up + ive(np.abs(n - 1), beta) / ive(0, beta)))
    assert found.energy == pytest.approx(slope / np.sum(ratio**5), abs=1e-9)


def test_xy_at_strong_coupling():
    """A plane: cos = beta/2 + O(beta^3), the first order of I_1/I_0."""
    found = exact.xy((2, 3), 0.02, n_nodes=12)
    # Length 2 doubles its links, whose first order is then twice as large.
    single, double = i1(0.02) / i0(0.02), i1(0.04) / i0(0.04)
    # Next-order paths, two steps long and around the length of 3, are of relative order beta.
    assert found.energy == pytest.approx((single + double) / 2, rel=2e-2)
    assert found.chi == pytest.approx(1 + 2 * single + double, rel=2e-2)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: exact.free_scalar((4, 4), 0.0), "mass_squared"),
        (lambda: exact.phi4((4, 4), 1.0, -1.0), "coupling"),
        (lambda: exact.phi4((4, 4), -1.0, 0.0), "coupling"),
        (lambda: exact.phi4((8, 8), -4.0, 8.0), "shape"),
        (lambda: exact.phi4((4, 1), -4.0, 8.0), "shape"),
        (lambda: exact.phi4((2, 2), -4.0, 8.0, n_nodes=1), "n_nodes"),
        (lambda: exact.xy((2, 2), float("nan")), "beta"),
    ],
)
def test_bad_input_is_named(call, argument):
    with pytest.raises(ConfigError, match=f"Argument `{argument}` must"):
        call()


NO_NUMBER = (math.nan, math.inf, "1", None, (1.0,))


@pytest.mark.parametrize(
    ("call", "argument", "values"),
    [
        (lambda x: exact.free_scalar((4, 4), x), "mass_squared", (0.0, -1.0, *NO_NUMBER)),
        (lambda x: exact.phi4((2, 2), x, 1.0), "mass_squared", NO_NUMBER),
        (lambda x: exact.phi4((2, 2), 1.0, x), "coupling", (-1.0, *NO_NUMBER)),
        (lambda x: exact.xy((2, 2), x), "beta", (-1.0, *NO_NUMBER)),
        (lambda x: exact.xy((2, 2), 1.0, n_nodes=x), "n_nodes", (1, 4.0, *NO_NUMBER)),
    ],
)
def test_what_is_no_number_is_named(call, argument, values, without_shape_checks):
    for value in values:
        with pytest.raises(ConfigError, match=f"^Argument `{argument}` must .*[.]$"):
            call(value)
