"""The scripts by which shells complete commands, options and files."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runs import Cli
from verydeep.arguments import SHELLS
from verydeep.cli import COMMANDS


@pytest.fixture
def scripts(inside: Cli) -> dict[str, str]:
    return {shell: inside("--completion", shell).stdout for shell in SHELLS}


def complete(shell: str, script: str, line: str, folder: Path) -> set[str]:
    """Return what a shell offers when Tab is pressed behind a line."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (folder / "script").write_text(script)
    words = line.split(" ")
    code = {
        "bash": f'source ./script; COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); COMP_CWORD={len(words) - 1}; '
        '_tyro_verydeep; printf "%s\\n" "${COMPREPLY[@]}"',
        "fish": f'source ./script; complete -C "{line}"',
    }[shell]
    done = subprocess.run([shell, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return {offer.split("\t")[0].rstrip("/") for offer in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_all_commands(shell: str, scripts: dict[str, str]) -> None:
    assert [name for name in COMMANDS if name not in scripts[shell]] == []


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("verydeep tra", {"train", "transfer"}),
        ("verydeep train photos --init-f", {"--init-from"}),
        ("verydeep evaluate ph", {"photos"}),  # an argument without an option's name
        ("verydeep evaluate photos ru", {"runs"}),
        ("verydeep train --init-from ru", {"runs"}),
    ],
)
def test_what_is_offered(shell: str, line: str, offered: set[str], scripts: dict[str, str], tmp_path: Path) -> None:
    for name in ("photos", "runs"):
        (tmp_path / name).mkdir()
    assert complete(shell, scripts[shell], line, tmp_path) == offered


@pytest.mark.parametrize("arguments", [(), ("tcsh",), ("bash", "zsh")])
def test_other_shells_are_refused(arguments: tuple[str, ...], inside: Cli) -> None:
    refused = inside("--completion", *arguments, check=False)
    assert refused.returncode == 2 and "bash, fish or zsh" in refused.stderr


@pytest.mark.parametrize("arguments", [("--tyro-print-completion", "bash"), ("train", "--tyro-print-completion")])
def test_options_of_tyro_are_none_of_ours(arguments: tuple[str, ...], inside: Cli) -> None:
    refused = inside(*arguments, check=False)
    assert refused.returncode == 2 and "has no option --tyro-print-completion" in refused.stderr
