"""Every estimator's gradient against exact ones, and its error against its scatter."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError
from diffhep.detector import (
    AbstractScoredObjective,
    Branching,
    CommonRandomNumbers,
    Design,
    ExtrapolationWarning,
    GumbelSoftmax,
    Hybrid,
    MomentRegression,
    Parameter,
    Pathwise,
    ScoreFunction,
    SurrogateGradient,
    decide,
)
from diffhep.detector.surrogates import Ensemble

pytestmark = pytest.mark.fast

CENTRE, SPREAD = 0.5, 1.3
N = 4000


def _square(design, key):
    """(x - c)^2 of a normal x with mean mu: the derivative is 2 (mu - c)."""
    return (design["mu"] + SPREAD * jax.random.normal(key) - CENTRE) ** 2


class _Scored(AbstractScoredObjective):
    """The same, by its density."""

    def draw(self, design, key):
        return design["mu"] + SPREAD * jax.random.normal(key)

    def log_prob(self, design, outcome):
        return -0.5 * ((outcome - design["mu"]) / SPREAD) ** 2

    def value(self, design, outcome):
        del design
        return (outcome - CENTRE) ** 2


NORMAL = {
    "pathwise": Pathwise(_square, N),
    "score_function": ScoreFunction(_Scored(), N),
    "common_random_numbers": CommonRandomNumbers(_square, 0.1, N),
    "hybrid": Hybrid(Pathwise(_square), ScoreFunction(_Scored()), N),
}

MU = 2.0


@pytest.mark.parametrize("name", NORMAL)
def test_gradients_of_a_normal_expectation_are_exact(name, key):
    found = eqx.filter_jit(NORMAL[name])(Design(mu=Parameter(MU, "mm")), key=key)
    exact, error = 2 * (MU - CENTRE), float(found.standard_error["mu"])
    assert abs(float(found.gradient["mu"]) - exact) < 4.5 * error
    value = (MU - CENTRE) ** 2 + SPREAD**2
    assert abs(float(found.value) - value) < 4.5 * float(found.value_error)


def test_a_surrogate_has_the_slope_of_its_simulator_and_the_error_of_its_events(key):
    """Means on a line of slope 3: its error by least squares is sigma / (sqrt(N) sd(a))."""
    rng, n, sd = np.random.default_rng(3), 900, 0.5
    a = rng.uniform(1.0, 3.0, n)
    events = (3.0 * a + sd * rng.normal(size=n))[:, None]
    ensemble = Ensemble(member=MomentRegression(), n_members=16)
    estimator = SurrogateGradient(ensemble.fit(a[:, None], events, key=key), n_draws=200)
    design = Design(a=Parameter(2.2, "mm"))
    found = estimator(design, key=key)
    error = float(found.standard_error["a"])
    assert abs(float(found.gradient["a"]) - 3.0) < 4.5 * error
    assert abs(float(found.value) - 6.6) < 4.5 * float(found.value_error)
    expected = sd / (np.sqrt(n) * a.std())
    assert abs(np.log(error / expected)) < 4.5 / np.sqrt(2.0 * 15)  # of sixteen members
    assert found.n_simulations == 0
    with pytest.raises(ConfigError, match="Ensemble is not fitted"):
        SurrogateGradient(ensemble)(design, key=key)
    with pytest.warns(ExtrapolationWarning, match="times the largest distance"):
        estimator(Design(a=Parameter(9.0, "mm")), key=key)


def test_variances_are_the_known_ones(key):
    d, s = MU - CENTRE, SPREAD
    design = Design(mu=Parameter(MU))

    def variance(name: str) -> float:
        found = eqx.filter_jit(NORMAL[name])(design, key=key)
        return N * float(found.standard_error["mu"]) ** 2

    assert variance("pathwise") == pytest.approx(4 * s**2, rel=0.1)
    # With the baseline E[f]: f - b = 2 d e + e^2 - s^2 for x = mu + e, times the score e / s^2.
    exact = 8 * d**2 + 10 * s**2
    assert variance("score_function") == pytest.approx(exact, rel=0.25)
    assert variance("hybrid") < variance("pathwise")


GENERATIONS = 4


def _branching(design, key, forced):
    """Particles after K generations in which each splits with probability p."""
    p = design["p"]
    uniform = jax.random.uniform(key, (2**GENERATIONS - 1,))
    alive, used, probabilities = jnp.zeros(2**GENERATIONS).at[0].set(1.0), 0, []
    for generation in range(GENERATIONS):
        n = 2**generation
        probability = p * alive[:n]
        split = decide(probability, uniform[used : used + n], forced[used : used + n])
        alive = alive.at[n : 2 * n].set(split * alive[:n])
        probabilities.append(probability)
        used += n
    return jnp.sum(alive), jnp.concatenate(probabilities)


@pytest.mark.parametrize("n_forced", [None, 3])
def test_branching_sees_the_probabilities_that_a_pathwise_gradient_misses(n_forced, key):
    design = Design(p=Parameter(0.6, "", 0.0, 1.0))
    estimator = Branching(_branching, 2**GENERATIONS - 1, n_forced, 2000)
    found = eqx.filter_jit(estimator)(design, key=key)
    exact = GENERATIONS * 1.6 ** (GENERATIONS - 1)
    assert abs(float(found.gradient["p"]) - exact) < 4.5 * float(found.standard_error["p"])
    assert abs(float(found.value) - 1.6**GENERATIONS) < 4.5 * float(found.value_error)
    none = jax.grad(lambda d: _branching(d, key, -jnp.ones(15))[0])(design)
    assert float(none["p"]) == 0.0


@pytest.mark.parametrize("hard", [False, True])
def test_choices_are_relaxed_towards_the_exact_gradient(hard, key):
    worth = jnp.array([1.0, 2.0, 4.0])
    design = Design(logits=Parameter([0.0, 0.5, -0.5]))

    def value(design, key, weights):
        del design, key
        return weights @ worth

    found = eqx.filter_jit(GumbelSoftmax(value, "logits", 0.5, hard, 8000))(design, key=key)
    exact = jax.grad(lambda d: jax.nn.softmax(d["logits"]) @ worth)(design)
    # Biased by the temperature: the direction is right, and hard values are those of real options.
    cosine = jnp.sum(found.gradient["logits"] * exact["logits"]) / (
        jnp.linalg.norm(found.gradient["logits"]) * jnp.linalg.norm(exact["logits"])
    )
    assert float(cosine) > 0.97
    if hard:
        mean = float(jax.nn.softmax(design["logits"]) @ worth)
        assert abs(float(found.value) - mean) < 4.5 * float(found.value_error)


def test_the_same_key_gives_the_same_numbers_at_another_design(key):
    one = NORMAL["common_random_numbers"].contributions(
        Design(mu=Parameter(MU)), jax.random.split(key, 4)
    )
    noise = jax.vmap(jax.random.normal)(jax.random.split(key, 4))
    np.testing.assert_allclose(one.value, (MU + SPREAD * noise - CENTRE) ** 2, rtol=1e-12)


def test_wrong_settings_are_refused(key):
    with pytest.raises(ConfigError, match=r"`n_samples` must .* 2"):
        Pathwise(_square, 1)(Design(mu=Parameter(MU)), key=key)
    with pytest.raises(ConfigError, match=r"`step` must be positive"):
        CommonRandomNumbers(_square, 0.0)
    with pytest.raises(ConfigError, match=r"`n_samples` must be even and at least 8"):
        Hybrid(Pathwise(_square), Pathwise(_square), 7)
