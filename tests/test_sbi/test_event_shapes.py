"""Event shapes against PYTHIA's own and against events whose shapes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep_sbi.event_shapes import event_shapes
from diffhep_sbi.io.particles import EVENT_SHAPES, featurise
from diffhep_sbi.io.pythia_process import Job, start
from tests.systems.pythia import HADRONS

pytestmark = pytest.mark.instant

pytest.importorskip("pythia8mc", reason="the extra pythia is not installed")

N_EVENTS = 200
shapes_of = jax.jit(event_shapes)


def massless(momenta):
    momenta = jnp.asarray(momenta, float)
    return jnp.concatenate([momenta, jnp.linalg.norm(momenta, axis=1, keepdims=True)], axis=1)


@pytest.fixture(scope="module")
def events():
    """Features of hadronic events, and what PYTHIA's classes say of the same events."""
    import pythia8mc

    pythia = start(Job(HADRONS, (), N_EVENTS, 1))
    of_thrust = pythia8mc.Thrust(2)
    linear, quadratic = pythia8mc.Sphericity(1.0, 2), pythia8mc.Sphericity(2.0, 2)
    particles, rows = [], []
    for _ in range(N_EVENTS):
        assert pythia.next()
        table = np.array(
            [
                (p.id(), p.charge(), p.px(), p.py(), p.pz(), p.e())
                for p in pythia.event
                if p.isFinal()
            ]
        )
        particles.append((table[:, 0].astype(int), table[:, 1], table[:, 2:]))
        for shape in (of_thrust, linear, quadratic):
            assert shape.analyze(pythia.event)
        first, second, third = (linear.eigenValue(i) for i in (1, 2, 3))
        n_charged = int(np.sum(table[:, 1] != 0))
        rows.append(
            (
                1.0 - of_thrust.thrust(),
                3.0 * (first * second + second * third + third * first),
                27.0 * first * second * third,
                quadratic.sphericity(),
                quadratic.aplanarity(),
                n_charged,
            )
        )
    return featurise(particles, EVENT_SHAPES), np.array(rows)


def test_shapes_are_those_of_pythia(events):
    found, expected = events
    columns = [EVENT_SHAPES.names.index(name) for name in ("1-T", "C", "D", "S", "A", "N_ch")]
    assert np.abs(found[:, columns] - expected).max() < 1e-10


def test_hemispheres_share_the_event(events):
    found, _ = events
    by_name = dict(zip(EVENT_SHAPES.names, found.T, strict=True))
    assert np.all(by_name["M_L^2"] >= -1e-12)
    assert np.all(by_name["M_L^2"] <= by_name["M_H^2"])
    assert np.all(by_name["B_W"] <= by_name["B_T"])
    assert np.all(by_name["B_T"] <= 2.0 * by_name["B_W"] + 1e-12)
    assert np.all(by_name["leading x_p"] < 1.1)


def test_pencils_and_a_symmetric_star():
    pencil = shapes_of(massless([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert np.abs(np.array(pencil)).max() < 1e-12
    angles = 2.0 * np.pi * np.arange(3) / 3.0
    star = shapes_of(massless(np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)))
    # Three equal momenta at 120 degrees: T = 2/3, C = 3/4, S = 3/4, planar.
    assert float(star.one_minus_thrust) == pytest.approx(1.0 / 3.0, abs=1e-12)
    assert float(star.c_parameter) == pytest.approx(0.75, abs=1e-12)
    assert float(star.sphericity) == pytest.approx(0.75, abs=1e-12)
    assert abs(float(star.d_parameter)) < 1e-12


def test_padding_counts_for_nothing(key):
    momenta = np.asarray(massless(jax.random.normal(key, (3, 3))))
    padded = np.concatenate([momenta, np.zeros((5, 4))])
    for one, other in zip(shapes_of(momenta), shapes_of(padded), strict=True):
        assert float(one) == pytest.approx(float(other), abs=1e-12)


def test_nothing_is_finite():
    assert np.all(np.isfinite(np.array(shapes_of(np.zeros((3, 4))))))
