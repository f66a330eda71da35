"""Queries next to their neighbors, upright, and tiles for files that have gone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHAPES, picture
from verydeep.data.split import Split
from verydeep.engine.archive.pictures import (
    DPI,
    FORMATS,
    LABEL_HEIGHT,
    MAX_NEIGHBORS,
    MAX_QUERIES,
    compose_picture,
    draw_neighbors,
    lay_out_tiles,
    short_name,
    shorten_text,
)
from verydeep.engine.archive.search import Neighbor


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(*SHAPES[number], seed=number)).save(path, quality=93)
    return paths


def shown_shapes(figure: Any) -> list[tuple[int, int]]:
    """Return (height, width) of the images in a figure, or nothing for a gray tile."""
    return [axes.get_images()[0].get_array().shape[:2] if axes.get_images() else () for axes in figure.axes]


def test_query_and_its_neighbors(photos: list[Path], tmp_path: Path) -> None:
    """The query first, then its neighbors in their order, with their similarities."""
    neighbors = [Neighbor(photos[number], 1 - number / 7) for number in (0, 3, 2)]
    queries = Split.of_photographs(photos[:1])
    figure = compose_picture(queries, [neighbors])
    assert shown_shapes(figure) == [SHAPES[number] for number in (0, 0, 3, 2)]
    query, *labels = [text.get_text() for text in figure.texts]
    assert query.endswith("0.jpg") and "\n" not in query
    lines = [label.split("\n") for label in labels]
    assert [similarity for similarity, _ in lines] == ["1.000", "0.571", "0.714"]
    assert [name[-5:] for _, name in lines] == ["0.jpg", "3.jpg", "2.jpg"]
    assert f"{tmp_path.name[-5:]}/" in lines[0][1]
    draw_neighbors(queries, [neighbors], tmp_path / "made" / "picture.png")
    with Image.open(tmp_path / "made" / "picture.png") as image:
        assert image.width > 700 and np.asarray(image.convert("L")).std() > 20


@pytest.mark.parametrize("count", [0, 1, 5, 6, 13])
def test_tiles_do_not_overlap(photos: list[Path], count: int) -> None:
    """With their labels; nor do they reach over the borders, whatever the number of neighbors."""
    queries = Split.of_photographs(photos[:2])
    tiles, (width, height) = lay_out_tiles(queries, [[Neighbor(photos[0], 1)] * count] * 2)
    assert len(tiles) == 2 * (1 + count)
    for number, tile in enumerate(tiles):
        assert 0 < tile.left < tile.left + tile.side < width
        assert 0 < tile.top < tile.top + tile.side + LABEL_HEIGHT < height
        for other in tiles[:number]:
            is_beside = tile.left >= other.left + other.side or other.left >= tile.left + tile.side
            is_below = tile.top >= other.top + other.side + LABEL_HEIGHT
            is_above = other.top >= tile.top + tile.side + LABEL_HEIGHT
            assert is_beside or is_below or is_above


def test_photographs_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(picture(40, 90)).save(path, exif=exif)
    assert shown_shapes(compose_picture(Split.of_photographs([path]), [[]])) == [(90, 40)]


def test_file_that_has_gone_is_a_gray_tile(photos: list[Path]) -> None:
    photos[2].unlink()
    photos[3].write_bytes(b"no picture any more")
    neighbors = [Neighbor(path, 0.5) for path in photos[1:]]
    figure = compose_picture(Split.of_photographs(photos[:1]), [neighbors])
    assert shown_shapes(figure) == [SHAPES[0], SHAPES[1], (), (), SHAPES[4]] and len(figure.texts) == 5
    reasons = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert reasons == ["missing", "unreadable"]


def test_largest_picture_can_be_written(photos: list[Path]) -> None:
    """Matplotlib refuses sides of 65,536 pixels; what does not fit is left out."""
    count = MAX_QUERIES + 1
    queries = Split.of_photographs(photos[:1] * count)
    tiles, size = lay_out_tiles(queries, [[Neighbor(photos[0], 1)] * (MAX_NEIGHBORS + 10)] * count)
    assert len(tiles) == MAX_QUERIES * (1 + MAX_NEIGHBORS)
    assert 10_000 < max(size) * DPI < 65_536


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(photos: list[Path], tmp_path: Path, suffix: str) -> None:
    """With any characters in a name."""
    odd = photos[0].rename(tmp_path / "日本\n\udcff $x_1$.jpg")
    draw_neighbors(Split.of_photographs([odd]), [[Neighbor(odd, 1)]], tmp_path / f"picture{suffix}")
    assert (tmp_path / f"picture{suffix}").stat().st_size > 1000


def test_names_have_the_folder_and_lose_their_beginning() -> None:
    assert short_name(Path("/photos/panda/1.jpg")) == "panda/1.jpg" and short_name(Path("1.jpg")) == "1.jpg"
    assert short_name(Path("a\nb/\udcff.jpg")) == "a\N{REPLACEMENT CHARACTER}b/\N{REPLACEMENT CHARACTER}.jpg"
    assert shorten_text("panda/1.jpg", 11) == "panda/1.jpg" and shorten_text("panda/1.jpg", 7) == "…/1.jpg"
