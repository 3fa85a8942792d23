"""`python -m papers` on a shelf with one small paper: results, exit status, errors, resume."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from papers.__main__ import main

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
SHELF = Path(__file__).parent / "shelf"


@pytest.fixture(autouse=True)
def work_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WALK_TROUBLE", raising=False)


def run(*words, out="out", shelf=SHELF):
    return main(["run", "walk", "--preset", "smoke", "--out", str(out), *words], shelf)


def assert_one_line(capsys, *words):
    """Stderr is one line that starts with the program's name and holds every word."""
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1, stderr
    assert stderr.startswith("papers: ")
    for word in words:
        assert word in stderr


def test_list_names_title_and_presets(capsys):
    assert main(["list"], SHELF) == 0
    assert capsys.readouterr().out == "walk: A walk of Gaussian steps [smoke, demo, full]\n"


def test_run_writes_everything_and_passes(capsys, stored):
    assert run() == 0
    out = capsys.readouterr().out
    for name in ("config.json", "environment.json", "results.json", "data.h5"):
        assert Path("out", name).is_file()
    assert Path("out/figures/walk.png").stat().st_size > 1000
    assert "figure: out/figures/walk.png" in out
    assert out.count("PASS") == 2
    results, _ = stored(Path("out"))
    assert results["paper"] == "walk"
    assert results["preset"] == "smoke"
    assert [claim["pass"] for claim in results["claims"]] == [True, True]


def test_missed_claim_is_written_and_gives_one(capsys, stored):
    assert main(["run", "walk", "--preset", "full"], SHELF) == 1
    assert capsys.readouterr().out.count("MISS") == 1
    results, _ = stored(Path("runs/walk-full"))
    assert [claim["pass"] for claim in results["claims"]] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "wlk"], ["walk", "wlk"]),
        (["run", "walk", "--preset", "big"], ["smoke, demo, full", "'big'"]),
        (["run", "walk", "--seed", "x"], ["--seed", "'x'"]),
        (["run", "walk", "--sed", "1"], ["--sed"]),
        (["run"], ["run"]),
        (["rum"], ["rum"]),
        ([], ["run", "check"]),
        (["plot", "walk", "--out", "nowhere"], ["nowhere/data.h5"]),
        (["check", "walk", "--out", "nowhere"], ["nowhere/results.json"]),
        (["run", "walk", "--config", "nowhere.json"], ["nowhere.json"]),
    ],
)
def test_wrong_usage_is_one_line_and_two(arguments, words, capsys):
    assert main(arguments, SHELF) == 2
    assert_one_line(capsys, *words)
    assert not Path("runs").exists()


def test_settings_go_on_top_of_the_preset(stored):
    Path("few.json").write_text('{"walk": {"n_steps": 100}}')
    assert run("--config", "few.json") == 0
    config = json.loads(Path("out/config.json").read_text())
    _, arrays = stored(Path("out"))
    assert arrays["walk/stride"].shape == (100,)
    assert '"width": 1.0' in json.dumps(config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"walk": {"n_step": 100}}', ["n_step", "n_steps", "width"]),
        ('{"bars": 1}', ["bars", "bar"]),
        ('{"bar": "high"}', ["bar", "high"]),
        ("[1]", ["object"]),
        ("{", ["config", "JSON"]),
        ("", ["config", "JSON"]),
        ("null", ["object"]),
        ('{"walk": 3}', ["walk", "object"]),
        ('{"walk": {"n_steps": 2.5}}', ["walk.n_steps", "int", "2.5"]),
        ('{"walk": {"n_steps": -1}}', ["n_steps", "-1"]),
        ('{"bar": 1, "bar": 2}', ["bar", "twice"]),
        ('{"bar": NaN}', ["finite", "NaN"]),
        ("\ufeff\x00", ["config", "JSON"]),
    ],
)
def test_bad_settings_are_one_line_and_two(text, words, capsys):
    Path("bad.json").write_text(text)
    assert run("--config", "bad.json") == 2
    assert_one_line(capsys, *words)
    assert not Path("out").exists()


