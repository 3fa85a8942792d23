r"""Gauge fields whose sites are divided over the devices of a mesh.

A mesh names its axes after the directions, x, y, z and t, the last of which is always t; an axis
"stream" divides independent Markov chains. Nothing else changes: `jnp.roll` across a cut exchanges
halos, and random numbers belong to the global site.

Links have the same bits on any mesh as long as XLA compiles the arithmetic of a site in the same
way for a part as for the whole. It does where a part has two or more sites in every direction, and
where no library adds the few numbers of a site in an order of its own; compilers may still fuse a
product and a sum in one loop and not in another. Sums over sites are always added in another order:
an action differs by rounding, relatively some 1e-16.

On CPUs divide t first, then z: forces are computed block by block along x.
"""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from diffhep.core.checks import require, require_shape

STREAM = "stream"

LEAST_SITES = 2
"""Sites of a part in each direction that is divided: of a single one, XLA makes other loops."""


def name_directions(dimension: int) -> tuple[str, ...]:
    """The names of the directions in the order of the site axes: the last one is t.

    Args:
        dimension: Number of directions, 1 to 4.

    Returns:
        x, y, z and t in four dimensions, x and t in two.

    Raises:
        ConfigError: The dimension is not one of those.
    """
    require(1 <= dimension <= 4, "dimension", "lie between 1 and 4", dimension)
    return (*("x", "y", "z")[: dimension - 1], "t")


def partition_streams(mesh: Mesh, shape: tuple[int, ...]) -> PartitionSpec:
    """How a mesh divides fields with a leading stream axis.

    Args:
        mesh: Its axes are named after directions or "stream".
        shape: Of the fields, (stream, mu, *element, *site).

    Returns:
        The mesh's axis, or none, for each axis of the fields.

    Raises:
        ConfigError: The mesh has another axis, or does not divide a direction or the streams into
            equal parts.
        ShapeError: There is not one site axis per direction.
    """
    rule = "have the shape (stream, mu, *element, *site)"
    require_shape(len(shape) >= 2 + shape[1], "start", rule, f"shape {shape}")
    names = name_directions(shape[1])
    lengths = dict(zip(names, shape[len(shape) - len(names) :], strict=True)) | {STREAM: shape[0]}
    for name, parts in mesh.shape.items():
        require(name in lengths, "mesh", f"have axes out of {', '.join(lengths)}", name)
        what, least = ("streams", 1) if name == STREAM else (f"sites along {name}", LEAST_SITES)
        rule = f"divide the {lengths[name]} {what} into equal parts of at least {least}"
        good = lengths[name] % parts == 0 and (parts == 1 or lengths[name] >= parts * least)
        require(good, "mesh", rule, parts)
    axes = (STREAM, *(None,) * (len(shape) - 1 - len(names)), *names)
    return PartitionSpec(*(axis if axis in mesh.shape else None for axis in axes))


def shard_sites(U: Shaped[Array | np.ndarray, "mu ..."], mesh: Mesh) -> Shaped[Array, "mu ..."]:
    """One gauge field with its sites divided over the devices of a mesh.

    Every device gets its part alone. In a run of several processes each of them passes the whole
    field and calls this.

    Args:
        U: The field, shape (mu, *element, *site).
        mesh: Its axes are named after directions; see `diffhep.core.distributed.grid`.

    Returns:
        The same field on the mesh.

    Raises:
        ConfigError: The mesh has another axis, or does not divide a direction into equal parts.
        ShapeError: There is not one site axis per direction.
    """
    spec = partition_streams(mesh, (1, *U.shape))
    values = np.asarray(U)
    sharding = NamedSharding(mesh, PartitionSpec(*spec[1:]))
    return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])
