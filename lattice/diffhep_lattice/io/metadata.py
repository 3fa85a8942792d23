"""What is known of a gauge configuration beside its links."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class ConfigurationMetadata:
    r"""What a file says of a gauge configuration, and what was computed from the links.

    Attributes:
        format: "nersc", "ildg", "scidac", "milc" or "hdf5".
        shape: Number of sites along x, y, z and t.
        n_colors: N of SU(N).
        precision: Bits of a real number in the file, 32 or 64.
        byte_order: "big" or "little".
        rows: Rows of each matrix that the file holds; the last one is rebuilt if it is missing.
        spatial_plaquette: Mean of $\mathrm{Re}\,\mathrm{tr}\,P / N$ over the planes xy, xz and yz.
        temporal_plaquette: The same over the planes with t.
        link_trace: Mean of $\mathrm{Re}\,\mathrm{tr}\,U / N$ over the links.
        unitarity: Largest deviation of a link from SU(N): of an entry of $U U^\dagger - 1$ or of
            $\det U - 1$, as read, before any projection.
        recorded_plaquette: What the file says of `plaquette`, or None.
        recorded_link_trace: What the file says of `link_trace`, or None.
        checksums: The checksums of the file by name, in hexadecimal; each is that of the links.
        header: Everything else that the file says, as text.
    """

    format: str
    shape: tuple[int, int, int, int]
    n_colors: int
    precision: int
    byte_order: str
    rows: int
    spatial_plaquette: float
    temporal_plaquette: float
    link_trace: float
    unitarity: float
    recorded_plaquette: float | None
    recorded_link_trace: float | None
    checksums: Mapping[str, str]
    header: Mapping[str, str]

    @property
    def plaquette(self) -> float:
        r"""Mean of $\mathrm{Re}\,\mathrm{tr}\,P / N$ over all six planes."""
        return (self.spatial_plaquette + self.temporal_plaquette) / 2


class Checksum(NamedTuple):
    """A checksum in hexadecimal as recorded, or None if it should be, and as computed."""

    recorded: str | None
    computed: str


class Contents(NamedTuple):
    """What the reader of one format found; nothing recorded is verified yet."""

    U: np.ndarray
    format: str
    precision: int
    byte_order: str
    rows: int
    checksums: Mapping[str, Checksum]
    header: Mapping[str, str]
    recorded_plaquette: str | None = None
    recorded_link_trace: str | None = None
