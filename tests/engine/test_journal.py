"""What is said is kept."""

from pathlib import Path

import pytest
from rich.table import Table

from verydeep.engine.log import Log


def test_what_is_said_is_logged_and_only_the_main_process_speaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("net", "error")
    table.add_row("A", "29.6")
    for silent in (False, True):
        log = Log(tmp_path / "train.log", silent=silent)
        log.info("[bold]D/256[/bold] starts from A/256")
        log.show(table)
    told, logged = capsys.readouterr().out, (tmp_path / "train.log").read_text()
    for text in (told, logged):
        assert text.count("[bold]D/256[/bold] starts from A/256\n") == 1  # a net's name is no markup
        assert text.count("29.6") == 1
    Log().info("nothing is written")
    assert [path.name for path in tmp_path.iterdir()] == ["train.log"]
