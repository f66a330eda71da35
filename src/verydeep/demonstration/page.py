"""The page: photographs on the left, and what is known about the chosen one on the right."""

import html
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

import verydeep as vd
from verydeep.configs.protocols import View
from verydeep.demonstration.examination import (
    MAX_BYTES,
    THUMBNAIL_SIDE,
    Examination,
    check_photograph,
    draw_map,
    examine,
    make_picture,
)
from verydeep.demonstration.subjects import Subjects
from verydeep.demonstration.texts import Row, list_classes, list_times, make_row, show_message

VIEWS: tuple[View, ...] = ("dense", "crops", "dense+crops", "center")
SCALES = (256, 384, 512)
"""The paper's test scales."""

PICTURE_HEIGHT = 340
"""Pixels of the page."""

INTRODUCTION = """# verydeep
Your photographs stay on this machine. What you drop here is deleted when the demonstration ends."""

Photograph = tuple[Path, str, Image.Image]
"""A photograph, its caption, and its thumbnail."""

Updates = dict[Any, Any]
"""Component -> its new value."""


@dataclass(frozen=True)
class _Page:
    """The components of the page."""

    upload: gr.File
    gallery: gr.Gallery
    message: gr.HTML
    name: gr.Dropdown
    view: gr.Radio
    scales: gr.CheckboxGroup
    classes: gr.HTML
    times: gr.HTML
    label: gr.Dropdown
    place: gr.Radio
    score_map: gr.Image
    window: gr.HTML
    photograph: gr.Image
    """With the box of the most probable class, if a net predicts one."""
    neighbors: gr.Gallery
    photographs: gr.State
    """The photographs of one visitor's gallery."""
    chosen: gr.State
    """Path of the photograph that is shown."""
    given: gr.State
    """Its ``Examination``."""
    rows: gr.State
    """The table of times of this photograph."""

    @property
    def results(self) -> list[Any]:
        """The components that an answer changes."""
        return [
            *(self.message, self.classes, self.times, self.label, self.place, self.score_map, self.window),
            *(self.photograph, self.neighbors, self.given, self.rows),
        ]


def build_page(subjects: Subjects) -> gr.Blocks:
    """Return the page, without its server."""
    examples = []
    for path, words in subjects.examples:
        with suppress(vd.DataError):  # a file that cannot be decoded, or is gone
            examples.append((path, words, make_picture(path, THUMBNAIL_SIDE)))
    with gr.Blocks(title="verydeep demo", analytics_enabled=False) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                left = _lay_out_photographs(subjects, examples)
            with gr.Column(scale=3, min_width=320):
                right = _lay_out_results(subjects)
        states: dict[str, Any] = {
            "photographs": gr.State(examples),
            "chosen": gr.State(examples[0][0] if examples else None),
            "given": gr.State(None),
            "rows": gr.State([]),
        }
        _connect(blocks, _Page(**left, **right, **states), subjects)
    assert isinstance(blocks, gr.Blocks)
    return blocks


def _lay_out_photographs(subjects: Subjects, examples: Sequence[Photograph]) -> dict[str, Any]:
    """Lay out the photographs and the settings."""
    names = list(subjects.predictors)
    first = subjects.predictors[names[0]]
    is_net, scales = isinstance(first, vd.Net), _choose_scales(first)
    return {
        "upload": gr.File(
            label=f"Drop photographs here (up to {MAX_BYTES >> 20} MB each)", file_count="multiple", height=170,
            elem_id="upload",
        ),
        "message": gr.HTML(elem_id="message", visible=False),
        "gallery": gr.Gallery(
            value=_list_thumbnails(examples),
            label="Photographs: choose one", columns=4, object_fit="cover", allow_preview=False, interactive=False,
            buttons=[], elem_id="gallery", format="png", height="auto",
        ),
        "name": gr.Dropdown(names, value=names[0], label="Net or classifier", visible=len(names) > 1, elem_id="net"),
        "view": gr.Radio(list(VIEWS), value="dense", label="View", visible=is_net, elem_id="view"),
        "scales": gr.CheckboxGroup(
            sorted({*SCALES, *scales}), value=list(scales), label="Test scales Q", visible=is_net, elem_id="scales"
        ),
    }  # fmt: skip


