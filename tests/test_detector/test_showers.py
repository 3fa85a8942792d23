"""The parametrised shower: its laws against integrals, its draws against the laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.citations import citation
from diffhep.core.errors import ConfigError
from diffhep.detector import Beam, Design, Parameter, materials, particles
from diffhep.detector.calorimeter import GflashCalorimeter, energy_in_layers, log_gamma
from diffhep.detector.showers import (
    GflashParameters,
    RadialLaw,
    fit_parameters,
    homogeneous_medium,
    radial_cdf,
    sample_radius,
    sampling_medium,
    shower_law,
    visible_fraction,
)
from diffhep.detector.showers.fitting import ShowerSample, predict
from diffhep.detector.showers.profiles import (
    ShowerShape,
    longitudinal_cdf,
    sampling_term,
    warp_density,
)

pytestmark = pytest.mark.fast

LEAD, PLASTIC, CRYSTAL = (materials.get(name) for name in ("Pb", "polystyrene", "PbWO4"))
STACK = GflashCalorimeter(LEAD, PLASTIC, 10, spots_per_layer=128)
DESIGN = Design(
    absorber_mm=Parameter(10.0, "mm", 0.5, 20.0), gap_mm=Parameter(5.0, "mm", 0.5, 20.0)
)


def beam(n_events, energy_MeV=2000.0, particle="e-"):
    return Beam(particles.get(particle), energy_MeV, n_events)


def test_medium_by_hand():
    medium = sampling_medium(LEAD, PLASTIC, 2.0, 5.0)
    mass = np.array([2.0 * LEAD.density, 5.0 * PLASTIC.density])
    x0 = np.array([LEAD.radiation_length_g_cm2, PLASTIC.radiation_length_g_cm2])
    in_x0 = 0.1 * mass / x0
    assert float(medium.layer_x0) == pytest.approx(in_x0.sum())
    assert float(medium.x0_mm) == pytest.approx(7.0 / in_x0.sum())
    # Lead alone, 7.36 MeV by the formula of the parametrisation.
    assert float(homogeneous_medium(LEAD).critical_MeV) == pytest.approx(7.36, abs=0.02)
    assert float(medium.e_mip) == pytest.approx(1.0 / (1.0 + 0.007 * (82.0 - PLASTIC.z)))


def test_response_depends_on_the_layer():
    medium = sampling_medium(LEAD, PLASTIC, 2.0, 5.0)
    parameters = GflashParameters(response=[1.2, -0.4])
    factor = 1.2 - 0.4 * float(medium.layer_x0)
    seen = float(visible_fraction(parameters, medium))
    assert seen == pytest.approx(factor * float(medium.visible))
    assert float(visible_fraction(GflashParameters(), medium)) == float(medium.visible)
    # Without gaps all is seen, whatever the response to gaps.
    assert float(visible_fraction(parameters, homogeneous_medium(LEAD))) == 1.0


def test_law_has_the_published_values():
    law = shower_law(GflashParameters(), homogeneous_medium(LEAD), 7361.0)
    log_y = float(jnp.log(7361.0 / homogeneous_medium(LEAD).critical_MeV))
    assert float(jnp.exp(law.position)) == pytest.approx(log_y - 0.812)
    assert float(jnp.exp(law.shape)) == pytest.approx(0.81 + (0.458 + 2.26 / 82.0) * log_y)
    assert float(law.position_width) == pytest.approx(1.0 / (-1.4 + 1.26 * log_y))
    assert float(law.correlation) == pytest.approx(0.705 - 0.023 * log_y)


def test_profile_is_the_integral_of_its_density():
    warp = jnp.array([0.1, -0.2, 0.15, 0.05])
    depth = jnp.linspace(0.0, 30.0, 3001)
    plain = ShowerShape(jnp.asarray(4.0), jnp.asarray(0.5), jnp.zeros(4))
    u = longitudinal_cdf(plain, depth)
    # The third-order gamma law in closed form.
    x = 0.5 * depth
    closed = 1.0 - jnp.exp(-x) * (1.0 + x + x**2 / 2 + x**3 / 6)
    np.testing.assert_allclose(u, closed, atol=1e-10)
    warped = longitudinal_cdf(plain._replace(warp=warp), depth)
    middle = 0.5 * (u[1:] + u[:-1])
    np.testing.assert_allclose(
        jnp.diff(warped), jnp.diff(u) * warp_density(warp, middle), atol=1e-8
    )


def test_radii_follow_their_law(key):
    law = RadialLaw(*(jnp.full(4000, value) for value in (0.2, 0.9, 0.6)))
    drawn = jnp.sort(sample_radius(law, key=key))
    one = RadialLaw(*(jnp.asarray(value) for value in (0.2, 0.9, 0.6)))
    rank = (jnp.arange(4000) + 0.5) / 4000
    # Kolmogorov-Smirnov at a false-alarm rate of 1e-5.
    assert float(jnp.abs(radial_cdf(one, drawn) - rank).max()) < 2.47 / np.sqrt(4000)


def test_draws_agree_with_quadrature(key):
    energy = STACK.sample_energy(DESIGN, beam(500), key=key)
    for drawn, exact in zip(energy, STACK.mean_energy(DESIGN, 2000.0), strict=True):
        error = drawn.std(axis=0) / np.sqrt(500)
        # 10 layers: a false alarm in 4e4, were the seed not fixed.
        assert float(jnp.abs((drawn.mean(axis=0) - exact) / error).max()) < 4.7
    # Fluctuations of the gaps are those that are asked for; a width of 500 has an error of 3.2 %.
    visible, deposit = (part.sum(axis=1) for part in (energy.visible_MeV, energy.deposit_MeV))
    leak = float(deposit.std() / deposit.mean())
    c = sampling_term(STACK.parameters, STACK.medium(DESIGN), LEAD.critical_energy_MeV)
    expected = float(jnp.sqrt(c**2 / (1e-3 * deposit.mean()) + leak**2))
    assert float(visible.std() / visible.mean()) == pytest.approx(expected, rel=4.7 * 0.032)


@pytest.mark.slow
def test_draws_pass_their_derivative(key):
    electrons = beam(500)

    @jax.jit
    def seen(absorber_mm):
        design = Design(absorber_mm=Parameter(absorber_mm, "mm"), gap_mm=Parameter(5.0, "mm"))
        return STACK.sample_energy(design, electrons, key=key).visible_MeV[:, :3].mean()

    @jax.jit
    def mean(absorber_mm):
        design = Design(absorber_mm=Parameter(absorber_mm, "mm"), gap_mm=Parameter(5.0, "mm"))
        return STACK.mean_energy(design, 2000.0).visible_MeV[:3].mean()

    # The derivative along the path is that of the same draws, and near that of the mean.
    at, step = jnp.asarray(10.0), 1e-4
    slope = float(jax.grad(seen)(at))
    assert slope == pytest.approx(float(seen(at + step) - seen(at - step)) / (2 * step), rel=1e-3)
    assert slope == pytest.approx(float(jax.grad(mean)(at)), rel=0.15)


def test_hits_carry_the_energy_of_the_layers(key):
    hits = STACK.simulate(DESIGN, beam(3), key=key)
    by_layer = hits.layer_energy(STACK.n_layers)
    edges = STACK.edges_mm(DESIGN)
    np.testing.assert_allclose(energy_in_layers(hits, edges), by_layer, atol=1e-9)
    soft = energy_in_layers(hits, edges, softness_mm=1e-5)
    np.testing.assert_allclose(soft, by_layer, atol=1e-3 * float(by_layer.max()))
    wide = jax.grad(lambda e: energy_in_layers(hits, e, softness_mm=1.0)[:, 3].sum())(edges)
    assert float(wide[3]) < 0.0 < float(wide[4])
    assert not bool(hits.any_overflow())
    assert bool(jnp.all(hits.energy_MeV[~hits.alive] == 0.0))
    small = GflashCalorimeter(LEAD, PLASTIC, 10, spots_per_layer=2).simulate(
        DESIGN, beam(3), key=key
    )
    assert bool(jnp.all(small.overflow))
    # Nothing is lost by an overflow but detail.
    np.testing.assert_allclose(small.layer_energy(10), by_layer, rtol=1e-9)


@pytest.mark.slow
def test_fit_finds_the_parameters_of_its_data():
    medium = homogeneous_medium(CRYSTAL)
    truth = GflashParameters(position=[-0.7], warp=[0.0, 0.1, 0.0, 0.0])
    edges, radius = jnp.linspace(0.0, 22.0, 12), jnp.linspace(0.1, 4.0, 6)
    blank = ShowerSample(
        medium,
        jnp.asarray(2000.0),
        jnp.asarray(9.6),
        edges,
        *(jnp.full(11, value) for value in (0.0, 1e-4, 0.0, 1e-3)),
        radius,
        *(jnp.full(6, value) for value in (0.0, 1e-3)),
    )
    said = predict(truth, blank)
    sample = blank._replace(share=said.share, spread=said.spread, inside=said.inside)
    fit = fit_parameters([sample], max_steps=12)
    assert float(fit.chi_squared) < 1.0
    assert fit.n_data == 28
    # A measured energy is one number more; without gaps it is what the profile leaves.
    assert float(said.visible) == float(said.deposit) < 1.0
    again = predict(fit.parameters, sample)
    np.testing.assert_allclose(again.share, said.share, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sampling_medium(LEAD, PLASTIC, -1.0, 5.0), "`absorber_mm` must be positive"),
        (
            lambda: STACK.mean_energy(DESIGN, 20.0),
            r"`energy_MeV` must lie in the range .* MeV, but",
        ),
        (lambda: STACK.simulate(DESIGN, beam(1, 2e7), key=jax.random.key(0)), "law here, "),
        (
            lambda: STACK.simulate(DESIGN, beam(1, particle="mu-"), key=jax.random.key(0)),
            "`beam.particle` must be an electron or a positron, but it is 'mu-'",
        ),
        (lambda: GflashCalorimeter(LEAD, PLASTIC, 0), "`n_layers` must be an integer"),
        (lambda: fit_parameters([]), "`samples` must hold at least one"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_citations():
    for one in (GflashCalorimeter, GflashParameters, fit_parameters):
        assert "grindhammer2000" in citation(one)
    assert "amaldi1981" in citation(sampling_term)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gamma_variates_and_their_slopes_are_jax_s(dtype, key):
    shape = jnp.geomspace(1e-3, 60.0, 24, dtype=dtype)

    def both(draw):
        return jax.jit(jax.value_and_grad(lambda a: jnp.sum(jnp.cos(draw(a)))))(shape)

    ours, jax_s = both(lambda a: log_gamma(a, key=key)), both(lambda a: jax.random.loggamma(key, a))
    np.testing.assert_array_equal(ours[0], jax_s[0])
    assert ours[1].dtype == dtype
    np.testing.assert_allclose(ours[1], jax_s[1], rtol=1e-9 if dtype == jnp.float64 else 1e-5)
    assert np.all(np.abs(ours[1]) > 0.0)
