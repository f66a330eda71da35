"""Where downloads, posteriors and descriptors are kept."""

import logging
import os
import sys
from pathlib import Path

import pytest

from tests.permissions import locked, public_folder
from verydeep.engine.cache_folder import cache_folder


def test_the_cache_moves_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VERYDEEP_CACHE", "~/here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("VERYDEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "verydeep"
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "xdg" / "verydeep"


def test_a_file_in_its_place_is_named_once_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "file"))
    caplog.set_level(logging.INFO, "verydeep")
    assert cache_folder() == cache_folder()
    (cache_folder() / "new").touch()
    assert caplog.messages == [
        f"The cache {tmp_path / 'file'} cannot be written (it is a file), so nothing new is kept: set the "
        "environment variable VERYDEEP_CACHE to a folder that you can write."
    ]


@pytest.mark.skipif(os.name != "posix", reason="changes permissions")
@pytest.mark.parametrize("read_only", [".", "weights"])
def test_a_cache_that_may_only_be_read_is_read(monkeypatch: pytest.MonkeyPatch, read_only: str) -> None:
    """Also where one of its folders belongs to somebody else."""
    with public_folder() as folder:
        (folder / "weights").mkdir()
        (folder / "weights" / "net").write_text("kept")
        (folder / "weights").chmod(0o777)
        monkeypatch.setenv("VERYDEEP_CACHE", str(folder))
        with locked(folder / read_only, 0o555):
            temporary = cache_folder()
            assert temporary != folder
            assert (temporary / "weights" / "net").read_text() == "kept"
            (temporary / "weights" / "new").touch()
        assert [path.name for path in (folder / "weights").iterdir()] == ["net"]
