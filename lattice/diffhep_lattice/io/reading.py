"""One function that reads a gauge configuration from any of the known formats."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from io import BufferedReader
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Complex

from diffhep.core.checks import is_integer, require, require_type
from diffhep.core.errors import DataError
from diffhep_lattice.io import hdf5, ildg, lime, milc, nersc
from diffhep_lattice.io.files import damaged, reason_of
from diffhep_lattice.io.links import UNITARITY_TOLERANCE, average_links, project_links
from diffhep_lattice.io.metadata import ConfigurationMetadata, Contents

_RECORDED_TOLERANCE = 1e-5
"""How far a recorded average may be off: that of the programs that write it, some of which sum in
single precision."""

_LARGEST_TOLERANCE = 1e-3
"""The same where few digits were recorded."""


def _number(path: Path, name: str, text: str | None, computed: float, verify: bool) -> float | None:
    """A recorded number, where there is one; it must agree to as many digits as it has."""
    if text is None:
        return None
    try:
        recorded, exponent = float(text), Decimal(text.strip()).as_tuple().exponent
    except (ValueError, InvalidOperation):
        if not verify:
            return None
        raise damaged(path, f"have a number as its {name}", f"it is {text!r}") from None
    tolerance = _RECORDED_TOLERANCE
    if isinstance(exponent, int) and exponent < 0:
        tolerance = min(max(tolerance, 10.0**exponent), _LARGEST_TOLERANCE)
    if verify and not abs(recorded - computed) <= tolerance:
        raise damaged(
            path, f"have links whose {name} is the recorded {text}", f"theirs is {computed:.10g}"
        )
    return recorded


def _sort_checksums(
    contents: Contents, path: Path, verify: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The checksums that are those of the links, and the header with those that are not."""
    good: dict[str, str] = {}
    header = dict(contents.header)
    for name, (recorded, computed) in contents.checksums.items():
        if recorded == computed:
            good[name] = computed
        elif recorded is None:
            if verify:
                raise damaged(path, f"record its checksum {name}", "it does not")
        elif verify:
            raise damaged(path, f"have links of {name} {recorded}", f"theirs is {computed}")
        else:
            header[name] = recorded
    return good, header


def _open(path: Path, index: int | None) -> Contents:
    """The contents of a file by the reader that its first bytes ask for."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            if head.startswith(lime.MAGIC):
                return ildg.read_lime(file, path, index)
            if head.startswith(hdf5.MAGIC):
                return hdf5.read_hdf5(path, index)
            single: dict[bytes, Callable[[BufferedReader, Path], Contents]] = {
                nersc.MAGIC: nersc.read_nersc,
                **dict.fromkeys(milc.MAGICS, milc.read_milc),
            }
            for magic, reader in single.items():
                if head.startswith(magic):
                    require(index in (None, 0), "index", "be 0 for a single configuration", index)
                    return reader(file, path)
    except OSError as error:
        raise DataError(f"Could not read {path}: {reason_of(error)}.") from error
    raise damaged(
        path,
        "begin as a NERSC, LIME (ILDG, SciDAC), MILC version 5 or HDF5 file",
        f"its first bytes are {head.hex() or 'missing'}",
    )


def read(
    path: Path | str,
    *,
    index: int | None = None,
    nonunitary: str = "refuse",
    verify: bool = True,
) -> tuple[Complex[np.ndarray, "mu color color x y z t"], ConfigurationMetadata]:
    """Read a gauge configuration; its format is recognised by the file's content.

    Formats: NERSC, ILDG and SciDAC (LIME), MILC version 5, and the HDF5 ensembles of this package.
    Every checksum in the file, its plaquette and its link trace are compared with those of the
    links. The memory needed beside the links is a few mebibytes or a few slices
    of the lattice.

    Args:
        path: The file.
        index: Which configuration, from 0, where the file holds several.
        nonunitary: What to do with links that are not in SU(N) to `UNITARITY_TOLERANCE`: "refuse"
            raises an error, "keep" leaves all links as they are, and "project" replaces every link,
            whether it deviates or not, by the nearest unitary matrix, its phase set to that of
            SU(N).
        verify: Whether a checksum, plaquette or link trace that is not that of the links, or a
            checksum that the format requires and the file lacks, is an error. If not, what the file
            says is still in the metadata, but a wrong checksum among the `header`. The checksums
            of HDF5 ensembles are always verified.

    Returns:
        Links of shape (4, N, N, x, y, z, t) in the precision of the file, and what is known of
        them.

    Raises:
        DataError: The file cannot be read, is of no known format, or breaks a rule of it; or links
            are not in SU(N), or not finite.
        ConfigError: `path` is no path, `index` no integer, there is no configuration of that index,
            or `nonunitary` is unknown.
    """
    require_type(path, (str, Path), "path", "be a path")
    path = Path(path)
    require(index is None or is_integer(index), "index", "be an integer", index)
    choices = ("refuse", "project", "keep")
    require(nonunitary in choices, "nonunitary", f"be one of {', '.join(choices)}", nonunitary)
    contents = _open(path, index)
    checksums, header = _sort_checksums(contents, path, verify)
    U = contents.U
    averages = average_links(U)
    if not np.isfinite(averages.unitarity):
        raise damaged(path, "hold finite links", "one is infinite or not a number")
    plaquette, trace = (
        _number(path, name, text, computed, verify)
        for name, text, computed in (
            ("plaquette", contents.recorded_plaquette, averages.plaquette),
            ("link trace", contents.recorded_link_trace, averages.link_trace),
        )
    )
    if nonunitary == "refuse" and averages.unitarity > UNITARITY_TOLERANCE:
        raise damaged(
            path,
            f"hold links of SU({U.shape[1]}) to {UNITARITY_TOLERANCE:g}",
            f"one deviates by {averages.unitarity:.3g}; `nonunitary` can be 'project' or 'keep'",
        )
    if nonunitary == "project":
        try:
            project_links(U)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    x, y, z, t = U.shape[3:]
    metadata = ConfigurationMetadata(
        format=contents.format,
        shape=(x, y, z, t),
        n_colors=U.shape[1],
        precision=contents.precision,
        byte_order=contents.byte_order,
        rows=contents.rows,
        spatial_plaquette=averages.spatial_plaquette,
        temporal_plaquette=averages.temporal_plaquette,
        link_trace=averages.link_trace,
        unitarity=averages.unitarity,
        recorded_plaquette=plaquette,
        recorded_link_trace=trace,
        checksums=MappingProxyType(checksums),
        header=MappingProxyType(header),
    )
    return U, metadata
