"""Random SU(N) links in NumPy, and their averages by a loop over sites written out in full."""

import itertools

import jax
import numpy as np


def generator(key):
    """A NumPy generator from the key of a test."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def random_links(shape, rng, n_colors=3):
    """Haar distributed links (4, N, N, x, y, z, t), by QR decomposition of Gaussian matrices."""
    size = (4, *shape, n_colors, n_colors)
    q, r = np.linalg.qr(rng.normal(size=size) + 1j * rng.normal(size=size))
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    q = q * (diagonal / np.abs(diagonal))[..., None, :]
    q = q / np.linalg.det(q)[..., None, None] ** (1 / n_colors)
    return np.ascontiguousarray(np.moveaxis(q, (-2, -1), (1, 2)))


def averages_by_loop(U):
    """Spatial and temporal plaquette and link trace, Re tr / N, one matrix product at a time."""
    n, shape = U.shape[1], U.shape[3:]

    def link(mu, x):
        return U[(mu, slice(None), slice(None), *(i % m for i, m in zip(x, shape, strict=True)))]

    planes = dict.fromkeys(itertools.combinations(range(4), 2), 0.0)
    trace = 0.0
    for x in np.ndindex(*shape):
        ahead = [tuple(i + (d == mu) for d, i in enumerate(x)) for mu in range(4)]
        trace += sum(np.trace(link(mu, x)).real for mu in range(4))
        for mu, nu in planes:
            corner = link(mu, x) @ link(nu, ahead[mu])
            other = link(nu, x) @ link(mu, ahead[nu])
            planes[mu, nu] += np.trace(corner @ other.conj().T).real
    volume = np.prod(shape)
    spatial = np.mean([planes[0, 1], planes[0, 2], planes[1, 2]]) / (n * volume)
    temporal = np.mean([planes[0, 3], planes[1, 3], planes[2, 3]]) / (n * volume)
    return spatial, temporal, trace / (4 * n * volume)