def test_refused_settings_leave_the_folder_to_better_ones(capsys):
    Path("settings.json").write_text('{"walk": {"n_steps": -1}}')
    # What the paper does not check itself, the library does, after the folder was made.
    assert run("--config", "settings.json") == 2
    assert not Path("out").exists()
    Path("settings.json").write_text('{"walk": {"n_steps": 100}}')
    assert run("--config", "settings.json") == 0
    capsys.readouterr()
    Path("settings.json").write_text('{"walk": {"n_steps": -1}}')
    assert run("--config", "settings.json", "--resume") == 2
    assert Path("out/results.json").is_file()


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '{"config": 3}', '{"seed": "x"}'])
def test_odd_config_of_a_folder_is_one_line(text, capsys):
    Path("out").mkdir()
    Path("out/config.json").write_text(text)
    assert run("--resume") == 2
    assert_one_line(capsys, "out")


def test_seed_is_of_64_bits(capsys):
    assert run("--seed", str(2**64)) == 2
    assert_one_line(capsys, "seed", "64 bits")
    assert not Path("out").exists()


@pytest.mark.parametrize("place", [0, 2000, -1], ids=["first", "middle", "last"])
def test_damaged_data_are_named(place, capsys):
    assert run() == 0
    data = Path("out/data.h5")
    content = bytearray(data.read_bytes())
    content[place] ^= 1
    data.write_bytes(content)
    capsys.readouterr()
    for command in ("plot", "check"):
        assert main([command, "walk", "--out", "out"], SHELF) == 2
        assert_one_line(capsys, "out/data.h5", "SHA-256", "results.json")
    # A run without results is drawn as it is, where it can be read.
    Path("out/results.json").unlink()
    data.write_bytes(content[:1000])
    assert main(["plot", "walk", "--out", "out"], SHELF) == 2
    assert_one_line(capsys, "out/data.h5")


def test_folder_in_use_is_refused(capsys):
    assert run() == 0
    capsys.readouterr()
    assert run() == 2
    assert_one_line(capsys, "--resume", "out")


def test_folder_of_another_run_is_refused(capsys):
    assert run() == 0
    capsys.readouterr()
    assert main(["run", "walk", "--preset", "demo", "--out", "out", "--resume"], SHELF) == 2
    assert_one_line(capsys, "preset", "'smoke'", "'demo'")
    Path("few.json").write_text('{"walk": {"n_steps": 100}}')
    assert run("--resume", "--config", "few.json") == 2
    assert_one_line(capsys, "walk.n_steps", "400", "100")
    assert run("--resume", "--seed", "1") == 2
    assert_one_line(capsys, "seed = 0", "1")


def test_interrupt_saves_and_the_printed_command_resumes(capsys, monkeypatch, assert_same_run):
    assert run(out="whole") == 0
    monkeypatch.setenv("WALK_TROUBLE", "interrupt")
    assert run(out="parts") == 130
    *_, last = capsys.readouterr().err.splitlines()
    assert not Path("parts/results.json").exists()
    monkeypatch.delenv("WALK_TROUBLE")
    label, _, command = last.partition(": ")
    words = shlex.split(command)
    assert label == "resume"
    assert words[1:3] == ["-m", "papers"]
    assert main(words[3:], SHELF) == 0
    assert_same_run("whole", "parts")