def _choose_scales(predictor: vd.Net | vd.Classifier) -> tuple[int, ...]:
    """Return the test scales that a predictor begins with."""
    return predictor.config.test_scales if isinstance(predictor, vd.Net) else predictor.representation.scales


def _lay_out_results(subjects: Subjects) -> dict[str, Any]:
    """Lay out what is known about the chosen photograph."""
    classes = gr.HTML("<p>Choose a photograph, or drop one of your own.</p>", elem_id="classes")
    with gr.Row():
        label = gr.Dropdown([], label="Class of the score map", elem_id="label", scale=2)
        place = gr.Radio([], label="Test scale Q of the score map", elem_id="place", scale=3)
    with gr.Row():
        photograph = gr.Image(
            label="Photograph",
            elem_id="photograph",
            alt_text="The chosen photograph",
            format="png",
            height=PICTURE_HEIGHT,
            buttons=[],
            interactive=False,
        )
        score_map = gr.Image(
            label="Score map",
            elem_id="map",
            alt_text="Score map over the photograph",
            format="png",
            height=PICTURE_HEIGHT,
            buttons=[],
            interactive=False,
        )
    return {
        "classes": classes,
        "label": label,
        "place": place,
        "photograph": photograph,
        "score_map": score_map,
        "window": gr.HTML(elem_id="window"),
        "times": gr.HTML(elem_id="times"),
        "neighbors": gr.Gallery(
            label="Most similar photographs of the archive", columns=4, allow_preview=False, interactive=False,
            buttons=[], visible=subjects.archive is not None, elem_id="neighbors", format="png", height="auto",
        ),
    }  # fmt: skip


def _connect(blocks: gr.Blocks, page: _Page, subjects: Subjects) -> None:
    """Connect what a visitor does with what is computed; of changes in quick succession the last one counts."""

    def choose(photographs: list[Photograph], event: gr.SelectData) -> Updates:
        return {page.message: _write_message(), page.chosen: photographs[event.index][0], page.rows: []}

    def change_net(name: str) -> Updates:
        predictor = subjects.predictors[name]
        is_net, scales = isinstance(predictor, vd.Net), list(_choose_scales(predictor))
        return {
            page.view: gr.Radio(visible=is_net),
            page.scales: gr.CheckboxGroup(choices=sorted({*SCALES, *scales}), value=scales, visible=is_net),
            page.message: _write_message(),
            page.rows: [],
        }

    def show(*given: Any) -> Updates:
        return _show_answer(page, subjects, *given)

    def refresh(*given: Any) -> Updates:
        return {page.message: _write_message()} | show(*given)

    last: dict[str, Any] = {"trigger_mode": "always_last"}
    inputs = [page.chosen, page.rows, page.place, page.name, page.view, page.scales]
    shown: dict[str, Any] = {"fn": show, "inputs": inputs, "outputs": page.results, **last}
    added = [page.photographs, page.gallery, page.message, page.chosen, page.rows, page.upload]
    blocks.load(**shown)
    page.upload.upload(partial(_add_photographs, page), [page.upload, page.photographs], added).success(**shown)
    selected = page.gallery.select(choose, [page.photographs], [page.message, page.chosen, page.rows], **last)
    selected.success(**shown)
    changed = page.name.input(change_net, [page.name], [page.view, page.scales, page.message, page.rows], **last)
    changed.success(**shown)
    page.view.input(**shown | {"fn": refresh})
    page.scales.input(**shown | {"fn": refresh})
    _connect_map(page)


