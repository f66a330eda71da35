"""Measure Tables 3-7: rows next to the paper's, the order of rows, and differences that are larger than chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from verydeep.configs.paper import PaperRow, PaperTable
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.classification.error_report import describe_map_sizes, small_crop_remark
from verydeep.engine.classification.table_rows import (
    MeasuredRow,
    TableConditions,
    compare_rows,
    compute_views,
    measure_ensembles,
    measure_protocol,
    raise_missing_nets,
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
from verydeep.ops.metrics import topk_for
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of

Rows = Sequence[tuple[PaperRow, MeasuredRow | None]]
"""Rows of the paper; nothing is measured of those that have no runs or are by other authors."""
OtherRows = Sequence[tuple[str, MeasuredRow]]
"""Labels and figures of nets that belong to no row of the paper."""


def measure_classification_tables(
    tables: Sequence[PaperTable[PaperRow]], conditions: TableConditions
) -> Iterator[MeasuredTable]:
    """Measure tables; all processes compute the posteriors, and the main one alone yields tables.

    Raises:
        WeightsError: no net belongs to any row, or two runs belong to one member of a protocol.
        DataError: a file cannot be decoded, or a net may have been trained on the test images.
        ResourceError: the processes have no cache in common.
    """
    protocols = dict.fromkeys(protocol for table in tables for protocol in table.protocols)
    if not conditions.other_nets and not any(conditions.ensembles(protocol) for protocol in protocols):
        names = " or ".join(table.name for table in tables)
        raise_missing_nets(names, [net for table in tables for net in table.nets], conditions)
    conditions.runtime.check_shared(cache_folder(), "VERYDEEP_CACHE moves the cache")
    compute_views(list(protocols), conditions)
    if not conditions.runtime.is_main:
        return
    # All posteriors are cached now, so that the other processes need not take part.
    conditions = replace(conditions, runtime=replace(conditions.runtime, world_size=1))
    for table in tables:
        rows = [
            (row, None if row.protocol is None else measure_protocol(row.protocol, conditions)) for row in table.rows
        ]
        yield build_classification_table(table, rows, list(measure_other_nets(table, conditions)), conditions)


def measure_other_nets(table: PaperTable[PaperRow], conditions: TableConditions) -> Iterator[tuple[str, MeasuredRow]]:
    """Measure the nets that belong to no row, in each view of the table."""
    for member in conditions.other_nets:
        for view in dict.fromkeys(protocol.view for protocol in table.protocols):
            scales = ",".join(map(str, member.scales))
            label = f"{member.net}/{scales}{'' if view == 'dense' else f' : {view}'}"
            yield label, measure_ensembles(view, {member.net.config.seed: [member]}, conditions)


def build_classification_table(
    paper: PaperTable[PaperRow], rows: Rows, other_rows: OtherRows, conditions: TableConditions
) -> MeasuredTable:
    """Put measured figures next to the published ones."""
    split = conditions.split
    k = topk_for(len(split.class_names))
    comparisons = compare_rows(paper, rows)
    num_published = 3 if any(row.top5_test is not None for row in paper.rows) else 2
    cells = [
        (
            row.label or str(row.protocol),
            paper_cell(*(row.top1_val, row.top5_val, row.top5_test)[:num_published]),
            *_cells(row, measured, k),
        )
        for row, measured in rows
    ]
    cells += [(label, "", *_figures(measured, k)) for label, measured in other_rows]
    return MeasuredTable(
        name=paper.name,
        title=f"{table_title(paper.name)}: {paper.title}; {count_images(len(split), split.name)}"
        + width_suffix(conditions.sizes),
        headings=("row", "paper", "top-1", *([f"top-{k}"] if k > 1 else []), "center", "seeds"),
        rows=tuple(cells),
        remarks=tuple(_remarks(paper, rows, other_rows, comparisons, conditions)),
        values={
            "table": paper.name,
            "title": paper.title,
            **conditions.values(),
            "k": k,
            "rows": [_row_values(row, measured) for row, measured in rows],
            "other_nets": [{"label": label, "measured": _values(measured)} for label, measured in other_rows],
            "differences": comparison_values(comparisons),
        },
    )


def _cells(row: PaperRow, measured: MeasuredRow | None, k: int) -> list[str]:
    """Return figures, or why there are none."""
    empty = [""] * (3 if k > 1 else 2)
    if row.protocol is None:
        return ["as published", *empty]
    if measured is None:
        return ["no run", *empty]
    if not measured.converged:
        return ["not converged", *empty[1:], str(len(measured.seeds))]
    return _figures(measured, k)


def _figures(measured: MeasuredRow, k: int) -> list[str]:
    """Return the errors, that of the central crop, and the number of seeds; two classes have a top-1 error alone."""
    center = "" if measured.center is None else f"{measured.center.percent:.1f}"
    return [str(measured.top1), *([str(measured.topk)] if k > 1 else []), center, str(len(measured.seeds))]


def _remarks(
    paper: PaperTable[PaperRow],
    rows: Rows,
    other_rows: OtherRows,
    comparisons: Sequence[Comparison],
    conditions: TableConditions,
) -> Iterator[str]:
    has_test = any(row.top5_test is not None for row in paper.rows)
    test = ", and top-5 error on its test images" if has_test else ""
    yield (
        "Errors in %, with 95% intervals over images (and over seeds, if there are several). Paper: top-1/top-5 "
        f"error on ILSVRC's validation images{test}. Center: top-1 error of the central "
        "crop."
    )
    members = [member for protocol in paper.protocols for member in protocol.members]
    yield conditions.describe(scale for member in members for scale in member.test_scales)
    if other_rows:
        yield (
            "Rows without a published figure are nets of another system, or nets fine-tuned from one: they do not "
            "reproduce a row of the paper."
        )
    for net in conditions.other_nets_of_other_crops:
        yield f"Left out: {net.path.name} has crop {net.config.crop}; measure the table at that crop to include it."
    tested = [row for _, row in rows if row is not None]
    if geometry := {scale: each for row in tested for scale, each in row.geometry.items()}:
        yield describe_map_sizes(geometry)
        yield from small_crop_remark(conditions.sizes.crop)
    tested += [row for _, row in other_rows]
    yield from unconverged_remarks(run for row in tested for run in row.unconverged)
    nets = [net for row in tested for net in row.nets]
    yield from seen_images_remarks(nets, conditions.split)
    if skipped := set[str]().union(*(row.skipped for row in tested)):
        yield f"Skipped: {count_of(len(skipped), 'file')} that cannot be decoded."
    for reason in dict.fromkeys(row.write_error for row in tested if row.write_error):
        yield f"The posteriors could not be cached: {reason}"
    for note in dict.fromkeys(row.note for row, _ in rows if row.note):
        yield f"About the paper: {note}."
    yield from training_remarks(nets)
    is_ilsvrc = conditions.split.class_names == tuple(ilsvrc_classes())
    if comparisons and (paper.differences or not is_ilsvrc):
        yield from comparison_remarks(comparisons, "top-1 errors")


def _row_values(row: PaperRow, measured: MeasuredRow | None) -> dict[str, Any]:
    return {
        "label": row.label or str(row.protocol),
        "protocol": None if row.protocol is None else str(row.protocol),
        "paper": {"top1_val": row.top1_val, "top5_val": row.top5_val, "top5_test": row.top5_test},
        "note": row.note,
        "measured": None if measured is None else _values(measured),
    }


def _values(measured: MeasuredRow) -> dict[str, Any]:
    return {
        "seeds": list(measured.seeds),
        "top1": asdict(measured.top1),
        "topk": asdict(measured.topk),
        "top1_of_each_seed": [100 * float(each.mean()) for each in measured.wrong_top1],
        "topk_of_each_seed": [100 * float(each.mean()) for each in measured.wrong_topk],
        "center_top1": None if measured.center is None else asdict(measured.center),
        "unconverged": list(measured.unconverged),
        "skipped": sorted(measured.skipped),
        "geometry": {str(scale): asdict(each) for scale, each in measured.geometry.items()},
    }
