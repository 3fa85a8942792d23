"""Peak memory of mining a million events of 40 features and training on them for an epoch."""

import json
import resource
import time

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from diffhep_sbi import fit_ratio, mine, mlp

N_EVENTS, N_FEATURES = 500_000, 40
"""Events of each class."""


def simulator(theta):
    """A latent scale, and features around it."""
    scale = numpyro.sample("scale", dist.Normal(theta[0], 1.0))
    return numpyro.sample("x", dist.Normal(scale, 1.0).expand([N_FEATURES]).to_event(1))


def main() -> None:
    """Print peak memory in GiB and processor time as JSON."""
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(0)
    theta0 = jax.random.uniform(key, (N_EVENTS, 1), minval=-1.0, maxval=1.0)
    gold = mine(simulator, theta0, jnp.zeros(1), key=key)
    jax.block_until_ready(gold)
    mined = _peak()
    start = time.process_time()
    fit_ratio(gold, network=mlp(), n_members=1, n_epochs=1, batch=1000, progress=False, key=key)
    seconds = time.process_time() - start
    print(json.dumps({"mined": mined, "trained": _peak(), "cpu": seconds, "rows": gold.n_events}))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
