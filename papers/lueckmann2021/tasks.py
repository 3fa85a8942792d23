"""The tasks: problems, priors, observations and reference posteriors."""

import bz2
import io
import zipfile
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from diffhep.core.datasets import Dataset, fetch
from diffhep.core.rng import key_at, key_for
from diffhep.core.typing import Key
from diffhep_sbi import problems, simulate

BENCHMARK = {
    "sbibm": Dataset(
        "https://github.com/sbi-benchmark/sbibm",
        "12ecc6b4d327b92f9225f08faa6405e4274fb8e75943d86a53157d1b1bcfaf74",
        "MIT",
        "sbibm-1.1.0-py2.py3-none-any.whl",
        prepared="what `pip download --no-deps sbibm==1.1.0` fetches, the packaged files",
    )
}
"""Observations and reference posteriors of the paper's authors."""

VARIANCE = 0.1
"""Of prior and noise of gaussian_linear, in ten dimensions."""

BOUNDS = {"slcp": 3.0, "gaussian_mixture": 10.0}
"""Edges of the uniform priors that are smooth in between."""


class Task(NamedTuple):
    """A problem, its prior, and the observations with draws from their posteriors."""

    name: str
    problem: problems.AbstractProblem
    prior: Any
    x: Float[Array, "observation feature"]
    references: list[Float[np.ndarray, "sample param"]]


def build_problem(name: str) -> tuple[problems.AbstractProblem, dist.Distribution]:
    """The problem of a task and its prior."""
    if name == "gaussian_linear":
        half = 0.5 * VARIANCE * jnp.eye(10)
        prior = dist.Normal(jnp.zeros(10), jnp.full(10, VARIANCE**0.5)).to_event(1)
        return problems.LatentGaussian(jnp.eye(10), half, half), prior
    build = {
        "two_moons": problems.TwoMoons,
        "slcp": problems.Slcp,
        "gaussian_mixture": problems.GaussianMixture,
        "sir": problems.Epidemic,
        "bernoulli_glm": problems.BernoulliGlm,
    }
    problem: Any = build[name]()
    return problem, problem.prior


def build_task(name: str, n_observations: int, n_samples: int, exact: bool, key: Key) -> Task:
    """A task with its observations and references, published or exact ones of our own.

    Raises:
        DataError: The published ones cannot be had.
    """
    problem, prior = build_problem(name)
    if not exact:
        x, references = _published(name, n_observations, n_samples)
        return Task(name, problem, prior, x, references)
    theta = prior.sample(key_for(key, "truth"), (n_observations,))
    x = simulate(problem.simulator, theta, key=key_for(key, "observations"))
    references = [
        np.asarray(exact_draws(problem, x[i], n_samples, key_at(key_for(key, "references"), i)))
        for i in range(n_observations)
    ]
    return Task(name, problem, prior, x, references)


def exact_draws(
    problem: Any, x: Float[Array, " feature"], n_samples: int, key: Key
) -> Float[Array, "sample param"]:
    """Draws from the exact posterior of two_moons or gaussian_linear."""
    if isinstance(problem, problems.TwoMoons):
        return problem.posterior_samples(x, n_samples, key=key)
    mean, covariance = problem.posterior(x[None], jnp.zeros(10), VARIANCE * jnp.eye(10))
    return dist.MultivariateNormal(mean, covariance).sample(key, (n_samples,))


def _published(name: str, n_observations: int, n_samples: int) -> tuple[Array, list[np.ndarray]]:
    observations, references = [], []
    with zipfile.ZipFile(fetch("sbibm", registry=BENCHMARK)) as wheel:
        for number in range(1, n_observations + 1):
            folder = f"sbibm/tasks/{name}/files/num_observation_{number}"
            observations.append(_table(wheel.read(f"{folder}/observation.csv"))[0])
            packed = wheel.read(f"{folder}/reference_posterior_samples.csv.bz2")
            references.append(_table(bz2.decompress(packed))[:n_samples])
    return jnp.asarray(np.stack(observations)), references


def _table(text: bytes) -> np.ndarray:
    return np.loadtxt(io.BytesIO(text), delimiter=",", skiprows=1, ndmin=2)


def stein_pulls(task: Task) -> Float[np.ndarray, "observation function"]:
    r"""Identities that hold if the references are posteriors of our likelihood, in errors.

    $E[\partial_i f + f\,\partial_i\log p(\theta|x)] = 0$ for functions f that vanish at the edge
    of the prior, times 1 and times $\theta_i$.
    """
    bound = BOUNDS.get(task.name)

    def edge(theta: Array) -> Array:
        return jnp.ones_like(theta) if bound is None else bound**2 - theta**2

    @eqx.filter_jit
    def values(x: Array, draws: Array) -> Array:
        def of_one(theta: Array) -> Array:
            def log_p(theta: Array) -> Array:
                return task.problem.log_prob(x, theta) + task.prior.log_prob(theta)

            slope = jax.grad(log_p)(theta)
            f, g = edge(theta), theta * edge(theta)
            df = jax.jvp(edge, (theta,), (jnp.ones_like(theta),))[1]
            return jnp.concatenate([df + f * slope, edge(theta) + theta * df + g * slope])

        return jax.vmap(of_one)(draws)

    pulls = []
    for x, draws in zip(task.x, task.references, strict=True):
        found = np.asarray(values(x, jnp.asarray(draws)))
        pulls.append(found.mean(0) / (found.std(0) / np.sqrt(len(found))))
    return np.array(pulls)
