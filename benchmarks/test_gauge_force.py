"""SU(3) in four dimensions: the Wilson force and HMC, in double and single precision, and on a GPU.

The yardstick counts 19 products of matrices a link of 198 operations each, whatever a program does:
three for each of six staples and one with the link. Ours needs 34 a site, 8.5 a link.
"""

import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.conftest import Row
from benchmarks.peer import Peer
from diffhep_lattice.actions import WilsonAction
from diffhep_lattice.geometry import from_site_major, to_site_major
from diffhep_lattice.groups import SU3
from diffhep_lattice.observables import plaquette
from diffhep_lattice.samplers import heatbath, hmc, omelyan2

_ACTION = WilsonAction(5.7, SU3())
_FLOPS = 198
_COUNTED, _DONE = 19.0, 8.5
"""Products a link by the yardstick, and those of our force."""

_LEAST_GFLOPS = {8: 12.0, 16: 8.0}
_STREAMED = 3 * 144 * 34
"""Bytes that products read and write at a site in double precision."""

_COMPULSORY = {jnp.complex128: 4 * (144 + 64), jnp.complex64: 4 * (72 + 32)}
"""Bytes at a site if links were read once and forces written once."""

_SWEEPS = 60
_N_STEPS = 8
_TRAJECTORIES = 5
"""Trajectories per round."""

_ROUNDS = 15


def random_links(L, dtype=jnp.complex128):
    draw = jax.jit(lambda key: SU3().haar((4, L, L, L, L), key=key, dtype=float).astype(dtype))
    return draw(jax.random.key(0))


def naive_force(V, beta):
    """The force as one writes it down, with matrices last and `@`: (*site, mu, 3, 3)."""
    U = jnp.moveaxis(V, 4, 0)

    def adjoint(a):
        return jnp.conj(jnp.swapaxes(a, -1, -2))

    loops = []
    for mu in range(4):
        total = jnp.zeros_like(U[0])
        for nu in range(4):
            if nu == mu:
                continue
            X, Y = U[mu], U[nu]
            Y_ahead = jnp.roll(Y, -1, mu)
            total += Y_ahead @ adjoint(jnp.roll(X, -1, nu)) @ adjoint(Y)
            total += jnp.roll(adjoint(Y_ahead) @ adjoint(X) @ Y, 1, nu)
        loops.append(U[mu] @ total)
    stacked = jnp.stack(loops, 4)
    parts = beta / 12 * (stacked - adjoint(stacked))
    trace = jnp.trace(parts, axis1=-2, axis2=-1) / 3
    return parts - trace[..., None, None] * jnp.eye(3)


def seconds(function, *arguments, repeat=1):
    """Of one call, the mean of a few."""
    start = time.perf_counter()
    for _ in range(repeat):
        result = function(*arguments)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeat


