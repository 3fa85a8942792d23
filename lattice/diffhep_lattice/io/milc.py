"""Version 5 of the MILC collaboration's own format: a binary header, then single-precision links.

Reference: the reader and writer of github.com/milc-qcd/milc_qcd, generic/io_lat4.c.
"""

import struct
from io import BufferedReader
from pathlib import Path

import numpy as np

from diffhep_lattice.io.files import damaged
from diffhep_lattice.io.metadata import Checksum, Contents
from diffhep_lattice.io.sites import SiteLayout, read_sites

VERSION_5 = 20103
MAGICS = {struct.pack(">I", VERSION_5): "big", struct.pack("<I", VERSION_5): "little"}

_HEADER = "I4i64siII"
_NATURAL_ORDER = 0


class _RotatedWords:
    """Exclusive or of the file's 32-bit words, each rotated left by its number modulo a period."""

    def __init__(self, word: np.dtype, period: int) -> None:
        self._word = word
        self._sums = np.zeros(period, word)
        self._start = 0

    def update(self, block: np.ndarray) -> None:
        words, period = block.view(self._word), len(self._sums)
        whole = len(words) - len(words) % period
        sums = np.bitwise_xor.reduce(words[:whole].reshape(-1, period), axis=0)
        sums[: len(words) - whole] ^= words[whole:]
        self._sums ^= np.roll(sums, self._start)
        self._start = (self._start + len(words)) % period

    @property
    def value(self) -> int:
        total = 0
        for rotation, word in enumerate(self._sums.tolist()):
            total ^= (word << rotation | word >> (32 - rotation)) % 2**32
        return total


def read_milc(file: BufferedReader, path: Path) -> Contents:
    """Read a file of MILC's version 5.

    Args:
        file: The open file.
        path: Its name, for errors.

    Returns:
        Links and header.

    Raises:
        DataError: The header is not understood, or header and length disagree.
    """
    file.seek(0)
    byte_order = MAGICS[file.read(4)]
    file.seek(0)
    header = struct.Struct((">" if byte_order == "big" else "<") + _HEADER)
    data = file.read(header.size)
    if len(data) < header.size:
        raise damaged(path, f"have a header of {header.size} bytes", f"it has {len(data)}")
    _, x, y, z, t, stamp, order, sum29, sum31 = header.unpack(data)
    if min(x, y, z, t) < 1:
        raise damaged(path, "have four positive lengths", f"they are {x}, {y}, {z} and {t}")
    if order != _NATURAL_ORDER:
        raise damaged(path, "have its sites in natural order, 0", f"its order is {order}")
    layout = SiteLayout((x, y, z, t), 3, 3, 32, byte_order)
    length, expected = file.seek(0, 2), header.size + layout.n_bytes
    if length != expected:
        raise damaged(path, f"hold {expected} bytes by its header", f"it has {length}")
    file.seek(header.size)
    sums = {"sum29": _RotatedWords(layout.word, 29), "sum31": _RotatedWords(layout.word, 31)}
    U = read_sites(file, path, layout, [checksum.update for checksum in sums.values()])
    checksums = {
        name: Checksum(f"{recorded:08x}", f"{computed.value:08x}")
        for (name, computed), recorded in zip(sums.items(), (sum29, sum31), strict=True)
    }
    stamp = stamp.split(b"\0", 1)[0].decode("latin-1")
    return Contents(U, "milc", 32, byte_order, 3, checksums, {"time_stamp": stamp})
