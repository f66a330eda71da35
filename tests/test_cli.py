"""The command line: help, options, messages, exit codes."""

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import verydeep as vd
from tests.runs import Cli
from verydeep.arguments import HEADINGS, name_options, read_options
from verydeep.cli import COMMANDS
from verydeep.models.cpu_engine import describe_engine

OWN_OPTIONS = {"devices", "format"}
"""Options that only the command line has."""


@pytest.fixture(scope="module")
def help_of() -> dict[str, str]:
    """The help of each command on a terminal of 80 columns."""
    environment = os.environ | {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}  # which boxes are drawn in
    return {
        name: subprocess.run(
            [sys.executable, "-m", "verydeep", name, "--help"],
            capture_output=True, check=True, env=environment, encoding="utf-8",
        ).stdout
        for name in COMMANDS
    }  # fmt: skip


def test_a_usage_line_shows_what_may_be_left_out_and_what_may_be_given_several_times(help_of: dict[str, str]) -> None:
    expected = {
        "train": "[DATA]",
        "transfer": "DATA RUN [RUN ...]",
        "predict": "RUN IMAGE [IMAGE ...]",
        "demo": "[RUN ...]",
        "verify": "DATA",
        "reproduce": "TABLE",
    }
    for name, words in expected.items():
        assert help_of[name].splitlines()[0] == f"usage: verydeep {name} [-h] [{name.upper()} OPTIONS] {words}"


def test_help_loads_nothing_slow() -> None:
    code = "import sys; from verydeep.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS) and "verydeep train" in done.stdout
    assert not {"torch", "matplotlib", "numpy", "scipy", "PIL"} & set(done.stderr.split())


def test_the_version_is_that_of_the_package(inside: Cli) -> None:
    declared = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
    first, engine = inside("--version").stdout.splitlines()
    assert first == f"verydeep {declared}" and engine == describe_engine()


# One function, two interfaces.


def test_every_command_is_a_public_function() -> None:
    for name, function in COMMANDS.items():
        assert getattr(vd, name) is function


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_an_option_with_help(name: str, help_of: dict[str, str]) -> None:
    parameters = inspect.signature(COMMANDS[name]).parameters
    options = {option.name: option for option in read_options(name, COMMANDS)}
    assert options.keys() - OWN_OPTIONS == parameters.keys() - OWN_OPTIONS
    for option in options.values():
        flag = f"--{'no-' if option.default is True else ''}{option.name.replace('_', '-')}"
        assert (option.is_positional or flag in help_of[name]) and option.option.help.endswith((".", '".')), option.name
        assert f"    {option.name}: " in (COMMANDS[name].__doc__ or "") or option.name in OWN_OPTIONS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_three_screens(name: str, help_of: dict[str, str]) -> None:
    rows = sum(max(1, -(-len(line) // 80)) for line in help_of[name].splitlines())
    assert rows <= 72
    assert "{" not in help_of[name] and "None" not in help_of[name]
    titles = re.findall(r"─ (\w+) options ─", help_of[name])
    assert [title for title in HEADINGS if title in titles] == titles
    long = [line for line in help_of[name].splitlines() if re.match(r"│ --\S+( \S+)? +│", line)]
    assert not long, "these are too long for a column"


# What is typed wrong.


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--network", "Z"], 1, "verydeep: --network Z is unknown: choose A, A-LRN, B, C, D, E or B-5x5."),
        (["predict", "nowhere", "photo.jpg"], 1, "verydeep: There is no run, model folder or weight file nowhere"),
        (["train", "--epochs", "0"], 1, "verydeep: --epochs 0 is out of range: give 1 or more."),
        (["train", "--devices", "0"], 1, "verydeep: --devices 0 is out of range: give 1 or more."),
        (["train", "--devices", "100000"], 1, "verydeep: --devices 100000 is too many, as this machine has "),
        (["train", "--width", "1e12"], 1, "verydeep: --width 1e+12 is out of range: give a number from 0.001 to 64."),
        (["train", "--fc-width", "9" * 12], 1, "verydeep: --fc-width 1e+12 is out of range: give a number from 1 to "),
        (["train", "--crop", "320000"], 1, "verydeep: --crop 320000 is too large: give at most 4096."),
        (["trian"], 2, "There is no command trian: did you mean train? The commands are train, evaluate, report"),
        (["Evaluate", "photos"], 2, "did you mean evaluate?"),
        (["train", "--lr", "0.1"], 2, "`verydeep train` has no option --lr: did you mean --learning-rate X?"),
        (["train", "--image-size=64"], 2, "did you mean --crop PIXELS?"),
        (["predict", "--image-size", "64"], 2, "did you mean --scales"),
        (["--versoin"], 2, "`verydeep` has no option --versoin: did you mean --version?"),
        (["train", "--img-size", "64"], 2, "did you mean --crop PIXELS?"),
        (["train", "--size", "64"], 2, "did you mean --crop PIXELS?"),
        (["train", "--bs", "8"], 2, "did you mean --batch-size N?"),
        (["train", "--batch", "8"], 2, "did you mean --batch-size N?"),
        (["train", "--model", "D"], 2, "did you mean --network NAME?"),
        (["train", "--arch", "D"], 2, "did you mean --network NAME?"),
        (["transfer", "a", "b", "--num_trian", "3"], 2, "did you mean --num-train N?"),
        (["train", "--epochs", "many"], 2, "--epochs many is not a whole number. --epochs N: Epochs to train."),
        (["train", "--width=wide"], 2, "--width wide is not a number. --width X: "),
        (["train", "--scale"], 2, "--scale needs a value. --scale S: "),
        (["train", "--scale", "--epochs", "3"], 2, "--scale needs a value."),
        (["train", "--task", "boxes"], 2, "--task boxes is unknown: choose classify or localize."),
        (["train", "photos", "more"], 2, "`verydeep train` takes DATA and nothing else: leave out more."),
        (["train", "-e", "3"], 2, "`verydeep train` has no option -e: `verydeep train --help` lists them."),
        (["prepare", "imagenet", "a", "b"], 2, "imagenet is unknown to `verydeep prepare`: choose ilsvrc."),
        (["evaluate"], 2, "DATA is missing: `verydeep evaluate DATA [RUN ...]`. DATA: Data set folder"),
        (["export", "run"], 2, "`verydeep export` needs --format: choose onnx, torch-export, torchvision or timm."),
        (["-v"], 2, "The command stands before its options, and -v is an option."),
        (["train", "--ephocs", "3"], 2, "--epochs N"),
        (["push", "run"], 2, "OWNER/NAME is missing: `verydeep push run OWNER/NAME`. OWNER/NAME: "),
        ([], 2, "Give a command, such as `verydeep train`."),
    ],
)
def test_mistakes_are_explained_on_standard_error(
    arguments: list[str], code: int, message: str, inside: Cli, tmp_path: Path
) -> None:
    refused = inside(*arguments, check=False)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_photographs_may_follow_options(trained: Path, photographs: Path, inside: Cli) -> None:
    images = [path for path in sorted(photographs.rglob("*.*")) if path.suffix in (".jpg", ".png")][:2]
    after = inside("predict", trained, images[0], "--top", 1, "--no-progress", images[1], "--format=json")
    assert after.stdout == inside("predict", trained, *images, "--top", 1, "--format", "json").stdout
    assert after.stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("`init_from` has other classes", "--init-from has other classes"),
        ("give `weights=last`", "give --weights last"),
        ("give `train=False` or `fast_decode=True`", "give --no-train or --fast-decode"),
        ("give `protocol=D/384/384 : crops`", 'give --protocol "D/384/384 : crops"'),
        ("choose another `out`", "choose another --out"),
        ("`data=generated` and `run`", "DATA generated and RUN"),
        ("see `verydeep train DATA` and `model`", "see `verydeep train DATA` and `model`"),
        ("`train` and `search` write it", "`train` and `search` write it"),
    ],
)
def test_parameters_in_messages_become_options(text: str, named: str) -> None:
    assert name_options(text, "train", COMMANDS) == named


