"""The house itself: import contracts, documents that tell the truth, complete paper folders."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[1]
LARGEST_FILE_BYTES = 500_000
LARGEST_RECORD_PNG_BYTES = 300_000
PAPERS = sorted(path.parent for path in (ROOT / "papers").glob("*/run.py"))
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "lattice/*.md", "sbi/*.md", "papers/**/*.md")
    for path in ROOT.glob(pattern)
)


def tracked_files():
    """Every file that git tracks and that is still there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_import_contracts():
    finished = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", finished.stdout)
    assert kept is not None
    assert int(kept[1]) >= 3


def test_every_make_command_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "smoke", "lint", "bench", "clean"} <= targets
    named = {
        (path.name, name)
        for path in DOCUMENTS
        for name in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 5
    assert [pair for pair in sorted(named) if pair[1] not in targets] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    local = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in local if link and not (document.parent / link).exists()] == []


def test_tracked_files_are_small():
    large = [path for path in tracked_files() if path.stat().st_size > LARGEST_FILE_BYTES]
    assert large == []


def test_pins_cover_the_dependencies_and_hold_no_address():
    text = (ROOT / "constraints.txt").read_text()
    lines = text.splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[^\s@:/]+", line)] == []
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in wanted}
    assert names - pinned == set()


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    package = (ROOT / "diffhep" / "__init__.py").read_text()
    assert f"version: {project['version']}\n" in citation
    assert f'__version__ = "{project["version"]}"' in package


def test_there_is_a_paper():
    assert "kanwar2020" in [path.name for path in PAPERS]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_paper_folder_is_complete(paper):
    for name in ("README.md", "run.py", "plot.py", "expected.json"):
        assert (paper / name).is_file(), name
    expected = json.loads((paper / "expected.json").read_text())
    assert {"smoke", "demo", "full"} <= expected.keys()
    for claims in expected.values():
        assert claims
        names = [claim["name"] for claim in claims]
        assert len(set(names)) == len(names)
        for claim in claims:
            assert claim.keys() == {"name", "rule", "reference", "source"}


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_record_of_the_paper_is_complete(paper):
    records = [file.parent for file in (paper / "record").rglob("results.json")]
    assert paper / "record" in records
    for record in records:
        results = json.loads((record / "results.json").read_text())
        assert results["paper"] == paper.name
        assert f"papers run {paper.name}" in results["command"]
        assert results["claims"]
        pictures = list(record.glob("*.png"))
        assert pictures
        assert max(path.stat().st_size for path in pictures) <= LARGEST_RECORD_PNG_BYTES


def test_the_example_of_the_readme_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    mean, error = map(float, re.findall(r"plaquette: ([\d.]+) \+- ([\d.]+)", printed)[0])
    exact = float(re.findall(r"exact plaquette: ([\d.]+)", printed)[0])
    # Five standard errors of about a thousand effective measurements: 1e-6 false alarms; the seed
    # is fixed, and the rounding of the printed numbers adds at most their last digit.
    assert abs(mean - exact) < 5 * error + 1e-4
