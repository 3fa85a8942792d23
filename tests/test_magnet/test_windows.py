"""Windows are cut from recordings without mixing them; a forecaster learns from them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffhep.core.checkpoint import Checkpoint
from diffhep.core.errors import ConfigError, DataError
from diffhep.magnet import Play, Recording, cut_windows, fit_forecaster, gru, split_recordings
from diffhep.magnet.forecasters.losses import pinball
from diffhep.magnet.windows import require_alike

pytestmark = pytest.mark.fast


def _recording(name: str, seed: int, n: int = 300) -> Recording:
    rng = np.random.default_rng(seed)
    t = np.arange(n) * 0.02
    phases = np.outer(rng.uniform(1, 8, 4), t) + rng.uniform(0, 6, (4, 1))
    u = rng.normal(size=4) @ np.sin(phases)
    y = np.asarray(Play(0.5)(jnp.asarray(u))[0])
    return Recording(name, 50.0 * u, y, "A", "T", dt_s=0.02, temperature_C=20.0)


RECORDINGS = tuple(_recording(f"run {seed}", seed) for seed in range(5))


def test_windows_hold_the_samples_of_their_recording():
    windows = cut_windows(RECORDINGS, 20, 10, stride=7)
    assert windows.n_windows == 5 * ((300 - 30) // 7 + 1)
    for row in (0, 40, windows.n_windows - 1):
        one = windows.take(jnp.asarray(row))
        source, start = RECORDINGS[int(one.recording)], int(one.start)
        np.testing.assert_array_equal(one.known.u, source.u[start : start + 30])
        np.testing.assert_array_equal(one.known.y, source.y[start : start + 20])
        np.testing.assert_array_equal(one.target, source.y[start + 20 : start + 30])
        assert float(one.known.dt) == 0.02
        assert one.known.covariates.tolist() == [20.0]


def test_whole_recordings_are_held_out(key):
    kept, held_out = split_recordings(RECORDINGS, 0.4, key=key)
    names = [[recording.name for recording in part] for part in (kept, held_out)]
    assert len(names[0]) == 3
    assert len(names[1]) == 2
    assert sorted(names[0] + names[1]) == [recording.name for recording in RECORDINGS]


def test_a_forecaster_learns_a_play_and_is_saved(key, tmp_path):
    windows, held_out = (cut_windows(part, 10, 10) for part in (RECORDINGS[:3], RECORDINGS[3:]))
    model = gru(8, key=key, n_covariates=1)
    fitted = fit_forecaster(
        model, windows, held_out, key=key, n_steps=300, learning_rate=1e-2, progress=False
    )
    predict = eqx.filter_jit(
        lambda model, known: jax.vmap(lambda window: model.predict(window))(known)
    )
    found = predict(fitted.forecaster, held_out.known)
    hold = np.std(held_out.known.y[:, -1:] - held_out.target)
    assert np.std(found.mean - held_out.target) < 0.5 * hold
    # It survives a save, scales included, to the same bits.
    checkpoint = Checkpoint(tmp_path / "forecaster")
    checkpoint.save(fitted.forecaster)
    restored, _ = checkpoint.restore(gru(8, key=jax.random.key(0), n_covariates=1))
    again = predict(restored, held_out.known)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_pinball_loss_is_least_at_the_quantile():
    y = np.random.default_rng(1).exponential(size=4001)
    grid = np.linspace(0.0, 4.0, 801)
    losses = [float(pinball(jnp.full((1, 4001), at), jnp.asarray(y), (0.8,))) for at in grid]
    assert abs(grid[int(np.argmin(losses))] - np.quantile(y, 0.8)) < 0.006


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt_s": 0.01}, r"share `dt_s`, but 'run 0' has 0.02 and 'run 1' has 0.01"),
        ({"u_unit": "kA"}, r"share `u_unit`, but 'run 0' has 'A' and 'run 1' has 'kA'"),
        ({"y": np.zeros(299)}, r"'run 1' has 300 and 299"),
        ({"y": np.where(np.arange(300) == 17, np.nan, 0.0)}, r"`y` of 'run 1' at index 17 is nan"),
        ({"temperature_C": None}, r"temperature or none, but 'run 0' and 'run 1' differ"),
    ],
)
def test_recordings_that_do_not_belong_together_are_refused(change, message):
    wrong = dataclasses.replace(RECORDINGS[1])
    for name, value in change.items():
        # Past the dataclass, whose annotations the tests check.
        object.__setattr__(wrong, name, value)
    with pytest.raises(DataError, match=message):
        cut_windows((RECORDINGS[0], wrong), 10, 10)


def test_what_is_too_short_is_named(key):
    with pytest.raises(DataError, match=r"at least 400 samples each.*'run 0' has 300"):
        cut_windows(RECORDINGS, 300, 100)
    with pytest.raises(DataError, match=r"at least 2 to be split, but holds 1"):
        split_recordings(RECORDINGS[:1], 0.5, key=key)
    with pytest.raises(ConfigError, match=r"`held_out` must lie in \(0, 1\), but .*1\.0"):
        split_recordings(RECORDINGS, 1.0, key=key)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"y": 1e4}, r"`y` of the recordings reaches .* T, above 10 T: .* gauss"),
        ({"u": 1e-3}, r"more than 0\.2 T/A: are the currents in kiloamperes"),
    ],
)
def test_units_that_cannot_be_right_are_named(factors, message):
    one = RECORDINGS[0]
    wrong = dataclasses.replace(one, **{k: v * getattr(one, k) for k, v in factors.items()})
    with pytest.warns(UserWarning, match=message):
        require_alike((wrong,))
