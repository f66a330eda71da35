"""The command line as a process and as a function: help at once, exit codes."""

import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from verydeep.cli import main


def test_help_answers_at_once() -> None:
    code = "import sys; from verydeep.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "verydeep train" in done.stdout
    assert not {"torch", "matplotlib", "numpy", "scipy", "PIL"} & set(done.stderr.split())
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
    monkeypatch.setattr(sys, "argv", ["verydeep", "--version"])
    main()
    assert capsys.readouterr().out == f"verydeep {declared}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["train", "--network", "Z"], 1, "verydeep: --network Z is unknown: choose one of A, A-LRN, B,"),
        (["predict", "nowhere", "photo.jpg"], 1, "verydeep: There is no run, model folder or weight file nowhere"),
        (["trian"], 2, "train"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        ([], 2, "train"),
    ],
)
def test_errors_are_told_on_stderr(
    arguments: list[str],
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["verydeep", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    output = capsys.readouterr()
    assert (stop.value.code, output.out) == (code, "")
    assert told in output.err
    if code == 1:
        assert output.err.count("\n") == 1
