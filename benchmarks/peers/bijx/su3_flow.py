"""Training of a gradient flow of seven Wilson loops of 2D SU(3) with bijx, in single precision.

The ODE of the library's `trivializing_flow` with bijx's prior, Lie derivative, action, and
Crouch-Grossmann integrator of second order with the adjoint equation. The divergence is the
analytic one: automatic second derivatives, the package's other way, take one pass for each of the
16 L^2 directions. Links are (L, L, direction, 3, 3) as the package has them. One JSON
answer per request: the image of given links under given coefficients, or the time of some
optimiser steps of reverse Kullback-Leibler training.
"""

import json
import sys
import time
from functools import partial

import bijx
import jax
import jax.numpy as jnp
import optax
from bijx import cg, lie
from bijx.lattice import roll_lattice
from bijx.lattice.gauge import wilson_action

CASIMIR = 4 / 3


def loops(U, mu):
    """The plaquettes on both sides of every link of a direction, which both begin with it."""
    x, y = U[:, :, mu], U[:, :, 1 - mu]

    def at(V, along, over):
        return roll_lattice(V, (along, over) if mu == 0 else (over, along))

    above = lie.contract(x, at(y, 1, 0), lie.adjoint(at(x, 0, 1)), lie.adjoint(y))
    below = lie.contract(x, lie.adjoint(at(y, 1, -1)), lie.adjoint(at(x, 0, -1)), at(y, 0, -1))
    return above, below


def sums(U):
    """The seven sums of loops in the order and the normalisation of the library."""
    pairs = [loops(U, mu) for mu in (0, 1)]
    traces = [[jnp.trace(P, axis1=-2, axis2=-1) for P in pair] for pair in pairs]
    z = traces[0][0]

    def over_links(function, values):
        return sum(function(*pair).real.sum() for pair in values)

    return jnp.stack(
        [
            2 * z.real.sum(),
            2 / 3 * (jnp.abs(z) ** 2).sum(),
            2 * over_links(lambda P, Q: jnp.einsum("...ij,...ij", P, Q.conj()), pairs),
            2 / 3 * over_links(lambda z, w: z * w.conj(), traces),
            2 * over_links(lambda P, Q: jnp.einsum("...ij,...ji", P, Q), pairs),
            2 / 3 * over_links(lambda z, w: z * w, traces),
            2 / 3 * (z * z).real.sum(),
        ]
    )


def laplacians(W, n_plaquettes):
    """Of the sums, with respect to all links."""
    return jnp.stack(
        [
            -4 * CASIMIR * W[0],
            4 * (2 * n_plaquettes - 3 * W[1]),
            -6 * CASIMIR * W[2],
            -(8 * CASIMIR + 1 / 3) * W[3] + W[2] / 3,
            -(8 * CASIMIR - 1 / 3) * W[4] - 3 * W[5],
            -(8 * CASIMIR - 1 / 3) * W[5] - W[4] / 3,
            -40 / 3 * W[6] + 8 / 3 * W[0],
        ]
    )


def build(n_steps):
    """The flow of a field and of log q under coefficients (knot, loop)."""

    def field(t, U, coefficients):
        knots = jnp.linspace(0.0, 1.0, len(coefficients))
        c = jax.vmap(lambda column: jnp.interp(t, knots, column), 1)(coefficients)

        def potential(U):
            values = sums(U)
            return c @ values, values

        derivative = lie.grad(potential, return_value=True, has_aux=True, algebra=project)
        (_, values), velocity = derivative(U)
        return velocity, -c @ laplacians(values, U.shape[0] * U.shape[1])

    flow = bijx.ContFlowCG(field, cg.Unitary(), steps=n_steps, tableau=cg.CG2)
    return jax.vmap(lambda U, c: flow.forward(U, jnp.array(0.0), coefficients=c), (0, None))


@partial(jnp.vectorize, signature="(i,j),(i,j)->(i,j)")
def project(cotangent, U):
    """The derivative along generators with trace 1/2 of their squares, as the library has it."""
    return 0.25 * lie.skew_traceless_cot(cotangent, U)


def main():
    setting = json.loads(sys.argv[1])
    L, batch, beta = setting["L"], setting["batch"], setting["beta"]
    push = build(setting["n_steps"])
    prior = lie.HaarDistribution.periodic_gauge_lattice(3, (L, L))
    optimizer = optax.adam(setting["learning_rate"])

    def divergence(coefficients, key):
        U, log_q = push(prior.sample((batch,), rng=key)[0], coefficients)
        return jnp.mean(log_q + wilson_action(U, beta))

    @jax.jit
    def step(coefficients, state, key):
        loss, slope = jax.value_and_grad(divergence)(coefficients, key)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(coefficients, updates), state, loss

    coefficients = jnp.asarray(setting["coefficients"])
    state, key = optimizer.init(coefficients), jax.random.key(0)
    start = time.perf_counter()
    step = step.lower(coefficients, state, key).compile()
    compile_s = time.perf_counter() - start
    for line in sys.stdin:
        request = json.loads(line)
        if "links" in request:
            links = jnp.asarray(request["links"][0]) + 1j * jnp.asarray(request["links"][1])
            U, log_q = jax.jit(push)(links, jnp.asarray(request["coefficients"]))
            answer = {"log_q": log_q.tolist(), "action": wilson_action(U, beta).tolist()}
            answer["compile_s"] = compile_s
        else:
            start = time.perf_counter()
            for _ in range(request["n_steps"]):
                key, now = jax.random.split(key)
                coefficients, state, loss = step(coefficients, state, now)
            loss = float(loss)
            answer = {"seconds": time.perf_counter() - start, "loss": loss}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
