"""Which files of a folder are listed, and what is left out."""

import os
import socket
from pathlib import Path

import pytest

from tests.data.trees import put
from tests.permissions import locked, public_folder
from verydeep.data.folders.listing import Omissions, list_images, list_subfolders, normalize_name
from verydeep.data.pixels.decoding import decode
from verydeep.errors import DataError


@pytest.mark.parametrize(
    "folder",
    ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information", "#recycle", ".ipynb_checkpoints",
     ".Trashes", ".@__thumb", "THMBNL", "LOST.DIR", "FOUND.012", "_gsdata_", "#Recycle", "iPod Photo Cache",
     "Catalog Previews.lrdata", "Photos Library.photoslibrary"],
)  # fmt: skip
def test_folders_of_systems_are_left_out_and_counted(tmp_path: Path, folder: str) -> None:
    put(tmp_path, "cat/a.jpg", f"cat/{folder}/a.jpg", f"{folder}/deep/b.jpg")
    omissions = Omissions()
    assert list_images(tmp_path, omissions) == ["cat/a.jpg"]
    assert omissions.folders == {folder: 2}
    assert omissions.sentences(tmp_path) == [
        f"Left out of {tmp_path}, because a program, a camera or a cloud drive made them: 2 folders {folder}."
    ]


def test_files_of_systems_are_counted_if_they_are_named_like_images(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "._a.jpg", "._b.jpg", "~$c.png", ".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r")
    omissions = Omissions()
    assert list_images(tmp_path, omissions) == ["a.jpg"]
    (sentence,) = omissions.sentences(tmp_path)
    assert sentence.endswith("made them: 2 files ._*, 1 file ~$*.")


def test_names_that_people_give_are_no_leftovers(tmp_path: Path) -> None:
    files = ["#sunset/a.jpg", "@home/a.jpg", "Thumbs/a.jpg", "__mine/a.jpg", "misc/a.jpg", "recycled/a.jpg"]
    assert list_images(put(tmp_path, *files)) == files


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and sockets")
def test_pipes_sockets_and_devices_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s.jpg"))
        omissions = Omissions()
        assert list_images(tmp_path, omissions) == ["a.jpg"]
    (sentence,) = omissions.sentences(tmp_path)
    assert sentence.startswith(f"Left out of {tmp_path}, because they are not files: ")
    assert all(f"1 {kind}" in sentence for kind in ("pipe", "socket", "device"))


def test_broken_links_are_listed_so_that_decoding_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    assert list_images(tmp_path) == ["a.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="changes permissions")
@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_in_circles_are_followed_once_or_named(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.jpg")
    for link, target in {"cat/b.jpg": "b.jpg", "cat/c": "c", "cat/up": "..", "dot": ".", "circle": "circle"}.items():
        (tmp_path / link).symlink_to(target)
    assert list_images(tmp_path) == ["cat/a.jpg", "cat/b.jpg"]
    assert list_subfolders(tmp_path) == ["cat"]
    with pytest.raises(DataError, match=r"b\.jpg cannot be read: Too many levels of symbolic links"):
        decode(tmp_path / "cat/b.jpg", camera_rotation=True)


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_to_places_that_may_not_be_entered_are_named() -> None:
    with public_folder() as root:
        put(root, "locked/a.jpg", "photos/b.jpg")
        (root / "photos/a.jpg").symlink_to(root / "locked/a.jpg")
        (root / "photos/notes").symlink_to(root / "locked/notes")
        with locked(root / "locked"):
            assert list_images(root / "photos") == ["a.jpg", "b.jpg"]
            with pytest.raises(DataError, match=r"a\.jpg may not be read: change its permissions"):
                decode(root / "photos/a.jpg", camera_rotation=True)


def test_a_folder_that_may_not_be_read_is_an_error_or_a_file_that_reports_it() -> None:
    with public_folder() as root:
        put(root, "cat/a.jpg", "cat/locked/b.jpg")
        with locked(root / "cat" / "locked"):
            assert list_images(root) == ["cat/a.jpg", "cat/locked"]
            with pytest.raises(DataError, match="locked may not be read: change its permissions"):
                list_images(root / "cat" / "locked")
            with pytest.raises(DataError, match="locked may not be read: change its permissions"):
                decode(root / "cat" / "locked", camera_rotation=True)


def test_normal_forms_agree_and_what_is_no_text_is_escaped() -> None:
    assert normalize_name("cafe\u0301") == normalize_name("caf\u00e9") == "caf\u00e9"
    assert normalize_name("caf\udce9") == r"caf\udce9"
    assert normalize_name("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert normalize_name("猫 (1) [x]*") == "猫 (1) [x]*"


def test_videos_are_counted_and_are_no_images(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.jpg", "cat/a.mp4", "cat/b.MP4", "cat/c.mov", "clip.mkv")
    omissions = Omissions()
    assert list_images(tmp_path, omissions) == ["cat/a.jpg"]
    assert omissions.sentences(tmp_path) == [
        f"In {tmp_path} 1 .MP4 file is not read: extract pictures from it.",
        f"In {tmp_path} 1 .mkv file is not read: extract pictures from it.",
        f"In {tmp_path} 1 .mov file is not read: extract pictures from it.",
        f"In {tmp_path} 1 .mp4 file is not read: extract pictures from it.",
    ]
    with pytest.raises(DataError, match=r"clip\.mkv is a video: extract pictures from it"):
        decode(tmp_path / "clip.mkv", camera_rotation=True)


def test_packed_folders_are_counted_and_are_no_images(tmp_path: Path) -> None:
    """A cloud drive packs photographs into them, and what is in them would be missed."""
    put(tmp_path, "cat/a.jpg", "photos-001.zip", "photos-002.zip", "cat/b.RAR", "cat/c.gz")
    omissions = Omissions()
    assert list_images(tmp_path, omissions) == ["cat/a.jpg"]
    assert omissions.sentences(tmp_path) == [
        f"In {tmp_path} 1 .RAR file is not read: unpack it if it holds photographs.",
        f"In {tmp_path} 2 .zip files are not read: unpack them if they hold photographs.",
    ]
    with pytest.raises(DataError, match=r"photos-001\.zip is a packed folder: unpack it\.$"):
        decode(tmp_path / "photos-001.zip", camera_rotation=True)
