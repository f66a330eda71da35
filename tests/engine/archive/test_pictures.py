"""What stands beside a photograph, upright, and what stands for a file that is gone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHAPES, picture
from verydeep.data.split import Split
from verydeep.engine.archive import pictures
from verydeep.engine.archive.pictures import draw_neighbors, name_of, shorten_text
from verydeep.engine.archive.search import Neighbor


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        Image.fromarray(picture(*SHAPES[number], seed=number)).save(path, quality=93)
    return paths


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The images and words that matplotlib is given."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    found: dict[str, list[Any]] = {"images": [], "words": [], "tiles": []}
    imshow, text, inside = Axes.imshow, Figure.text, Axes.text

    def note_image(self: Axes, image: Any) -> Any:
        found["images"].append(image.copy())
        return imshow(self, image)

    def note_words(self: Figure, x: float, y: float, words: str, **options: Any) -> Any:
        found["words"].append(words)
        return text(self, x, y, words, **options)

    def note_tile(self: Axes, x: float, y: float, words: str, **options: Any) -> Any:
        found["tiles"].append(words)
        return inside(self, x, y, words, **options)

    monkeypatch.setattr(Axes, "imshow", note_image)
    monkeypatch.setattr(Figure, "text", note_words)
    monkeypatch.setattr(Axes, "text", note_tile)
    return found


def test_a_photograph_beside_its_neighbors(photos: list[Path], drawn: dict[str, list[Any]], tmp_path: Path) -> None:
    """The photograph first, then its neighbors in their order, with their similarities."""
    neighbors = [Neighbor(photos[number], 1 - number / 7) for number in (0, 3, 2)]
    draw_neighbors(Split.of_photographs(photos[:1]), [neighbors], tmp_path / "made" / "picture.png")
    assert [image.size[::-1] for image in drawn["images"]] == [SHAPES[number] for number in (0, 0, 3, 2)]
    folder = tmp_path.name
    assert drawn["words"][0].endswith("0.jpg") and "\n" not in drawn["words"][0]
    told = [words.split("\n") for words in drawn["words"][1:]]
    assert [similarity for similarity, _ in told] == ["1.000", "0.571", "0.714"]
    assert [name[-5:] for _, name in told] == ["0.jpg", "3.jpg", "2.jpg"] and f"{folder[-5:]}/" in told[0][1]
    with Image.open(tmp_path / "made" / "picture.png") as image:
        assert image.width > 700 and np.asarray(image.convert("L")).std() > 20


@pytest.mark.parametrize("count", [0, 1, 5, 6, 13])
def test_tiles_do_not_overlap(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Nor reach over the borders, whatever the number of neighbors."""
    from matplotlib.figure import Figure

    tiles: list[tuple[float, float, float, float]] = []
    add_axes = Figure.add_axes
    monkeypatch.setattr(Figure, "add_axes", lambda self, place: (tiles.append(place), add_axes(self, place))[1])
    monkeypatch.setattr(pictures, "show", lambda *_: None)
    draw_neighbors(Split.of_photographs(photos[:2]), [[Neighbor(photos[0], 1)] * count] * 2, tmp_path / "picture.png")
    assert len(tiles) == 2 * (1 + count)
    for number, (left, bottom, width, height) in enumerate(tiles):
        assert 0 < left < left + width < 1 and 0 < bottom < bottom + height < 1
        for other in tiles[:number]:
            apart = left >= other[0] + other[2] or other[0] >= left + width
            assert apart or bottom >= other[1] + other[3] or other[1] >= bottom + height


def test_photographs_are_upright(tmp_path: Path, drawn: dict[str, list[Any]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(picture(40, 90)).save(path, exif=exif)
    draw_neighbors(Split.of_photographs([path]), [[]], tmp_path / "picture.png")
    (image,) = drawn["images"]
    assert image.size == (40, 90)


def test_what_is_gone_is_a_gray_tile(photos: list[Path], drawn: dict[str, list[Any]], tmp_path: Path) -> None:
    photos[2].unlink()
    photos[3].write_bytes(b"no picture any more")
    draw_neighbors(
        Split.of_photographs(photos[:1]), [[Neighbor(path, 0.5) for path in photos[1:]]], tmp_path / "picture.png"
    )
    assert drawn["tiles"] == ["missing", "unreadable"] and len(drawn["images"]) == 3 and len(drawn["words"]) == 5


def test_a_picture_holds_so_many(
    photos: list[Path], drawn: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_QUERIES", 2)
    monkeypatch.setattr(pictures, "MOST_NEIGHBORS", 6)
    each = [Neighbor(path, 0.5) for path in photos] * 3
    draw_neighbors(Split.of_photographs(photos), [each] * 5, tmp_path / "picture.jpg")
    assert len(drawn["images"]) == 2 * (1 + 6)


def test_the_largest_picture_can_be_written(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matplotlib refuses sides of 65,536 pixels."""
    from matplotlib.figure import Figure

    sizes: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: (sizes.append(self.get_size_inches()), path.touch()))
    monkeypatch.setattr(Figure, "add_axes", lambda *_: None)
    monkeypatch.setattr(pictures, "show", lambda *_: None)
    count = pictures.MOST_QUERIES + 1
    draw_neighbors(
        Split.of_photographs(photos[:1] * count), [[Neighbor(photos[0], 1)] * 60] * count, tmp_path / "picture.png"
    )
    assert 10_000 < max(sizes[0]) * pictures.DPI < 65_536


@pytest.mark.parametrize("suffix", pictures.FORMATS)
def test_formats(photos: list[Path], tmp_path: Path, suffix: str) -> None:
    """Whatever letters a name has."""
    odd = photos[0].rename(tmp_path / "日本\n\udcff $x_1$.jpg")
    draw_neighbors(Split.of_photographs([odd]), [[Neighbor(odd, 1)]], tmp_path / f"picture{suffix}")
    assert (tmp_path / f"picture{suffix}").stat().st_size > 1000


def test_names_say_the_folder_and_are_cut_in_front() -> None:
    assert name_of(Path("/photos/panda/1.jpg")) == "panda/1.jpg" and name_of(Path("1.jpg")) == "1.jpg"
    assert name_of(Path("a\nb/\udcff.jpg")) == "a\N{REPLACEMENT CHARACTER}b/\N{REPLACEMENT CHARACTER}.jpg"
    assert shorten_text("panda/1.jpg", 11) == "panda/1.jpg" and shorten_text("panda/1.jpg", 7) == "…/1.jpg"
