"""An archive of a few pictures."""

from pathlib import Path

import pytest

from tests.engine.archive.archives import make_net, update


@pytest.fixture
def folder(tmp_path: Path, class_folders: Path) -> Path:
    update(make_net(tmp_path / "run"), tmp_path / "out", class_folders / "val")
    return tmp_path / "out"