def _connect_map(page: _Page) -> None:
    """Connect the class, the test scale and the point of the score map with the map."""

    def draw(given: Examination | None, label: int, place: int) -> Updates:
        return {page.score_map: gr.skip()} if given is None else _show_map(page, given, label, place)

    def point(given: Examination | None, label: int, place: int, event: gr.SelectData) -> Updates:
        if given is None:
            return {page.score_map: gr.skip()}
        return _show_map(page, given, label, place, (event.index[0], event.index[1]))

    inputs, outputs = [page.given, page.label, page.place], [page.score_map, page.window]
    page.label.input(draw, inputs, outputs, trigger_mode="always_last")
    page.place.input(draw, inputs, outputs, trigger_mode="always_last")
    page.score_map.select(point, inputs, outputs, trigger_mode="always_last")


def _add_photographs(page: _Page, files: list[str] | None, photographs: list[Photograph]) -> Updates:
    """Add files that can be used before the other photographs, choose the first one, and explain the others."""
    good: list[Photograph] = []
    problems = []
    for path in map(Path, files or []):
        try:
            check_photograph(path)
            thumbnail = make_picture(path, THUMBNAIL_SIDE)
        except vd.VerydeepError as error:
            problems.append(str(error).replace(str(path), path.name))
        else:
            good.append((path, path.name, thumbnail))
    updates: Updates = {page.message: _write_message(*problems), page.upload: None}
    if good:
        photographs = [*good, *photographs]
        updates |= {page.photographs: photographs, page.gallery: _list_thumbnails(photographs)}
        updates |= {page.chosen: good[0][0], page.rows: []}
    return updates


def _list_thumbnails(photographs: Sequence[Photograph]) -> list[tuple[Image.Image, str]]:
    """Return the content of a gallery."""
    return [(thumbnail, caption) for _, caption, thumbnail in photographs]


def _write_message(*sentences: str) -> gr.HTML:
    """Return what the place of messages becomes; without a sentence it is hidden."""
    return gr.HTML(show_message(sentences), visible=bool(sentences))


def _show_answer(
    page: _Page,
    subjects: Subjects,
    chosen: Path | None,
    rows: list[Row],
    place: int | None,
    name: str,
    view: View,
    scales: list[int],
) -> Updates:
    """Show everything about the chosen photograph, or why it is not possible."""
    if chosen is None:
        return {page.message: _write_message()}
    if not scales and isinstance(subjects.predictors[name], vd.Net):
        return {page.message: _write_message("Choose a test scale Q.")}
    try:
        given = examine(subjects, name, chosen, view, sorted(scales))
    except vd.VerydeepError as error:
        return {page.message: _write_message(str(error).replace(str(chosen), chosen.name))}
    rows = [*(row for row in rows if row[0] != given.setting), make_row(given)]
    maps, words = given.explanations.maps[0], given.explanations.class_words
    several = len({each.net for each in maps}) > 1
    places = [(f"{each.net}, {each.scale}" if several else str(each.scale), place) for place, each in enumerate(maps)]
    place = len(maps) // 2 if place is None or place >= len(maps) else place
    updates = {
        page.classes: list_classes(given),
        page.times: list_times(rows, given),
        page.label: gr.Dropdown(choices=[(text, label) for label, text in enumerate(words)], value=given.best),
        page.place: gr.Radio(choices=places, value=place),
        page.photograph: gr.Image(given.photograph, label=f"Photograph{given.box_text and f', box: {given.box_text}'}"),
        page.neighbors: [(each.picture, each.text) for each in given.neighbors],
        page.given: given,
        page.rows: rows,
    }
    return updates | _show_map(page, given, given.best, place)


def _show_map(page: _Page, given: Examination, label: int, place: int, point: tuple[int, int] | None = None) -> Updates:
    """Show a score map with the outline of one window."""
    picture, sentence = draw_map(given, label, place, point)
    return {page.score_map: picture, page.window: f"<p>{html.escape(sentence)}</p>"}
