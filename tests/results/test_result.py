"""Results as tables, records, JSON, CSV and HTML."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console

from verydeep.engine.nets.net import Net
from verydeep.models.weights.model_folder import ModelConfig
from verydeep.ops.arrays import Float32Array
from verydeep.results.explanations import Explanations
from verydeep.results.neighbors import Neighbors
from verydeep.results.predictions import Predictions
from verydeep.results.result import Format, Record, Result, print_result, short_text
from verydeep.results.verified_data import VerifiedData


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Result):
    """Scores of images."""

    images: tuple[str, ...]
    values: Float32Array
    folder: Path
    formats: ClassVar[Mapping[str, str]] = {"score": ".1%"}

    def records(self) -> list[Record]:
        return [
            {"image": image, "rank": i + 1, "score": value, "right": value > 0.5, "scales": [256, 384]}
            for image, row in zip(self.images, self.values.tolist(), strict=True)
            for i, value in enumerate(row)
        ]

    def footer(self) -> list[str]:
        return ["Two images [bold]only[/bold]."]


SCORES = Scores(("a, b.jpg", "<c>.jpg"), np.array([[0.75, 0.125], [0.5, 0.0625]], np.float32), Path("x/y"))


@dataclass(frozen=True, eq=False, repr=False)
class SummarizedScores(Scores):
    """Scores with a summary."""

    @property
    def summary(self) -> str:
        return "Right on <all>."


def test_the_summary_comes_before_the_table() -> None:
    summarized = SummarizedScores(SCORES.images, SCORES.values, SCORES.folder)
    assert printed("table", summarized).splitlines()[0] == "Right on <all>."
    assert summarized._repr_html_().startswith("<p><b>Right on &lt;all&gt;.</b></p><table>")


def test_file_names_neither_break_the_lines_of_a_table_nor_color_the_terminal() -> None:
    result = Scores(("a\nb.jpg", "\x1b[31mred.jpg"), SCORES.values, SCORES.folder)
    lines = printed("table", result).splitlines()
    assert lines[1].startswith("a\\nb.jpg") and lines[3].startswith("\\x1b[31mred.jpg")
    assert json.loads(printed("json", result).splitlines()[0])["image"] == "a\nb.jpg"


def printed(format: Format, result: Result = SCORES) -> str:  # noqa: A002
    stream = io.StringIO()
    print_result(result, format, stream)
    return stream.getvalue()


def test_a_table_has_a_block_for_each_image_and_remarks_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = [line.split() for line in printed("table").splitlines()]
    assert lines == [
        ["image", "rank", "score", "right", "scales"],
        ["a,", "b.jpg", "1", "75.0%", "yes", "256,384"],
        ["2", "12.5%", "256,384"],
        ["<c>.jpg", "1", "50.0%", "256,384"],
        ["2", "6.2%", "256,384"],
        ["Two", "images", "[bold]only[/bold]."],
    ]


def test_json_is_one_object_a_line() -> None:
    assert [json.loads(line) for line in printed("json").splitlines()] == SCORES.records()


def test_csv_has_a_line_for_each_record() -> None:
    rows = list(csv.reader(io.StringIO(printed("csv"))))
    assert rows[0] == ["image", "rank", "score", "right", "scales"]
    assert rows[1] == ["a, b.jpg", "1", "0.75", "1", "[256, 384]"]
    assert len(rows) == 5


def test_output_that_is_no_terminal_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "photographs/" * 30
    assert long in printed("table", Scores((long,), np.ones((1, 1), np.float32), Path()))


def test_without_records_nothing_but_the_remarks_is_printed() -> None:
    nothing = Scores((), np.empty((0, 2), np.float32), Path())
    assert [printed(each, nothing) for each in ("json", "csv")] == ["", ""]  # type: ignore[arg-type]
    assert printed("table", nothing) == "Two images [bold]only[/bold].\n"


def test_images_that_no_margin_gives_a_class_are_named() -> None:
    scores = np.array([[-0.5, -0.1], [0.2, -0.3]], np.float32)
    predictions = Predictions(("a.jpg", "b.jpg"), scores, ("cat", "dog"), ("cat", "dog"), kind="margin")
    assert predictions.footer() == ["No class has a positive margin in a.jpg."]
    assert replace(predictions, kind="probability").footer() == []


def test_margins_of_two_classes_are_explained() -> None:
    """The margins of two classes of which each photograph has one are opposite, so one of them is always positive."""
    sentence = "One of the two classes always has a positive margin, also in an image of neither."
    names = ("cat", "dog")

    def footers(margins: list[list[float]]) -> list[list[str]]:
        scores, files = np.array(margins, np.float32), ("a.jpg", "b.jpg")
        predictions = Predictions(files, scores, names, names, kind="margin")
        labels, filters = scores.argmax(axis=1)[:, None], np.zeros((1, 3, 3, 3), np.float32)
        explanations = Explanations(files, ((), ()), labels, scores, names, names, filters, kind="margin")
        return [predictions.footer(), explanations.footer()]

    assert footers([[0.4, -0.40002], [-1.1, 1.1]]) == [[sentence], [sentence]]
    assert footers([[0.4, -0.4], [1.1, 1.1]]) == [[], []]
    shares = Predictions(("a.jpg",), np.array([[0.25, 0.75]], np.float32), names, names)
    assert shares.footer() == []


def test_a_representation_is_short() -> None:
    assert repr(SCORES) == "Scores(images=('a, b.jpg', '<c>.jpg'), values=float32 (2, 2), folder='x/y')"
    many = Scores(tuple("abcdef"), np.zeros((6, 1000), np.float32), Path())
    assert repr(many) == "Scores(images=<6 items>, values=float32 (6, 1000), folder='.')"


def test_a_representation_holds_no_other_result_and_no_long_list() -> None:
    nested = Scores((SCORES, "x" * 200), SCORES.values, SCORES.folder)  # type: ignore[arg-type]
    assert repr(nested).startswith("Scores(images=<2 items>, values=") and short_text(SCORES) == "<Scores>"
    names = tuple(f"class {number}" for number in range(1000))
    config = ModelConfig("A", names, names)
    assert repr(Net(Path("runs/a"), Path("runs/a/model"), config)) == "<Net runs/a: A, crop 224, 1,000 classes>"


def test_an_image_that_is_given_twice_is_named_twice() -> None:
    twice = replace(SCORES, images=("a.jpg", "a.jpg"))
    assert [line.split()[0] for line in printed("table", twice).splitlines() if "%" in line and "a.jpg" in line] == [
        "a.jpg",
        "a.jpg",
    ]


def test_a_dictionary_holds_plain_values_alone() -> None:
    values = SCORES.as_dict()
    assert values == {"images": ["a, b.jpg", "<c>.jpg"], "values": [[0.75, 0.125], [0.5, 0.0625]], "folder": "x/y"}
    json.dumps(values)


def test_a_notebook_gets_html_that_is_escaped_and_not_endless() -> None:
    text = SCORES._repr_html_()
    assert "&lt;c&gt;.jpg" in text and "<c>" not in text and "<p>Two images [bold]only[/bold].</p>" in text
    many = Scores(tuple(map(str, range(300))), np.zeros((300, 1), np.float32), Path())
    assert many._repr_html_().count("<tr>") == 101
    assert "100 of 300 rows are shown." in many._repr_html_()


def test_moved_photographs_of_an_archive_have_a_remedy() -> None:
    similarities = np.array([[0.875]], np.float32)
    there, gone = (Neighbors(("a",), (("b",),), similarities, np.array([[missing]])) for missing in (False, True))
    assert there.footer() == []
    (line,) = gone.footer()
    assert "no longer where they were" in line and "manifest.json, as images_root" in line


def test_rich_renders_a_result() -> None:
    console = Console(width=80, file=io.StringIO())
    with console.capture() as capture:
        console.print(SCORES)
    assert "75.0%" in capture.get()


def test_sentences_are_not_broken() -> None:
    """The terminal does it, so that a path can be copied; summary and remarks alike."""
    sentence = " ".join(["word"] * 40)

    class Long(Scores):
        @property
        def summary(self) -> str:
            return sentence

        def footer(self) -> list[str]:
            return [sentence]

    text = Long(SCORES.images, SCORES.values, SCORES.folder).to_text(80).splitlines()
    assert text[0] == text[-1] == sentence


LONG_NAME = "holiday/2024/a long folder of photographs from the sea/IMG_20240301_123456.jpg"
FINDING = "cannot be decoded: image file is truncated (3 bytes not processed)"
LONG_RESULTS = (
    VerifiedData(Path("x"), "class folders", 3, {LONG_NAME: FINDING}, ((LONG_NAME, "CMYK"),)),
    Predictions((LONG_NAME,), np.array([[0.875, 0.125]], np.float32), ("a", "b"), ("golden retriever", "Labrador")),
    Neighbors((LONG_NAME,), ((LONG_NAME,),), np.array([[0.875]], np.float32), np.array([[True]])),
)


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("result", LONG_RESULTS, ids=lambda result: type(result).__name__)
def test_narrow_terminals_fold_words_and_lose_none(result: Result, width: int) -> None:
    text = result.to_text(width)
    table = [line for line in text.splitlines() if line not in result.footers()]
    assert max(map(len, table)) <= width
    assert "too narrow" not in text and "…" not in text
    figure = {"VerifiedData": "yes", "Predictions": "87.5%", "Neighbors": "0.875"}[type(result).__name__]
    words = "truncated" if isinstance(result, VerifiedData) else "holiday/2024/"
    assert figure in text and words in text
