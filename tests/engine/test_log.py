"""Messages of a job."""

import logging
from pathlib import Path

import pytest
from rich.table import Table

from verydeep.engine.log import Log


def test_messages_go_to_the_logger_and_the_file_of_the_main_process_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("net", "error")
    table.add_row("A", "29.6")
    with caplog.at_level(logging.INFO, "verydeep"):
        for silent in (False, True):
            log = Log(tmp_path / "train.log", silent=silent)
            log.info("[bold]D/256[/bold] starts from A/256")
            log.show(table)
    logged = "".join(f"{message}\n" for message in caplog.messages)
    for text in (logged, (tmp_path / "train.log").read_text()):
        assert text.count("[bold]D/256[/bold] starts from A/256\n") == 1  # a net's name is no markup
        assert text.count("29.6") == 1
    Log().info("nothing is written")
    assert [path.name for path in tmp_path.iterdir()] == ["train.log"]
    assert capsys.readouterr() == ("", "")  # a Python caller's logging decides what is shown
