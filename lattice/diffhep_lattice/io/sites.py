"""Links as the exchange formats store them: site by site, x fastest, four matrices to a site.

A file is read and written in blocks of about a mebibyte, so that beside the field itself little
memory is needed. Whoever wants to see the bytes go by, as checksums do, is given each block.
"""

from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Complex

from diffhep_lattice.io.files import damaged
from diffhep_lattice.io.links import complete_rows

_BLOCK_BYTES = 2**20

_ORDERS = {"big": ">", "little": "<"}


Observer = Callable[[np.ndarray], None]
"""Takes in the next bytes of a field in the order of the file, a whole number of sites."""


class SiteLayout(NamedTuple):
    """How links lie in a file.

    Attributes:
        shape: Number of sites along x, y, z and t.
        n_colors: N.
        rows: Rows of each matrix that are stored.
        precision: Bits of a real number, 32 or 64.
        byte_order: "big" or "little".
    """

    shape: tuple[int, int, int, int]
    n_colors: int
    rows: int
    precision: int
    byte_order: str

    @property
    def dtype(self) -> np.dtype:
        """A complex number in the file."""
        return np.dtype(f"{_ORDERS[self.byte_order]}c{self.precision // 4}")

    @property
    def word(self) -> np.dtype:
        """An unsigned word of 32 bits in the file's byte order, for checksums."""
        return np.dtype(f"{_ORDERS[self.byte_order]}u4")

    @property
    def volume(self) -> int:
        """Number of sites."""
        x, y, z, t = self.shape
        return x * y * z * t

    @property
    def site_bytes(self) -> int:
        """Bytes of the four matrices at a site."""
        return 4 * self.rows * self.n_colors * self.dtype.itemsize

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole field."""
        return self.volume * self.site_bytes


def _blocks(layout: SiteLayout) -> Iterator[tuple[slice, slice]]:
    """Ranges in z and t that lie in one piece in the file, in its order."""
    x, y, z, t = layout.shape
    per_z = x * y * layout.site_bytes
    if per_z * z <= _BLOCK_BYTES:
        step = max(1, _BLOCK_BYTES // (per_z * z))
        for start in range(0, t, step):
            yield slice(0, z), slice(start, min(start + step, t))
        return
    step = max(1, _BLOCK_BYTES // per_z)
    for time in range(t):
        for start in range(0, z, step):
            yield slice(start, min(start + step, z)), slice(time, time + 1)


def _block_shape(layout: SiteLayout, zs: slice, ts: slice) -> tuple[int, ...]:
    """Axes of a block in the file: t, z, y, x, direction, row, column."""
    x, y, _, _ = layout.shape
    sites = (ts.stop - ts.start, zs.stop - zs.start, y, x)
    return (*sites, 4, layout.rows, layout.n_colors)


def read_sites(
    file: BufferedReader, path: Path, layout: SiteLayout, observers: Sequence[Observer]
) -> Complex[np.ndarray, "mu color color x y z t"]:
    """Read the links that start at the file's position.

    Args:
        file: The file, at the first byte of the links.
        path: Its name, for errors.
        layout: How they lie.
        observers: What looks at the bytes.

    Returns:
        Links in the precision of the file, the last row computed where it is not stored.

    Raises:
        DataError: The file ends too early.
    """
    n = layout.n_colors
    U = np.empty((4, n, n, *layout.shape), layout.dtype.newbyteorder("="))
    for zs, ts in _blocks(layout):
        block = np.empty(_block_shape(layout, zs, ts), layout.dtype)
        flat = block.reshape(-1).view(np.uint8)
        if file.readinto(flat.data) != flat.size:
            raise damaged(path, f"hold {layout.n_bytes} bytes of links", "it ends before them")
        for observer in observers:
            observer(flat)
        U[:, : layout.rows, :, :, :, zs, ts] = block.transpose(4, 5, 6, 3, 2, 1, 0)
    if layout.rows < n:
        complete_rows(U)
    return U


def write_sites(
    file: BinaryIO,
    U: Complex[np.ndarray, "mu color color x y z t"],
    layout: SiteLayout,
    observers: Sequence[Observer],
) -> None:
    """Write links at the file's position, rounded to the precision of the layout.

    Args:
        file: The file.
        U: Links.
        layout: How they shall lie.
        observers: What looks at the bytes.
    """
    for zs, ts in _blocks(layout):
        block = np.empty(_block_shape(layout, zs, ts), layout.dtype)
        block[...] = U[:, : layout.rows, :, :, :, zs, ts].transpose(6, 5, 4, 3, 0, 1, 2)
        flat = block.reshape(-1).view(np.uint8)
        for observer in observers:
            observer(flat)
        file.write(flat.data)
