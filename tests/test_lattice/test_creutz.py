"""Creutz ratios against the exact loops of two dimensions, and their errors."""

import jax
import numpy as np
import pytest

from diffhep.core.derived import gamma_method_of
from diffhep.core.errors import ShapeError
from diffhep_lattice import creutz_ratios, exact

pytestmark = pytest.mark.instant


def test_area_law_of_two_dimensions_is_the_logarithm_of_the_plaquette():
    """In a large volume every ratio is the string tension; perimeter factors drop out."""
    areas = np.outer(np.arange(1, 5), np.arange(1, 4))
    volume, beta = 64**2, 2.0
    loops = np.vectorize(lambda area: exact.u1_wilson_loop(beta, volume, int(area)))(areas)
    perimeter = 0.7 ** np.add.outer(np.arange(1, 5), np.arange(1, 4))
    tension = -np.log(exact.u1_plaquette(beta, volume))
    ratios = creutz_ratios(loops * perimeter)
    assert ratios.shape == (3, 2)
    np.testing.assert_allclose(ratios, tension, rtol=1e-10)


def test_error_is_that_of_the_spread_over_repetitions(key):
    """Two hundred repetitions with independent noise know their spread to 5 %: four of these."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    loops = np.array([0.7, 0.49, 0.49, 0.24])
    found = [
        gamma_method_of(
            lambda W: creutz_ratios(W.reshape(2, 2))[0, 0],
            loops + 0.05 * rng.standard_normal((400, 4)),
        )
        for _ in range(200)
    ]
    values, errors = np.array([(result.mean, result.error) for result in found]).T
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.2)


def test_a_loop_lost_in_noise_gives_nan_and_a_row_is_refused():
    assert np.isnan(creutz_ratios(np.array([[0.5, 0.2], [0.2, -0.01]]))).all()
    with pytest.raises(ShapeError, match="`loops` must be a table of at least 2 by 2"):
        creutz_ratios(np.ones((1, 3)))