def test_the_same_parameter_is_an_argument_here_and_an_option_there() -> None:
    assert name_options("`data` and `out`", "reproduce", COMMANDS) == "--data and --out"
    assert name_options("`data` and `out`", "convert", COMMANDS) == "DATA and OUT"
    assert name_options("`data` and `out`", "train", COMMANDS) == "DATA and --out"
    assert name_options("leave out `train`", "reproduce", COMMANDS) == "leave out --train"


# Output.


def test_a_reader_that_leaves_early_sees_no_error() -> None:
    command = f"{sys.executable} -m verydeep reproduce table1 --format json"
    done = subprocess.run(f"{command} | head -1", shell=True, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["network"] == "A" and done.stderr == ""


@pytest.mark.parametrize("command", ["train --help", "--version", "reproduce table1"])
def test_a_reader_that_reads_nothing_sees_no_error(command: str) -> None:
    """The pipe breaks for certain: the reader has ended before the command writes."""
    run = f"(sleep 0.5; COLUMNS=60 {sys.executable} -m verydeep {command}) | true"
    assert subprocess.run(run, shell=True, capture_output=True, text=True, check=True).stderr == ""


def test_messages_stay_out_of_json(trained: Path, photographs: Path, inside: Cli) -> None:
    table = inside("evaluate", photographs, trained, "--views", "center", "--scales", 256)
    done = inside("evaluate", photographs, trained, "--views", "center", "--scales", 256, "--format", "json")
    assert "Data: " in table.stdout and "Data: " in done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records == vd.evaluate(photographs, trained, views="center", scales=256).records()
    assert f"{records[-1]['errors_top1_percent']:.1f} [" in table.stdout


@pytest.mark.slow
def test_several_processes_print_one_result(trained: Path, photographs: Path, cli: Cli) -> None:
    common = ("evaluate", photographs, trained, "--views", "center", "--scales", 256, "--precision", "fp32")
    assert cli(*common, "--devices", 2, "--format", "json").stdout == cli(*common, "--format", "json").stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
@pytest.mark.parametrize("words", ["train d", "evaluate d r", "features r d --out o", "predict r d", "verify d"])
def test_a_low_limit_on_memory_is_one_sentence(words: str, tmp_path: Path) -> None:
    """Too low even for PyTorch's libraries."""
    command = f"ulimit -v 400000; exec {sys.executable} -m verydeep {words}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("verydeep: The memory of this process ran out: free some of it")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the open files of a process")
def test_forty_open_files_suffice(photographs: Path, trained: Path, tmp_path: Path) -> None:
    for words in (f"predict {trained} {photographs}/test", f"verify {photographs}"):
        command = f"ulimit -n 40; exec {sys.executable} -m verydeep {words} --workers 2"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert (done.returncode, done.stderr) == (0, "")
