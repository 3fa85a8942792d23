"""Public data: where a file is, what it must hash to, under which licence; fetched once."""

import hashlib
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from diffhep.core.errors import DataError

LOCAL_COPY = "DIFFHEP_DATA"
"""Environment variable: a folder with files of the registry, looked in before any download."""

TIMEOUT_S = 60.0
"""How long a server may be silent."""


@dataclass(frozen=True)
class Dataset:
    """One public file.

    Args:
        url: Where it is published.
        sha256: Hexadecimal digest of its bytes.
        licence: SPDX name of its licence.
        file_name: Its name on disk, in a folder if it has one; the last part of the url if empty.
        citation: Key of its reference in `diffhep.core.citations`, or empty.
        prepared: How the file is made from what is published; such a file is not downloaded.
    """

    url: str
    sha256: str
    licence: str
    file_name: str = ""
    citation: str = ""
    prepared: str = ""

    @property
    def name_on_disk(self) -> str:
        """The file's name in a cache or a local copy."""
        return self.file_name or self.url.rsplit("/", 1)[-1]


def _milc_sample(name: str, commit: str, sha256: str) -> tuple[str, Dataset]:
    """A gauge configuration of the MILC collaboration, with its name in the registry."""
    source = f"https://raw.githubusercontent.com/milc-qcd/milc_qcd/{commit}/binary_samples/{name}"
    key = f"milc_{name.removeprefix('lat.sample.').replace('.', '_')}"
    return key, Dataset(source, sha256, "MIT", f"milc_samples/{name}")


def _steel(grade: str, sha256: str) -> tuple[str, Dataset]:
    """A static major loop of electrical steel, with its name in the registry."""
    source = "https://github.com/modelica/ModelicaStandardLibrary"
    made = "the table of H_A_per_m, B_rising_T and B_falling_T of the grade's hysteresis data"
    file_name = f"fesi_steel/{grade}.csv"
    return f"fesi_{grade}", Dataset(source, sha256, "BSD-3-Clause", file_name, prepared=made)


REGISTRY: Mapping[str, Dataset] = MappingProxyType(
    dict(
        [
            _milc_sample(
                "lat.sample.l4444",
                "1a6358cefa0e69ef4c923ca129c8812bb9203551",
                "9ce236c102967556d48eb8209b417b21912a7e6a842f6074363b813d13e557a7",
            ),
            _milc_sample(
                "lat.sample.l4444.ildg",
                "9d8ecde412a072ec3841110fdeecec2eb5a04064",
                "dd1972d52d103542934d0ca49510659ae2601a676a0bb6799550d8311c81c9a0",
            ),
            _milc_sample(
                "lat.sample.l4444.scidac",
                "1a6358cefa0e69ef4c923ca129c8812bb9203551",
                "b62812d092ca05f5a51ec81ecc1eae751c76f847fff98a41be835884ab7ac6b1",
            ),
            _milc_sample(
                "lat.sample.l4448",
                "1a6358cefa0e69ef4c923ca129c8812bb9203551",
                "60ac8b6a072d7d1fd66669c43e8755c45153ccc40a57361b452eb121a9bda51a",
            ),
            _milc_sample(
                "lat.sample.l4448.scidac",
                "9d8ecde412a072ec3841110fdeecec2eb5a04064",
                "900fef6b9ce5b89e3edee59dff1b088d591ca980d3789d4a4b53a7e3cda4fe44",
            ),
            _milc_sample(
                "lat.sample.5p7",
                "1a6358cefa0e69ef4c923ca129c8812bb9203551",
                "0436475066b7f3ab4f93d7b9625c12b21ca701eb7a3b5f0a0daf7ab994a242ea",
            ),
        ]
    )
    | {
        "slac_quad_4194": Dataset(
            "https://github.com/roussel-ryan/diff_hysteresis/tree/"
            "26d2bb6b0a8ce3139653fe6e87f6d8e5777a6c92/examples/fitting/data",
            "c288a5ccfa5f867b4a6454647c39ac4e44effae524a6e3ed44bac0d8778279a5",
            "none stated",
            "slac_quad_4194/slac_quad_4194.csv",
            "arXiv:2202.07747",
            "the table of the six strplt files (run, seq_index, elapsed_min, I_A, I_sigma_A, BL_T, "
            "BL_sigma_T)",
        ),
        "magnetx_3c90": Dataset(
            "https://github.com/PaulShuk/MagNetX",
            "506b4d886ff3bc18aeef4c702f53e48c0cd8853fdfabdab5d1d57308a2dcb7cc",
            "MIT",
            "magnetx_3c90/magnetx_3c90.npz",
            prepared="arrays B, H, T and n_known of the test sequences of 3C90",
        ),
        "n87_core_loss": Dataset(
            "https://raw.githubusercontent.com/otvam/magnet_webinar_eqn_models/"
            "5f747d699c70cc5ec350d11790077b7b8129060b/data/N87_25C_eval.mat",
            "2857df89229411c0f0b7f8e3d60786fc2b798414262b78093b0ad02d54a6f737",
            "MIT",
            "n87_core_loss/N87_25C_eval.mat",
        ),
    }
    | dict(
        [
            _steel("M270_50A", "2c489dffa5699f381773f8971b11a0fb6fc2a19a799eed9be384fcb3375db9e9"),
            _steel("M330_50A", "54a2635b154edfea09bcd021252fdcf76301bd30c1c78675d99a86ff5d62f2c6"),
            _steel("M400_50A", "7af09cee9619193239916de624eefadbdeeddffb1dddc9fd1d6f6dffa3441cba"),
            _steel("M400_50AP", "f612f1a3fa3fd0492e09efe625841a5dfa84344a083ec1f45a30cc4ef4f66fc4"),
            _steel("M800_65A", "2794781e8fbe4daaabe7378e19ee8e10c60c5ac7b6966177dd358bd3c49cc880"),
        ]
    )
)
"""The data sets that ship with the library, by name; a paper may bring its own table."""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, dataset: Dataset) -> Path:
    """The path, after a check of its checksum."""
    found = _digest(path)
    if found != dataset.sha256:
        raise DataError(f"{path} must have SHA-256 {dataset.sha256}, but it has {found}.")
    return path


