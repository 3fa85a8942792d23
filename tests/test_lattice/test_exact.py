"""The exact module against every value of the tables, direct quadrature and identities."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.special import iv, roots_legendre

from diffhep.core.errors import ConfigError
from diffhep_lattice import exact

pytestmark = pytest.mark.instant

_TABLES = json.loads(
    (Path(__file__).parent.parent / "systems" / "gauge_2d.json").read_text(encoding="utf-8")
)


def as_printed(value, text):
    """`value` with as many decimals as `text` has."""
    return f"{value:.{len(text.partition('.')[2])}f}"


@pytest.mark.parametrize("row", _TABLES["u1"], ids=lambda row: f"L{row[0]}-beta{row[1]}")
def test_u1_table_is_reproduced_to_every_digit(row):
    length, beta, *expected = row
    volume = length**2
    charge_squared = exact.u1_charge_squared(beta, volume)
    values = [
        exact.u1_plaquette(beta, volume),
        exact.u1_wilson_loop(beta, volume, 4),
        exact.u1_wilson_loop(beta, volume, 9),
        charge_squared,
        charge_squared / volume,
    ]
    assert [as_printed(v, t) for v, t in zip(values, expected, strict=True)] == expected


@pytest.mark.parametrize("row", _TABLES["sun"], ids=lambda row: f"SU{row[0]}-L{row[1]}-{row[2]}")
def test_sun_table_is_reproduced_to_every_digit(row):
    n, length, beta, *expected = row
    values = [exact.sun_wilson_loop(n, float(beta), length**2, area) for area in (1, 4, 9)]
    assert [as_printed(v, t) for v, t in zip(values, expected, strict=True)] == expected
    assert exact.sun_plaquette(n, float(beta), length**2) == values[0]


@pytest.mark.parametrize("row", _TABLES["u1_charge_distribution"])
def test_charge_distribution_table_is_reproduced_to_every_digit(row):
    length, beta, expected = row
    charge, probability = exact.u1_charge_distribution(beta, length**2)
    for sign in (1, -1):
        values = [probability[charge == sign * q][0] for q in range(len(expected))]
        assert [as_printed(v, t) for v, t in zip(values, expected, strict=True)] == expected


@pytest.mark.parametrize("row", _TABLES["u1_log_partition_per_plaquette"])
def test_log_partition_table_is_reproduced_to_every_digit(row):
    length, beta, expected = row
    value = exact.u1_log_partition(beta, length**2) / length**2
    assert as_printed(value, expected) == expected


@pytest.mark.parametrize("row", _TABLES["u1_smallest_torus"])
def test_smallest_torus_is_reproduced_to_every_digit(row):
    length, beta, expected = row
    assert as_printed(exact.u1_plaquette(beta, length**2), expected) == expected


def two_by_two_torus(beta, n_points=14):
    """Plaquette angles and weights of the 2 x 2 torus, three links gauge-fixed, on a grid."""
    angle = 2 * np.pi * np.arange(n_points) / n_points
    U = np.zeros((2, 2, 2), object)
    free = np.meshgrid(*[angle] * 5, indexing="ij", sparse=True)
    # A maximal tree of three links is zero; the other five are free.
    for (mu, x, t), values in zip(
        [(0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)], free, strict=True
    ):
        U[mu, x, t] = values
    P = [
        U[0, x, t] + U[1, (x + 1) % 2, t] - U[0, x, (t + 1) % 2] - U[1, x, t]
        for x in range(2)
        for t in range(2)
    ]
    weight = np.exp(beta * sum(np.cos(p) for p in P))
    return P, weight


@pytest.mark.parametrize("beta", [0.7, 2.0])
def test_u1_two_by_two_torus_by_direct_quadrature(beta):
    P, weight = two_by_two_torus(beta)
    total = weight.sum()
    assert np.log(total / weight.size) == pytest.approx(exact.u1_log_partition(beta, 4), abs=1e-8)
    for area, loop in ((1, P[0]), (2, P[0] + P[1]), (3, P[0] + P[1] + P[2])):
        for charge in (1, 2):
            value = (weight * np.cos(charge * loop)).sum() / total
            assert value == pytest.approx(exact.u1_wilson_loop(beta, 4, area, charge), abs=1e-7), (
                area,
                charge,
            )


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_u1_charges_of_the_two_by_two_torus_by_convolution(beta):
    """P(Q) is the density of the sum of four plaquettes at 2 pi Q: two convolutions of two."""
    node, weight = roots_legendre(60)

    def piecewise(function, points):
        points = np.unique(points)
        return sum(
            0.5 * (b - a) * np.sum(weight * function(0.5 * (b - a) * node + 0.5 * (a + b)))
            for a, b in pairwise(points)
        )

    def pair(total):
        """Density of the sum of two plaquettes."""
        low, high = max(-np.pi, total - np.pi), min(np.pi, total + np.pi)
        if low >= high:
            return 0.0
        return piecewise(lambda p: np.exp(beta * (np.cos(p) + np.cos(total - p))), [low, high])

    def four(charge):
        flux = 2 * np.pi * charge
        low, high = max(-2 * np.pi, flux - 2 * np.pi), min(2 * np.pi, flux + 2 * np.pi)
        if low >= high:
            return 0.0
        kinks = [p for p in (0.0, flux) if low < p < high]
        return piecewise(
            lambda s: np.array([pair(x) * pair(flux - x) for x in s]), [low, *kinks, high]
        )

    charges = np.arange(-2, 3)
    direct = np.array([four(q) for q in charges])
    direct /= direct.sum()
    charge, probability = exact.u1_charge_distribution(beta, 4)
    for q, value in zip(charges, direct, strict=True):
        assert probability[charge == q][0] == pytest.approx(value, abs=1e-9)
    assert exact.u1_charge_squared(beta, 4) == pytest.approx(np.sum(charges**2 * direct), abs=1e-9)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_su2_one_plaquette_torus_by_direct_quadrature(beta):
    """Half the trace of U V U^-1 V^-1 is 1 - 2 (sin a sin b sin c)^2, c the angle of the axes."""
    node, weight = roots_legendre(60)
    angle, w = 0.5 * np.pi * (node + 1), 0.5 * np.pi * weight
    haar = w * np.sin(angle) ** 2 * 2 / np.pi
    axis = w * np.sin(angle) / 2
    s = np.sin(angle)
    half_trace = 1 - 2 * (s[:, None, None] * s[None, :, None] * s[None, None, :]) ** 2
    measure = haar[:, None, None] * haar[None, :, None] * axis
    density = measure * np.exp(beta * half_trace)
    assert np.log(density.sum()) == pytest.approx(exact.sun_log_partition(2, beta, 1), abs=1e-12)
    assert (density * half_trace).sum() / density.sum() == pytest.approx(
        exact.sun_plaquette(2, beta, 1), abs=1e-12
    )


@pytest.mark.parametrize("beta", [0.5, 6.0, 40.0])
def test_su3_plaquette_of_infinite_volume_by_weyl_integration(beta):
    angle = 2 * np.pi * np.arange(200) / 200
    a, b = angle[:, None], angle[None, :]
    eigenvalues = [np.exp(1j * a), np.exp(1j * b), np.exp(-1j * (a + b))]
    vandermonde = (
        (eigenvalues[0] - eigenvalues[1])
        * (eigenvalues[0] - eigenvalues[2])
        * (eigenvalues[1] - eigenvalues[2])
    )
    trace = sum(eigenvalues).real / 3
    density = np.abs(vandermonde) ** 2 * np.exp(beta * (trace - 1))
    # In infinite volume only the trivial representation is left, once a_1 / a_0 < 1 is powered up.
    volume = 10**6
    assert exact.sun_plaquette(3, beta, volume) == pytest.approx(
        (density * trace).sum() / density.sum(), abs=1e-11
    )
    free_energy = np.log(density.mean() / 6) + beta
    assert exact.sun_log_partition(3, beta, volume) / volume == pytest.approx(
        free_energy, abs=1e-11
    )


@pytest.mark.parametrize(
    ("log_partition", "plaquette"),
    [
        (exact.u1_log_partition, exact.u1_plaquette),
        (lambda b, v: exact.sun_log_partition(2, b, v), lambda b, v: exact.sun_plaquette(2, b, v)),
        (lambda b, v: exact.sun_log_partition(3, b, v), lambda b, v: exact.sun_plaquette(3, b, v)),
    ],
    ids=["U1", "SU2", "SU3"],
)
@pytest.mark.parametrize(("beta", "volume"), [(0.3, 4), (7.0, 4096), (300.0, 16), (500.0, 65536)])
def test_plaquette_is_the_derivative_of_the_free_energy(log_partition, plaquette, beta, volume):
    h = 1e-3 * beta
    forward = [log_partition(beta + k * h, volume) for k in (-2, -1, 1, 2)]
    slope = (forward[0] - 8 * forward[1] + 8 * forward[2] - forward[3]) / (12 * h * volume)
    assert slope == pytest.approx(plaquette(beta, volume), abs=1e-9)


@pytest.mark.parametrize(("beta", "volume"), [(0.0, 64), (2.0, 64), (7.0, 4096), (400.0, 4096)])
def test_charge_distribution_has_the_moments_of_its_generating_function(beta, volume):
    charge, probability = exact.u1_charge_distribution(beta, volume)
    assert np.sum(probability) == pytest.approx(1.0, abs=1e-13)
    assert np.all(probability >= 0.0)
    np.testing.assert_allclose(probability, probability[::-1], atol=1e-13)
    assert np.sum(charge**2 * probability) == pytest.approx(
        exact.u1_charge_squared(beta, volume), abs=1e-8
    )


def test_free_links_have_the_charge_of_uniform_plaquettes():
    """At beta = 0 the plaquettes are uniform and uncorrelated: each adds 1/12."""
    assert exact.u1_charge_squared(0.0, 64) == pytest.approx(64 / 12, abs=1e-12)
    assert exact.u1_plaquette(0.0, 64) == 0.0
    assert exact.u1_log_partition(0.0, 64) == 0.0


def test_continuum_limit_of_the_susceptibility():
    """chi -> 1 / (4 pi^2 beta) with corrections of order 1 / beta^2."""
    for beta in (50.0, 200.0):
        chi = exact.u1_charge_squared(beta, 256**2) / 256**2
        assert abs(4 * np.pi**2 * beta * chi - 1.0) < 1.0 / beta


def test_wilson_loop_of_the_whole_torus_is_one():
    """The loop around everything bounds nothing."""
    assert exact.u1_wilson_loop(2.0, 16, 16) == pytest.approx(1.0, abs=1e-14)


def test_large_volume_factorises():
    ratio = iv(1, 2.0) / iv(0, 2.0)
    assert exact.u1_wilson_loop(2.0, 10**6, 9) == pytest.approx(ratio**9, rel=1e-12)


NO_BETA = (-1.0, math.nan, math.inf, "1", None, (1.0,), 1j)
NO_COUNT = (0, -4, 4.0, 4.5, math.nan, math.inf, "4", None, (4, 4))


@pytest.mark.parametrize(
    ("call", "name", "values"),
    [
        (lambda x: exact.u1_plaquette(x, 64), "beta", NO_BETA),
        (lambda x: exact.u1_plaquette(1.0, x), "volume", NO_COUNT),
        (lambda x: exact.u1_wilson_loop(1.0, 16, x), "area", (17, *NO_COUNT)),
        (lambda x: exact.u1_wilson_loop(1.0, 16, 4, x), "charge", (0.5, 1.0, math.nan, "1", None)),
        (lambda x: exact.u1_log_partition(x, 64), "beta", NO_BETA),
        (lambda x: exact.u1_charge_squared(1.0, x), "volume", (2, *NO_COUNT)),
        (lambda x: exact.u1_charge_distribution(1.0, x), "volume", (3, *NO_COUNT)),
        (lambda x: exact.sun_plaquette(x, 1.0, 16), "n", (4, *NO_COUNT)),
        (lambda x: exact.sun_plaquette(2, x, 16), "beta", NO_BETA),
        (lambda x: exact.sun_wilson_loop(3, 1.0, 16, x), "area", (17, *NO_COUNT)),
        (lambda x: exact.sun_log_partition(3, 1.0, x), "volume", NO_COUNT),
    ],
)
def test_bad_arguments_are_named_on_one_line(call, name, values, without_shape_checks):
    for value in values:
        with pytest.raises(ConfigError, match=f"^Argument `{name}` must .*[.]$") as caught:
            call(value)
        assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers(without_shape_checks):
    expected = exact.u1_wilson_loop(1.0, 16, 4, 2)
    found = exact.u1_wilson_loop(np.float64(1), np.int32(16), np.int64(4), np.int8(2))
    assert found == exact.u1_wilson_loop(1, 16, 4, -2) == expected