def medians(functions, rounds):
    """Median seconds of each; they take turns, so that all see the same machine."""
    for function in functions:
        function()
    times = [[function() for function in functions] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def matrix_product_gflops():
    """What the machine does at best: a product of two large real matrices."""
    n = 1536
    a = jnp.ones((n, n))
    product = jax.jit(jnp.dot)
    (best,) = medians([lambda: seconds(product, a, a)], 5)
    return 2 * n**3 / best / 1e9


@pytest.mark.parametrize("L", [8, 16])
def test_force(report, L):
    """Ours, the same mathematics written with `@`, and PyTorch's on the smaller lattice."""
    links = random_links(L)
    ours = jax.jit(lambda U: _ACTION.force(U))
    naive = jax.jit(naive_force, static_argnums=1)
    small = random_links(2)
    expected = SU3().algebra_matrix(ours(small))
    site_major = to_site_major(small)
    found = from_site_major(naive(site_major, 5.7))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    V = jnp.asarray(np.ascontiguousarray(to_site_major(links)))
    functions = [
        lambda: seconds(ours, links, repeat=20 if L == 8 else 3),
        lambda: seconds(naive, V, 5.7),
    ]
    if L == 8:
        with Peer("torch", "su3_force.py", {"L": L, "beta": 5.7}) as peer:
            field = np.moveaxis(np.asarray(site_major), 4, 0)
            answer = peer.round({"U": [field.real.tolist(), field.imag.tolist()]})["force"]
            theirs = np.moveaxis(np.asarray(answer[0]) + 1j * np.asarray(answer[1]), 0, 4)
            np.testing.assert_allclose(from_site_major(theirs), expected, atol=1e-12)
            functions.append(lambda: peer.round({})["seconds"])
            ours_s, naive_s, *others = medians(functions, 9)
    else:
        ours_s, naive_s, *others = medians(functions, 3)
    counted = _COUNTED * _FLOPS * 4 * L**4 / 1e9
    peak = matrix_product_gflops()
    done = counted * _DONE / _COUNTED / ours_s
    detail = (
        f"{ours_s * 1e3:.3g} ms; done {done:.3g} GF/s, {100 * done / peak:.0f} % of a large matrix "
        f"product's {peak:.0f}; {_STREAMED * L**4 / ours_s / 1e9:.0f} GB/s through the caches"
    )
    name = f"SU(3) force, {L}^4, 19 products a link"
    report(
        Row(name, counted / ours_s, "GF/s", _LEAST_GFLOPS[L], detail=detail),
        Row(f"{name}, written with @", counted / naive_s, "GF/s"),
        *(Row(f"{name}, PyTorch's @", counted / other, "GF/s") for other in others),
    )


@eqx.filter_jit
def advance(algorithm, key, state, n):
    """`n` transitions of one chain: the last state, and the acceptance and dH of each."""

    def body(state, key):
        state, info = algorithm.step(key, state)
        return state, (info.acceptance_probability, info.energy_change)

    return jax.lax.scan(body, state, jax.random.split(key, n))


@eqx.filter_jit
def warm_up(key, state):
    sampler = heatbath(_ACTION)
    keys = jax.random.split(key, _SWEEPS)
    return jax.lax.scan(lambda at, key: (sampler.step(key, at)[0], None), state, keys)[0]


def test_hmc(report):
    """8^4 at beta 5.7, trajectories of length 1 in 8 steps of the second-order scheme."""
    cold = jnp.zeros((4, 3, 3, 8, 8, 8, 8), complex) + jnp.eye(3).reshape(1, 3, 3, 1, 1, 1, 1)
    warm = warm_up(jax.random.key(0), heatbath(_ACTION).init(cold)).position
    setting = {"step_size": 1.0 / _N_STEPS, "n_steps": _N_STEPS, "integrator": omelyan2()}
    runs, compile_s = [], []
    for md_dtype in (None, jnp.float32):
        algorithm = hmc(_ACTION, **setting, md_dtype=md_dtype)
        state = algorithm.init(warm)
        start = time.perf_counter()
        lowered = advance.lower(algorithm, jax.random.key(0), state, _TRAJECTORIES)
        compiled = lowered.compile()
        compile_s.append(time.perf_counter() - start)
        runs.append([algorithm, compiled, state, [], []])

    def round_of(run, key):
        def turn():
            algorithm, compiled, state, probabilities, changes = run
            start = time.perf_counter()
            next_key = jax.random.fold_in(key, len(probabilities))
            state, (p, dh) = jax.block_until_ready(
                compiled(algorithm, next_key, state, _TRAJECTORIES)
            )
            run[2] = state
            probabilities.append(np.asarray(p))
            changes.append(np.asarray(dh))
            return (time.perf_counter() - start) / _TRAJECTORIES

        return turn

    turns = [round_of(run, jax.random.key(i + 1)) for i, run in enumerate(runs)]
    double_s, single_s = medians(turns, _ROUNDS)
    acceptance = [np.concatenate(run[3]) for run in runs]
    weights = [np.exp(-np.concatenate(run[4])) for run in runs]
    means = [values.mean() for values in acceptance]
    errors = [values.std() / np.sqrt(values.size) for values in (*acceptance, *weights)]
    what = "SU(3) HMC, 8^4, Omelyan, 8 steps"
    details = [
        f"acceptance {means[i]:.3f}({1e3 * errors[i]:.0f}), "
        f"<exp(-dH)> {weights[i].mean():.2f}({100 * errors[2 + i]:.0f})"
        for i in range(2)
    ]
    details[0] += f", plaquette {float(plaquette(runs[0][2].position)):.4f}"
    details[1] = f"{1 / single_s:.3g} trajectories/s, {details[1]}"
    pull = abs(means[0] - means[1]) / np.hypot(*errors[:2])
    report(
        Row(what, 1 / double_s, "trajectories/s", 5.0, detail=details[0]),
        Row(f"{what}: compilation", compile_s[0], "s", 10.0, True),
        Row(f"{what}: double over single", double_s / single_s, "", 1.5, detail=details[1]),
        Row(f"{what}: acceptances apart", pull, "sigma", 4.0, True),
    )


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
@pytest.mark.parametrize("dtype", [jnp.complex128, jnp.complex64])
def test_on_a_gpu(report, dtype):
    """The force at 32^4 against the memory's speed as a copy has it, and trajectories."""
    L = 32
    links = random_links(L, dtype)
    force = jax.jit(lambda U: _ACTION.force(U))
    copy = jax.jit(lambda U: U + 1)
    force_s, copy_s = medians(
        [lambda: seconds(force, links, repeat=10), lambda: seconds(copy, links, repeat=10)], 7
    )
    bandwidth = 2 * links.nbytes / copy_s
    moved = _COMPULSORY[dtype] * L**4
    detail = (
        f"{force_s * 1e3:.3g} ms, {_COUNTED * _FLOPS * 4 * L**4 / force_s / 1e9:.0f} GF/s by 19 "
        f"products a link; memory {bandwidth / 1e9:.0f} GB/s; {moved / 1e6:.0f} MB at the least"
    )
    name = f"SU(3) force, 32^4, {jnp.dtype(dtype).name}, GPU"
    fraction = 100 * moved / force_s / bandwidth
    report(Row(f"{name}: of the memory's bandwidth", fraction, "%", 60.0, detail=detail))
    algorithm = hmc(_ACTION, step_size=0.5 / _N_STEPS, n_steps=_N_STEPS, integrator=omelyan2())
    state = algorithm.init(links)
    (one,) = medians([lambda: seconds(advance, algorithm, jax.random.key(0), state, 1)], 3)
    report(Row(f"SU(3) HMC, 32^4, {jnp.dtype(dtype).name}, GPU", 1 / one, "trajectories/s"))