def test_killed_run_resumes_to_the_same_bits(assert_same_run):
    assert run(out="whole") == 0
    program = (
        "import sys; from pathlib import Path; import papers.__main__ as p; "
        f"p.enable_jax(p.CACHE); sys.exit(p.main(sys.argv[1:], Path({str(SHELF)!r})))"
    )
    command = ["run", "walk", "--preset", "smoke", "--out", "parts"]
    killed = subprocess.run(
        [sys.executable, "-c", program, *command],
        env={**os.environ, "WALK_TROUBLE": "kill", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not Path("parts/results.json").exists()
    assert run("--resume", out="parts") == 0
    assert_same_run("whole", "parts")


@pytest.mark.parametrize(
    ("kind", "words"), [("full disk", ["disk is full"]), ("bad data", ["finite, but it is nan"])]
)
def test_failure_is_one_line_and_two(kind, words, capsys, monkeypatch):
    monkeypatch.setenv("WALK_TROUBLE", kind)
    assert run() == 2
    assert_one_line(capsys, *words)
    monkeypatch.delenv("WALK_TROUBLE")
    assert run("--resume") == 0


def test_defect_shows_its_traceback(capsys, monkeypatch):
    monkeypatch.setenv("WALK_TROUBLE", "defect")
    assert run() == 3
    assert "Traceback" in capsys.readouterr().err


def test_plot_redraws_the_same_picture(capsys):
    assert run() == 0
    figure = Path("out/figures/walk.png")
    before = figure.read_bytes()
    figure.unlink()
    capsys.readouterr()
    assert main(["plot", "walk", "--out", "out"], SHELF) == 0
    assert figure.read_bytes() == before
    assert "figure: out/figures/walk.png" in capsys.readouterr().out


def test_check_reads_the_record_or_a_run(capsys):
    shelf = Path("shelf")
    shutil.copytree(SHELF, shelf)
    assert run(shelf=shelf) == 0
    record = shelf / "walk" / "record"
    record.mkdir(exist_ok=True)
    shutil.copy("out/results.json", record)
    assert main(["check", "walk"], shelf) == 0
    assert main(["check", "walk", "--out", "out"], shelf) == 0
    assert capsys.readouterr().out.count("MISS") == 0


@pytest.mark.parametrize(
    ("claim", "field", "value", "words"),
    [
        (0, "value", 3.0, ["MISS"]),
        (0, "value", None, ["MISS"]),
        (1, "reference", 0.1, ["reference 0.5 expected, 0.1 claimed"]),
        (1, "rule", ">", ["rule '>=' expected"]),
        (1, "source", "peer", ["source 'exact' expected"]),
        (1, "name", "width", ["expected, but not claimed", "claimed, but not expected"]),
    ],
)
def test_check_finds_what_was_changed(claim, field, value, words, capsys):
    assert run() == 0
    path = Path("out/results.json")
    results = json.loads(path.read_text())
    results["claims"][claim][field] = value
    path.write_text(json.dumps(results))
    capsys.readouterr()
    assert main(["check", "walk", "--out", "out"], SHELF) == 1
    out = capsys.readouterr().out
    for word in words:
        assert word in out


ODD_CLAIM = {"name": "a", "value": "x", "stderr": None, "reference": 0, "source": "", "rule": ">"}
ODD_RESULTS = ["", "{", "[]", "3", '{"claims": [{}]}', '{"claims": 3}']


@pytest.mark.parametrize("text", [*ODD_RESULTS, json.dumps({"claims": [ODD_CLAIM]})])
def test_check_of_a_damaged_file_is_one_line_and_two(text, capsys):
    Path("out").mkdir()
    Path("out/results.json").write_text(text)
    assert main(["check", "walk", "--out", "out"], SHELF) == 2
    assert_one_line(capsys, "results.json")


def test_the_program_enables_float64_and_a_library_does_not():
    words = [sys.executable, "-c"]
    look = "import jax; print(jax.config.jax_enable_x64)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def printed(code):
        finished = subprocess.run(
            [*words, f"{code}; {look}"], env=environment, check=True, capture_output=True, text=True
        )
        return finished.stdout.strip()

    assert printed("import papers.harness, diffhep.core.run") == "False"
    assert printed("import papers.__main__ as p; p.enable_jax(p.CACHE)") == "True"


def test_the_real_shelf_answers():
    words = [sys.executable, "-m", "papers"]
    listed = subprocess.run([*words, "list"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "kanwar2020: " in listed.stdout
    unknown = subprocess.run(
        [*words, "run", "nothing"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert unknown.returncode == 2
    assert "kanwar2020" in unknown.stderr
    assert unknown.stderr.count("\n") == 1
