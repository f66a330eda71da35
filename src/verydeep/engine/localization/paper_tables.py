"""Measure Tables 8-10: rows next to the paper's, the order of rows, and differences that are larger than chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from verydeep.configs.paper import LocalizationRow, PaperTable
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.engine.classification.table_rows import raise_missing_nets
from verydeep.engine.localization.table_rows import (
    LocalizationTableConditions,
    MeasuredBoxes,
    compare_box_rows,
    measure_protocols,
)
from verydeep.engine.reporting.comparison import Comparison, comparison_remarks, comparison_values
from verydeep.engine.reporting.measured_table import (
    paper_cell,
    table_title,
    training_remarks,
    unconverged_remarks,
    width_suffix,
)
from verydeep.engine.reporting.remarks import count_images, seen_images_remarks
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of

Rows = Sequence[tuple[LocalizationRow, MeasuredBoxes | None]]
"""Rows of the paper; nothing is measured of those that have no runs or are by other authors."""


def measure_localization_table(
    paper: PaperTable[LocalizationRow], conditions: LocalizationTableConditions
) -> Iterator[MeasuredTable]:
    """Measure a table; all processes predict boxes, and the main one alone yields the table.

    Raises:
        DataError: a file cannot be decoded, or a net may have been trained on the test images.
        WeightsError: no net belongs to any row, or two runs of one seed belong to one member of a protocol.
    """
    measured = measure_protocols(paper.protocols, conditions)
    if not conditions.shared.runtime.is_main:
        return
    if not measured:
        raise_missing_nets(paper.name, paper.nets, conditions.shared)
    rows = [(row, None if row.protocol is None else measured.get(row.protocol)) for row in paper.rows]
    yield build_localization_table(paper, rows, conditions)


def build_localization_table(
    paper: PaperTable[LocalizationRow], rows: Rows, conditions: LocalizationTableConditions
) -> MeasuredTable:
    """Put measured figures next to the published ones."""
    comparisons = compare_box_rows(rows)
    num_images = int(conditions.test_split.counted.sum())
    split = conditions.test_split.split
    return MeasuredTable(
        name=paper.name,
        title=f"{table_title(paper.name)}: {paper.title}; {count_images(num_images, split.name)}"
        + width_suffix(conditions.shared.sizes),
        headings=("row", "paper", "error", "mean IoU", "t", "seeds"),
        rows=tuple(tuple(_cells(paper, row, measured)) for row, measured in rows),
        remarks=tuple(_remarks(paper, rows, comparisons, conditions)),
        values={
            "table": paper.name,
            "title": paper.title,
            **conditions.shared.values(),
            "num_images": num_images,
            "rows": [_row_values(row, measured) for row, measured in rows],
            "differences": comparison_values(comparisons),
        },
    )


def _cells(paper: PaperTable[LocalizationRow], row: LocalizationRow, measured: MeasuredBoxes | None) -> list[str]:
    """Return a row's label, its published figures, and measured figures or why there are none."""
    has_other_classes = measured is not None and measured.protocol != row.protocol
    label = f"{row.label or row.protocol}{'*' if has_other_classes else ''}"
    has_test = any(each.test is not None for each in paper.rows)
    published = paper_cell(row.val, row.test) if has_test else paper_cell(row.val)
    if row.protocol is None:
        return [label, published, "as published", "", "", ""]
    if measured is None:
        return [label, published, "no run", "", "", ""]
    if not measured.converged:
        return [label, published, "not converged", "", "", str(len(measured.seeds))]
    thresholds = ",".join(f"{threshold:g}" for threshold in measured.thresholds)
    return [label, published, str(measured.error), str(measured.mean_iou), thresholds, str(len(measured.seeds))]


def _remarks(
    paper: PaperTable[LocalizationRow],
    rows: Rows,
    comparisons: Sequence[Comparison],
    conditions: LocalizationTableConditions,
) -> Iterator[str]:
    test_split, tuning_split = conditions.test_split, conditions.tuning_split
    with_guesses = any(protocol.classes != "truth" for protocol in paper.protocols)
    boxes = "each of up to five boxes of guessed classes" if with_guesses else "the box of the true class"
    yield (
        f"Errors: the share of images on which {boxes} has an IoU below 0.5, in %, with 95% intervals over images (and "
        "over seeds, if there are several). Paper: on ILSVRC's validation images, and by its test server. Mean IoU: "
        "that of the true class's box. t: merge threshold."
    )
    members = [member for protocol in paper.protocols for member in protocol.members]
    yield conditions.shared.describe(scale for member in members for scale in member.test_scales)
    if conditions.tunes_by_halves:
        yield "For each half of the images, t was chosen on the other half."
    elif tuning_split is not None:
        yield f"t was chosen on the {count_images(len(tuning_split.split), tuning_split.split.name)}."
    tested = [measured for _, measured in rows if measured is not None]
    replaced = [each.protocol for row, each in rows if each is not None and each.protocol != row.protocol]
    for protocol in dict.fromkeys(replaced):
        members_text = " + ".join(map(str, protocol.members))
        yield f"* {members_text} has the classes of {protocol.classes}, because no converged runs give the row's own."
    yield from unconverged_remarks(run for measured in tested for run in measured.unconverged)
    nets = list(dict.fromkeys(net for measured in tested for net in measured.nets))
    yield from seen_images_remarks(nets, test_split.full_split)
    if skipped := max((measured.skipped for measured in tested), default=0):
        yield f"Skipped: {count_of(skipped, 'file')} that cannot be decoded."
    if without_box := len(test_split.full_split) - len(test_split.split):
        yield f"Left out: {count_of(without_box, 'image')} without a box."
    for note in dict.fromkeys(row.note for row, _ in rows if row.note):
        yield f"About the paper: {note}."
    yield from training_remarks(nets)
    if comparisons and test_split.split.class_names != tuple(ilsvrc_classes()):
        yield from comparison_remarks(comparisons, "errors")


def _row_values(row: LocalizationRow, measured: MeasuredBoxes | None) -> dict[str, Any]:
    return {
        "label": row.label or str(row.protocol),
        "protocol": None if row.protocol is None else str(row.protocol),
        "paper": {"val": row.val, "test": row.test},
        "note": row.note,
        "measured": None if measured is None else _values(measured),
    }


def _values(measured: MeasuredBoxes) -> dict[str, Any]:
    return {
        "protocol": str(measured.protocol),
        "seeds": list(measured.seeds),
        "error": asdict(measured.error),
        "error_of_each_seed": [100 * float(wrong.mean()) for wrong in measured.wrong],
        "mean_iou": asdict(measured.mean_iou),
        "merge_thresholds": list(measured.thresholds),
        "unconverged": list(measured.unconverged),
        "skipped": measured.skipped,
    }
