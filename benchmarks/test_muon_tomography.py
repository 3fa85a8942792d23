"""Muon tomography with its gradient beside TomOpt, at the same geometry.

Processor time: other programs may run beside this one, and the peer's rounds take seconds.
"""

import statistics
import time

import jax
import jax.numpy as jnp

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep.detector.muon_tomography import Panels, Voxels, draw_muons, tomography

_LEAST_RATIO = 5.0
_ROUNDS = 3
_N_MUONS = 1000
_STEPS = 10
"""Of the scattering in each layer of voxels: TomOpt's step is a centimetre."""

_SIZE_mm = 100.0
_DEPTH_mm = 1000.0
"""Of the space for panels on either side."""

_HEIGHTS_mm = (900.0, 500.0, 100.0)
_IRON = slice(3, 7), slice(3, 7), 3
VOXELS = Voxels(jnp.full((10, 10, 6), 303.9e3).at[_IRON].set(17.57), _SIZE_mm)

SETTING = {
    "lwh_m": [1.0, 1.0, 0.6],
    "voxel_m": 1e-3 * _SIZE_mm,
    "step_m": 1e-3 * _SIZE_mm / _STEPS,
    "depth_m": 1e-3 * _DEPTH_mm,
    "heights_m": [1e-3 * z for z in _HEIGHTS_mm],
    "span_m": 2.0,
    "resolution_m": 1e-4,
    "efficiency": 0.9,
    "n_muons": _N_MUONS,
}


def panels(heights):
    n = len(heights)
    centre = jnp.stack([jnp.full(n, 500.0), jnp.full(n, 500.0), jnp.asarray(heights)], axis=1)
    return Panels(centre, jnp.full((n, 2), 2000.0), jnp.full(n, 0.1), jnp.full(n, 0.9))


@jax.jit
def slopes(above, below, key):
    """By positions, sizes, resolutions and efficiencies of all panels; muons are drawn too."""

    def figure(given):
        muons = draw_muons(
            _N_MUONS, low_mm=(-700.0, -700.0), high_mm=(1700.0, 1700.0), z_mm=1600.0, key=key
        )
        found, _ = tomography(*given, VOXELS, muons, steps=_STEPS, key=key)
        return jnp.mean(jnp.log(found.x0_mm)), jnp.median(found.x0_mm[_IRON])

    return jax.grad(figure, has_aux=True)((above, below))


def test_muons_beside_tomopt(report):
    above = panels([600.0 + z for z in _HEIGHTS_mm])
    below = panels([-z for z in _HEIGHTS_mm])
    keys = jax.random.split(jax.random.key(0), _ROUNDS + 1)
    jax.block_until_ready(slopes(above, below, keys[0]))
    ours, theirs, iron = [], [], []
    with Peer("tomopt", "muons.py", SETTING) as peer:
        peer.round({})
        for key in keys[1:]:
            start = time.process_time()
            gradient, found = jax.block_until_ready(slopes(above, below, key))
            ours.append(time.process_time() - start)
            answer = peer.round({})
            theirs.append(answer["seconds"])
            iron.append((float(found), 1e3 * answer["iron_m"]))
            # Both sides differentiate by the panels.
            assert answer["slopes"] > 0.0
            assert all(float(jnp.abs(x).sum()) > 0.0 for x in jax.tree.leaves(gradient))
    seconds, peer_seconds = statistics.median(ours), statistics.median(theirs)
    lengths = " and ".join(f"{statistics.mean(each):.0f}" for each in zip(*iron, strict=True))
    report(
        Row(
            "muon tomography with gradient: processor time of TomOpt over ours",
            peer_seconds / seconds,
            "",
            _LEAST_RATIO,
            detail=(
                f"{_N_MUONS / seconds:.3g} against {_N_MUONS / peer_seconds:.3g} muons/s; "
                f"iron of 17.6 mm is seen as {lengths} mm"
            ),
        )
    )
