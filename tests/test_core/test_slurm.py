"""Jobs that are stopped and queued again, on submitit's local cluster."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from diffhep.core import slurm
from diffhep.core.errors import ConfigError, DiffhepError

# Counts to a number, one line a count in a file, and saves the count when it is told to stop.
COUNTER = """
    import pathlib, signal, sys, time

    folder, last, status = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    saved = folder / "saved"
    count = int(saved.read_text()) if saved.exists() else 0
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    (folder / f"started-at-{count}").touch()
    while count < last:
        count += 1
        time.sleep(0.02)
        if told:
            saved.write_text(str(count))
            sys.exit(130)
    (folder / "done").write_text(str(count))
    sys.exit(status)
"""


@pytest.fixture
def counter(tmp_path):
    def words(last, status=0):
        script = tmp_path / "counter.py"
        script.write_text(textwrap.dedent(COUNTER))
        return [sys.executable, str(script), str(tmp_path), str(last), str(status)]

    return words


def wait_for(path, seconds=60.0):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.02)


def starts(folder):
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("started-at-*"))


@pytest.mark.fast
def test_a_preempted_job_saves_and_is_queued_again(counter, tmp_path):
    job = slurm.submit(counter(300), folder=tmp_path / "jobs", cluster="local", timeout_min=5)
    wait_for(tmp_path / "started-at-0")
    (task,) = subprocess.run(
        ["pgrep", "-P", job.job_id], capture_output=True, text=True, check=True
    ).stdout.split()
    # What Slurm sends before a job's time is over or another job goes first.
    os.kill(int(task), signal.SIGUSR2)
    assert job.result() == 0
    assert (tmp_path / "done").read_text() == "300"
    first, second = starts(tmp_path)
    assert first == 0 < second < 300
    assert "Requeued job" in job.stdout()


@pytest.mark.instant
def test_a_command_runs_to_its_end_or_its_status_is_named(counter, tmp_path):
    assert slurm.ResumableCommand(counter(1))() == 0
    with pytest.raises(DiffhepError, match=r"counter.py .* ended with status 2"):
        slurm.ResumableCommand(counter(1, status=2))()


@pytest.mark.instant
def test_an_interrupted_command_waits_for_the_queue(counter, tmp_path):
    (tmp_path / "saved").write_text("1")
    command = slurm.ResumableCommand(counter(1, status=130), grace_s=0.3)
    start = time.monotonic()
    with pytest.raises(DiffhepError, match="status 130"):
        command()
    assert time.monotonic() - start > 0.3


@pytest.mark.instant
def test_a_command_that_does_not_save_is_killed():
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    stubborn += "print('on', flush=True); time.sleep(60)"
    command = slurm.ResumableCommand([sys.executable, "-c", stubborn], grace_s=1.0)
    seen = []

    def stop(*_):
        seen.append(command.checkpoint())
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            command()
    finally:
        signal.signal(signal.SIGALRM, old)
    assert command._process.returncode == -signal.SIGKILL
    (again,) = seen
    assert again.function.words == command.words
    assert again.function._process is None


@pytest.mark.instant
def test_bad_settings_are_named(tmp_path, monkeypatch):
    for settings, message in [
        ({"cluster": "cloud"}, "`cluster` must be slurm or local, but it is 'cloud'"),
        ({"timeout_min": 0}, "`timeout_min` must be at least 1"),
        ({"signal_delay_s": 0}, "`signal_delay_s` must be at least 1"),
        ({"max_requeues": -1}, "`max_requeues` must not be negative"),
        ({"cluster": "local", "colour": 1}, "`cluster` must take these settings"),
        ({"words": []}, "`words` must hold a command"),
    ]:
        words = settings.pop("words", ["true"])
        with pytest.raises(ConfigError, match=message) as info:
            slurm.submit(words, folder=tmp_path, **{"cluster": "local", **settings})
        assert "\n" not in str(info.value)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"`cluster` must take these settings, but: .*srun"):
        slurm.submit(["true"], folder=tmp_path, cluster="slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match="submitit installed, but it is missing"):
        slurm.submit(["true"], folder=tmp_path)


@pytest.mark.fast
def test_command_line(counter, tmp_path, capsys):
    words = ["--folder", str(tmp_path / "jobs"), "--cluster", "local", "--wait", "--"]
    assert slurm.main([*words, *counter(1)]) == 0
    assert "FINISHED" in capsys.readouterr().out
    assert slurm.main([*words, *counter(1, status=2)]) == 1
    assert slurm.main(["--folder", str(tmp_path), "--cluster", "cloud", "--", "true"]) == 2
    assert "`cluster` must be slurm or local" in capsys.readouterr().err