def _download(dataset: Dataset, target: Path) -> Path:
    """Bring a file into the cache; an interrupted or wrong download leaves nothing behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=target.name, suffix=".tmp", dir=target.parent)
    temporary = Path(name)
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            urllib.request.urlopen(dataset.url, timeout=TIMEOUT_S) as answer,
        ):
            shutil.copyfileobj(answer, file)
        found = _digest(temporary)
        if found != dataset.sha256:
            raise DataError(
                f"{dataset.url} must have SHA-256 {dataset.sha256}, but it has {found}."
            )
        temporary.replace(target)
    except OSError as error:
        raise DataError(
            f"Could not download {dataset.url}: {error}; put the file into a folder and set "
            f"{LOCAL_COPY} to it."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def fetch(
    name: str, *, registry: Mapping[str, Dataset] = REGISTRY, cache: Path | None = None
) -> Path:
    """The local path of a data set, downloaded if need be, its checksum verified each time.

    Args:
        name: Its name in the registry.
        registry: The table to look in.
        cache: Folder of downloads; `~/.cache/diffhep` if not given.

    Returns:
        The file: in the folder of `DIFFHEP_DATA` where it is there, else in the cache.

    Raises:
        DataError: The name is unknown, the file cannot be had, or its checksum is wrong.
    """
    if name not in registry:
        known = ", ".join(sorted(registry)) or "none"
        raise DataError(f"Argument `name` must be one of {known}, but it is {name!r}.")
    dataset = registry[name]
    if os.environ.get(LOCAL_COPY):
        local = Path(os.environ[LOCAL_COPY]) / dataset.name_on_disk
        if local.exists():
            return _verify(local, dataset)
    target = (cache or Path.home() / ".cache" / "diffhep") / dataset.name_on_disk
    if target.exists():
        return _verify(target, dataset)
    if dataset.prepared:
        raise DataError(
            f"{dataset.name_on_disk} is not downloaded here: it is {dataset.prepared} from "
            f"{dataset.url}; put it into a folder and set {LOCAL_COPY} to that."
        )
    return _download(dataset, target)
