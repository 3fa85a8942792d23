"""PYTHIA as a source of gold: what its weights are, seeds, the cache, and bad input."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.errors import ConfigError, DataError, ShapeError
from diffhep_sbi.gold import check_gold
from diffhep_sbi.io import EVENT_SHAPES, MUON_COSINE, Features, PythiaSimulator
from diffhep_sbi.io.table import require_finite_weights
from tests.systems.pythia import HADRONS

pytestmark = pytest.mark.fast

pytest.importorskip("pythia8mc", reason="the extra pythia is not installed")


def count_and_energy(particles):
    """Quick to compile, unlike the shapes of an event."""
    return jnp.stack([jnp.sum(particles.charge != 0.0), jnp.max(particles.four_momentum_GeV[:, 3])])


SHOWER = PythiaSimulator(
    HADRONS, ("fsr:muRfac",), Features(("number", "largest energy"), count_and_energy)
)
MUONS = PythiaSimulator((*HADRONS[:5], "23:onMode = off", "23:onIfAny = 13"), (), MUON_COSINE)


@pytest.fixture(scope="module")
def mined():
    points = [[0.9], [1.1]]
    return SHOWER.mine(points, [1.0], n_events=300, n_copies=2, steps=[0.01], key=jax.random.key(1))


def test_weights_are_normalised_and_scores_have_mean_zero(mined):
    check_gold(mined)
    weight, first = np.asarray(mined.weight), np.asarray(mined.label) == 0
    assert mined.n_events == 1200
    assert np.array_equal(np.log(weight[first]), np.asarray(mined.log_ratio)[first])
    assert np.all(weight[~first] == 1.0)
    for point in (0.9, 1.1):
        rows = first & (np.asarray(mined.theta0)[:, 0] == point)
        at_point = weight[rows]
        # 4.5 standard errors: 7e-6 false alarms, and the seed is fixed.
        assert abs(at_point.mean() - 1.0) < 4.5 * at_point.std() / np.sqrt(at_point.size)
        score = at_point * np.asarray(mined.score)[rows, 0]
        assert abs(score.mean()) < 4.5 * score.std() / np.sqrt(score.size)


def test_score_is_the_slope_of_the_log_ratio(key):
    """Shower weights are smooth: central differences over 0.02 and over 0.002 agree."""
    points = np.array([1.0, 1.01, 0.99, 1.001, 0.999])[:, None]
    weights = SHOWER.table([1.0], points, n_events=20, key=key).weights
    wide, narrow = ((weights[:, i] - weights[:, i + 1]) / h for i, h in ((1, 0.02), (3, 0.002)))
    # Parameters are told to six digits: 1e-6 / 0.002 relative, and h^2 of the third derivative.
    assert np.abs(wide - narrow).max() < 0.02 * np.abs(narrow).max()
    assert np.abs(weights[:, 0] - 1.0).max() < 1e-12


def test_seeds_follow_from_the_key_and_cache_gives_the_same(tmp_path, capsys):
    def table(simulator, seed):
        return simulator.table([1.0], [[1.1]], n_events=5, key=jax.random.key(seed))

    kept = SHOWER._replace(cache=tmp_path)
    first, again, other = table(kept, 1), table(SHOWER, 1), table(SHOWER, 2)
    assert np.array_equal(first.x, again.x)
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(first.x, other.x)
    (file,) = tmp_path.glob("*.ckpt")
    cached = table(kept, 1)
    assert np.array_equal(cached.x, first.x)
    assert np.array_equal(cached.weights, first.weights)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="checksum"):
        table(kept, 1)


def test_parameters_of_shower_and_string_multiply():
    both = SHOWER._replace(parameters=("fsr:muRfac", "frag:aLund", "frag:bLund"))
    points = [[1.1, 0.74, 0.98], [1.1, 0.68, 0.98], [1.0, 0.74, 0.98], [1.0, 0.68, 0.98]]
    found = both.table(both.start, points, n_events=10, key=jax.random.key(3)).weights
    assert np.allclose(found[:, 0], found[:, 1] * found[:, 2], rtol=1e-12)
    assert np.array_equal(found[:, 3], np.ones(10))
    assert np.all(found[:, 2] != 1.0)


def test_labels_alone_come_from_runs_of_their_own():
    gold = SHOWER.draw([[0.9], [1.1]], [1.0], n_events=20, key=jax.random.key(4))
    check_gold(gold)
    assert gold.log_ratio is None
    assert gold.n_events == 20
    assert np.unique(np.asarray(gold.event_id)).size == 20
    assert not np.array_equal(np.asarray(gold.x[:5]), np.asarray(gold.x[5:10]))


def test_muon_angles():
    cosine = MUONS.table([], n_events=50, key=jax.random.key(5)).x
    assert cosine.shape == (50, 1)
    assert np.all(np.abs(cosine) < 1.0)
    with pytest.raises(DataError, match="must be finite"):
        MUONS._replace(settings=HADRONS).table([], n_events=3, key=jax.random.key(5))


def test_bad_input(key, monkeypatch):
    with pytest.raises(ConfigError, match="does not know 'Nonsense:on = 1'"):
        SHOWER._replace(settings=(*HADRONS, "Nonsense:on = 1")).table([1.0], n_events=1, key=key)
    with pytest.raises(ConfigError, match="fsr:muRfac, fsr:cNS, frag:aLund"):
        SHOWER._replace(parameters=("frag:cLund",)).table([1.0], n_events=1, key=key)
    with pytest.raises(ShapeError, match="1 parameters in its last of 2 axes"):
        SHOWER.table([1.0], [1.1], n_events=1, key=key)
    with pytest.raises(ConfigError, match="leave fsr:muRfac to theta"):
        SHOWER._replace(settings=(*HADRONS, "TimeShower:renormMultFac = 2")).table(
            [1.0], n_events=1, key=key
        )
    with pytest.raises(ConfigError, match="which no setting changes"):
        SHOWER._replace(parameters=("fsr:cNS",)).table([2.0], n_events=1, key=key)
    with pytest.raises(ConfigError, match="at most the 1 points"):
        SHOWER.mine([[1.1]], [1.0], n_events=1, key=key)
    with pytest.raises(DataError, match=r"PYTHIA: event 1 has weight 'b' = nan; 1 of 2 events"):
        require_finite_weights(np.array([[1.0, 1.0], [1.0, np.nan]]), ("a", "b"), "PYTHIA")
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(ConfigError, match=r"pip install --only-binary :all: pythia8mc==8\.317\.2"):
        SHOWER.table([1.0], n_events=1, key=key)


def test_weights_can_be_negative_and_then_there_is_no_joint_ratio():
    simulator = SHOWER._replace(
        settings=(*HADRONS, "UncertaintyBands:overSampleFSR = 1"), parameters=("fsr:cNS",)
    )
    gold = simulator.mine([[-2.0]], [0.0], n_events=300, n_copies=1, key=jax.random.key(6))
    assert gold.log_ratio is None
    assert float(gold.weight.min()) < 0.0
    check_gold(gold)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "start", "point"),
    [
        (("fsr:muRfac",), [1.0], [0.85]),
        (("fsr:muRfac",), [1.0], [1.15]),
        (("frag:aLund", "frag:bLund"), [0.68, 0.98], [0.74, 0.92]),
        (("frag:aLund", "frag:bLund"), [0.68, 0.98], [0.62, 1.04]),
    ],
)
def test_weighted_events_are_those_of_a_run_at_the_point(parameters, start, point, key):
    """Means of all features; 4.5 standard errors in 13 of them are 1e-4 false alarms."""
    simulator = SHOWER._replace(parameters=parameters, features=EVENT_SHAPES, n_processes=2)
    weighted = simulator.table(start, [point], n_events=20_000, key=key)
    direct = simulator.table(point, n_events=20_000, key=jax.random.fold_in(key, 1)).x
    rows = weighted.weights * weighted.x
    error = np.sqrt((rows.var(axis=0) + direct.var(axis=0)) / len(direct))
    assert np.abs((rows.mean(axis=0) - direct.mean(axis=0)) / error).max() < 4.5
