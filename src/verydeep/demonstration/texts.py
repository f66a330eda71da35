"""HTML of the page: bars of classes, a table of times, and messages."""

import html
from collections.abc import Sequence

from verydeep.demonstration.examination import NUM_CLASSES, Examination

STYLE = """
.vd-classes { list-style: none; margin: 0; padding: 0; }
.vd-classes li { display: grid; grid-template-columns: minmax(4em, 25%) 1fr 4.5em; gap: 0.6em; align-items: center; }
.vd-classes li { margin: 0.35em 0; }
.vd-classes .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.vd-classes .track { background: var(--border-color-primary); border-radius: 4px; height: 0.9em; }
.vd-classes .bar { background: var(--color-accent); border-radius: 4px; height: 100%; }
.vd-classes .score { font-variant-numeric: tabular-nums; text-align: right; }
.vd-times { border-collapse: collapse; border: 0 !important; width: 100%; font-size: 0.9em; }
.vd-times thead, .vd-times tbody, .vd-times tr { border: 0 !important; }
.vd-times th, .vd-times td { text-align: left; padding: 0.2em 0.6em !important; }
.vd-times th, .vd-times td { border: 0 solid var(--border-color-primary) !important; }
.vd-times th, .vd-times td { border-bottom-width: 1px !important; }
.vd-times td.number, .vd-times th.number { text-align: right; font-variant-numeric: tabular-nums; }
.vd-message { padding: 0.6em 0.8em; border-left: 4px solid var(--color-accent); }
#gallery .grid-wrap, #neighbors .grid-wrap { min-height: 0; height: auto; padding-top: 2.2em; }
@media (max-width: 640px) {
  #gallery .grid-container, #neighbors .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)); }
}
#net input, #label input { text-overflow: ellipsis; padding-right: 1.6em; }
#upload .or, input.subdued { color: var(--body-text-color) !important; }
.gradio-container { max-width: 1280px !important; }
"""

SCRIPT = """<script>
const name = () => {
  for (const button of document.querySelectorAll("button.thumbnail-item")) {
    const caption = button.querySelector(".caption-label")?.textContent.trim();
    const image = button.querySelector("img");
    if (caption && button.ariaLabel !== caption) button.ariaLabel = caption;
    if (caption && image?.alt) image.alt = "";
  }
  for (const list of document.querySelectorAll("[role=listbox]:not([aria-label])")) list.ariaLabel = "Choices";
  for (const empty of document.querySelectorAll("div.empty[aria-label]:not([role])")) empty.role = "img";
};
new MutationObserver(name).observe(document, { childList: true, subtree: true, attributeFilter: ["alt"] });
</script>"""
"""Names for people who do not see the page, where gradio gives none: a photograph is called by its caption."""

Row = tuple[str, str, str, str]
"""Setting, best class, its score and time of one prediction."""


def list_classes(given: Examination) -> str:
    """Return the classes with the highest scores as bars."""
    classes = given.prediction.top(NUM_CLASSES)[0]
    full = 1.0 if given.prediction.kind == "probability" else max(1e-9, *(each.score for each in classes))
    items = []
    for each in classes:
        name, share = html.escape(each.words), 100 * min(1.0, max(0.0, each.score / full))
        items.append(
            f'<li><span class="name" title="{name}">{name}</span><span class="track"><span class="bar" '
            f'style="display: block; width: {share:.1f}%"></span></span>'
            f'<span class="score">{format_score(given, each.score)}</span></li>'
        )
    return f'<ol class="vd-classes">{"".join(items)}</ol>'


def format_score(given: Examination, score: float) -> str:
    """Return a probability in percent, or a margin."""
    return format(score, given.prediction.formats[given.prediction.kind])


def make_row(given: Examination) -> Row:
    """Return what the table of times tells of a prediction."""
    words, score = given.explanations.class_words[given.best], float(given.prediction.scores[0, given.best])
    return given.setting, words, format_score(given, score), f"{given.seconds['prediction']:.2f} s"


def list_times(rows: Sequence[Row], given: Examination) -> str:
    """Return a table of the predictions of one photograph, and a line about what else was computed."""
    kind = given.prediction.kind
    head = f'<tr><th>view</th><th>best class</th><th class="number">{kind}</th><th class="number">time</th></tr>'
    body = "".join(
        f'<tr><td>{html.escape(setting)}</td><td>{html.escape(words)}</td><td class="number">{score}</td>'
        f'<td class="number">{seconds}</td></tr>'
        for setting, words, score, seconds in rows
    )
    others = ", ".join(f"{what} {value:.2f} s" for what, value in given.seconds.items() if what != "prediction")
    return f'<table class="vd-times">{head}{body}</table><p>Also computed: {others}.</p>'


def show_message(sentences: Sequence[str]) -> str:
    """Return sentences for the reader; nothing for none."""
    lines = "<br>".join(map(html.escape, sentences))
    return f'<div class="vd-message" role="alert">{lines}</div>' if lines else ""
