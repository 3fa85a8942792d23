"""Public data: local copy first, checksums always, nothing left behind by a bad download."""

import hashlib

import pytest

from diffhep.core.datasets import LOCAL_COPY, REGISTRY, Dataset, fetch
from diffhep.core.errors import DataError

pytestmark = pytest.mark.instant

CONTENT = b"field,current\n1.0,2.0\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A server's folder, an empty cache and a registry; no local copy set."""
    monkeypatch.delenv(LOCAL_COPY, raising=False)
    server = tmp_path / "server"
    server.mkdir()
    (server / "loop.csv").write_bytes(CONTENT)
    registry = {
        "loop": Dataset((server / "loop.csv").as_uri(), DIGEST, "CC-BY-4.0"),
        "wrong": Dataset((server / "loop.csv").as_uri(), "0" * 64, "CC0-1.0", "wrong.csv"),
        "gone": Dataset((server / "gone.csv").as_uri(), DIGEST, "CC0-1.0"),
    }
    return server, tmp_path / "cache", registry


def test_downloads_once_and_verifies_every_time(place):
    server, cache, registry = place
    path = fetch("loop", registry=registry, cache=cache)
    assert path == cache / "loop.csv"
    assert path.read_bytes() == CONTENT
    (server / "loop.csv").unlink()
    assert fetch("loop", registry=registry, cache=cache) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=f"must have SHA-256 {DIGEST}"):
        fetch("loop", registry=registry, cache=cache)


def test_local_copy_comes_first_and_is_verified(place, tmp_path, monkeypatch):
    _, cache, registry = place
    local = tmp_path / "local"
    local.mkdir()
    monkeypatch.setenv(LOCAL_COPY, str(local))
    assert fetch("loop", registry=registry, cache=cache).parent == cache
    (local / "loop.csv").write_bytes(CONTENT)
    assert fetch("loop", registry=registry, cache=cache).parent == local
    (local / "loop.csv").write_bytes(b"other")
    with pytest.raises(DataError, match="local"):
        fetch("loop", registry=registry, cache=cache)


@pytest.mark.parametrize(
    ("name", "words"), [("wrong", "must have SHA-256 0000"), ("gone", "Could not download .*gone")]
)
def test_a_bad_download_leaves_nothing(name, words, place):
    _, cache, registry = place
    with pytest.raises(DataError, match=words) as info:
        fetch(name, registry=registry, cache=cache)
    assert "\n" not in str(info.value)
    assert list(cache.iterdir()) == []


def test_unknown_name_lists_the_known_ones(place):
    _, cache, registry = place
    with pytest.raises(DataError, match="gone, loop, wrong, but it is 'lop'"):
        fetch("lop", registry=registry, cache=cache)


def test_shipped_entries_are_complete():
    for dataset in REGISTRY.values():
        assert dataset.url.startswith("https://")
        assert len(dataset.sha256) == 64
        assert dataset.licence
