"""Files that nobody expects: each gives the pixels of a formula or of another decoder, or one sentence."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.absurd_images import AbsurdFile, draw, encode, write_all
from tests.peers import need
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import UInt8Array
from verydeep.wording import escape_controls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes pipes, sockets and names of other bytes")
ROWS_OF_BLOCKS = 16 / 96
"""Share of rows that one row of a JPEG's blocks has: as much may be counted that is only partly there."""


@pytest.fixture(scope="module")
def absurd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[AbsurdFile]]:
    for package in ("cv2", "imagecodecs", "pillow_jxl"):
        need(package)
    folder = tmp_path_factory.mktemp("absurd")
    return folder, write_all(folder)


def read(path: Path) -> UInt8Array | str:
    """Return the pixels of a file, or the sentence about it."""
    split = Split.of_photographs([path])
    try:
        image = split.open_image(0)
    except DataError as error:
        return str(error)
    assert image.mode == "RGB" and split.image_size(0) == image.size
    return np.asarray(image)


def check_sentence(text: str, path: Path) -> None:
    assert text.startswith(escape_controls(str(path))) and text.endswith((".", "`"))
    rest = text.removeprefix(str(path))
    assert "\n" not in rest and "Traceback" not in rest and "please" not in rest.lower() and len(rest) < 200, text


def test_each_file_gives_its_pixels_or_a_sentence(absurd: tuple[Path, list[AbsurdFile]]) -> None:
    folder, files = absurd
    assert len(files) > 300
    for file in files:
        result = read(folder / file.name)
        if file.share is not None:
            check_cut(file, result, folder / file.name)
        elif file.pixels is None:
            assert isinstance(result, str), f"{file.name} is used"
            check_sentence(result, folder / file.name)
            assert re.search(file.sentence, result), result
        else:
            assert not isinstance(result, str), result
            assert result.shape == file.pixels.shape, file.name
            assert np.abs(result.astype(int) - file.pixels).max() <= file.levels, file.name


def check_cut(file: AbsurdFile, result: UInt8Array | str, path: Path) -> None:
    """A file without its end is used if three quarters of its rows are there; a progressive JPEG is then coarser."""
    assert file.pixels is not None and file.share is not None
    if isinstance(result, str):
        check_sentence(result, path)
        if rows := re.search(r"only (\d+)% of its rows", result):
            assert int(rows[1]) < 75 and (int(rows[1]) <= 100 * file.share or "progressive" in file.name), result
        assert file.share < 14 / 16 or re.search(r"\.(webp|avif|jxl|jp2)$", file.name), result
        return
    assert result.shape == file.pixels.shape
    difference = np.abs(result.astype(int) - file.pixels)
    if "progressive" in file.name:
        assert difference.mean() < 16, file.name
    else:
        assert (difference.max(axis=(1, 2)) <= file.levels).mean() >= 0.75 - ROWS_OF_BLOCKS, file.name


_SHORTEN = """
import os, sys
from pathlib import Path
import numpy as np
from tests.absurd_images import draw
from verydeep.data.pixels.decoded_image import decode_pixels

path = Path(sys.argv[1])
decoded = decode_pixels(path, False, None)
os.truncate(path, 100)
assert (np.asarray(decoded.to_rgb(path, None))[..., 0] == draw(1500, 1400)[..., 0]).all()
"""


@pytest.mark.parametrize("suffix", ["bmp", "tif", "pgm"])
def test_a_file_that_becomes_shorter_while_it_is_used_does_not_crash(tmp_path: Path, suffix: str) -> None:
    """As when another program writes it anew; Pillow would map the pixels of these files into memory."""
    path = tmp_path / f"gray.{suffix}"
    path.write_bytes(encode(draw(1500, 1400)[..., 0], {"bmp": "BMP", "tif": "TIFF", "pgm": "PPM"}[suffix]))
    command = [sys.executable, "-c", _SHORTEN, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, "")
