"""Measure Tables 11 and 12: figures next to the paper's, with remarks."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from verydeep.configs.scales import in_pixels
from verydeep.configs.transfer import SCALES, MultiScale, TransferRow, TransferTable
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.descriptors.representation import AGGREGATION_TEXTS
from verydeep.engine.log import Log
from verydeep.engine.reporting.measured_table import table_title, unconverged_remarks, width_suffix
from verydeep.engine.reporting.remarks import copies_remark, seen_images_remarks
from verydeep.engine.transfer.scoring import mean_and_deviation
from verydeep.engine.transfer.table_cells import LAYER, Cells, TransferConditions, measure_cells, missing_nets_message
from verydeep.engine.transfer.task import TransferResult
from verydeep.engine.transfer.transfer_report import find_copies, result_values, sample_noun
from verydeep.ops.metrics import Share
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of


def measure_transfer_table(table: TransferTable, conditions: TransferConditions, log: Log) -> Iterator[MeasuredTable]:
    """Measure a table; the main process alone yields it.

    Raises:
        DataError: an image cannot be decoded, or a class cannot be learned.
        WeightsError: a net cannot be loaded.
        ResourceError: scikit-learn is not installed, or the processes have no cache in common.
    """
    cells = measure_cells(table, conditions, log)
    if conditions.runtime.is_main:
        yield build_transfer_table(table, cells, conditions)


def build_transfer_table(paper: TransferTable, cells: Cells, conditions: TransferConditions) -> MeasuredTable:
    """Put measured figures next to the published ones."""
    headings, rows = ["row"], [[row.label] for row in paper.rows]
    for column in paper.columns:
        is_measured = column in conditions.transfer_sets
        headings += [f"{column}: paper", *(["here"] if is_measured else [])]
        for row, texts in zip(paper.rows, rows, strict=True):
            texts.append(str(row.figures.get(column, "-")))
            if is_measured:
                texts.append(_cell_text(row, cells.get((row.label, column)), conditions))
    sizes = next(iter(conditions.nets.values())).config.sizes  # all have the same widths
    return MeasuredTable(
        name=paper.name,
        title=f"{table_title(paper.name)}: {paper.title}{width_suffix(sizes)}",
        headings=tuple(headings),
        rows=tuple(map(tuple, rows)),
        remarks=tuple(_remarks(paper, cells, conditions)),
        values={
            "table": paper.name,
            "title": paper.title,
            "data": {name: str(one.partitions[0].train.root) for name, one in conditions.transfer_sets.items()},
            "crop": conditions.crop,
            "precision": conditions.runtime.precision,
            "kernels": conditions.runtime.kernels,
            "fast_decode": conditions.decoding.fast,
            "nets": {str(paper_net): str(net.path) for paper_net, net in conditions.nets.items()},
            "unconverged": list(conditions.unconverged),
            "rows": [_row_values(row, paper, cells) for row in paper.rows],
        },
    )


def _cell_text(row: TransferRow, result: TransferResult | None, conditions: TransferConditions) -> str:
    """Return a figure, or which nets are missing; empty for rows by other authors."""
    if result is None:
        missing = [str(net) for net in row.nets if net not in conditions.nets]
        return f"no {', '.join(missing)}" if missing else ""
    if (interval := _precision_interval(result)) is not None:
        return str(interval)
    mean, deviation = mean_and_deviation(result.scores)
    return f"{mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")


def _precision_interval(result: TransferResult) -> Share | None:
    """Return a mean average precision with its interval; None for a recall, which the paper gives with a deviation."""
    return None if result.task.transfer_set.metric == "mean class recall" else result.partitions[0].interval


def _remarks(paper: TransferTable, cells: Cells, conditions: TransferConditions) -> Iterator[str]:
    yield (
        "Figures are in %. VOC: mean AP (of 2007 at 11 points), with 95% intervals over test sets of this size. "
        "Caltech: mean class recall ± standard deviation over draws. *: nets trained on more than ILSVRC's 1000 "
        "classes."
    )
    decoding = ", fast decoding" if conditions.decoding.fast else ""
    yield f"Crop {conditions.crop}, {conditions.runtime.precision}{decoding}, {LAYER}."
    for transfer_set in conditions.transfer_sets.values():
        yield f"{_describe_partition(transfer_set)} {_describe_scales(SCALES[transfer_set.kind], conditions.crop)}"
    if unmeasured := [column for column in paper.columns if column not in conditions.transfer_sets]:
        yield f"Not measured: {', '.join(unmeasured)}; `data` takes several folders, separated by commas."
    for paper_net, net in conditions.nets.items():
        yield f"{paper_net} is {net.path}."
    if missing := [net for net in paper.nets if net not in conditions.nets]:
        sizes = next(iter(conditions.nets.values())).config.sizes
        yield f"The other rows need {missing_nets_message(missing, sizes)}"
    yield from unconverged_remarks(conditions.unconverged)
    yield from dict.fromkeys(remark for key, result in cells.items() for remark in _cell_remarks(*key, result))


def _describe_partition(transfer_set: TransferSet) -> str:
    first, noun = transfer_set.partitions[0], sample_noun(transfer_set)
    assert first.test is not None
    num_draws = len(transfer_set.partitions)
    draws = f"; the first of {num_draws} draws" if num_draws > 1 else ""
    return (
        f"{transfer_set.name}: {first.train.layout}{draws}: trained on {len(first.train):,} {first.train.name} "
        f"{noun}, tested on {len(first.test):,} {first.test.name} {noun}."
    )


def _describe_scales(multi_scale: MultiScale, crop: int) -> str:
    scales = ", ".join(f"{scale} ({in_pixels(scale, crop)} px)" for scale in multi_scale.scales)
    return f"Q={scales}, {AGGREGATION_TEXTS[multi_scale.aggregation]}."


def _cell_remarks(label: str, column: str, result: TransferResult) -> Iterator[str]:
    task = result.task
    for partition in result.partitions:
        names, is_chosen = task.transfer_set.class_names, bool(partition.trials)
        if remark := partition.svms.convergence_remark(names, is_chosen=is_chosen):
            yield f"{label}, {column}: {remark}"
    yield from seen_images_remarks(task.representation.nets, task.split)
    if copies := find_copies(task):
        yield f"{column}: {copies_remark(copies)}"
    if result.skipped:
        yield f"Skipped: {count_of(len(result.skipped), 'file')} of {column} that cannot be decoded."


def _row_values(row: TransferRow, paper: TransferTable, cells: Cells) -> dict[str, Any]:
    return {
        "label": row.label,
        "nets": list(map(str, row.nets)),
        "coverage": row.coverage,
        "figures": {
            column: {
                "paper": asdict(row.figures[column]) if column in row.figures else None,
                "measured": _cell_values(cells.get((row.label, column))),
            }
            for column in paper.columns
        },
    }


def _cell_values(result: TransferResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    interval = _precision_interval(result)
    return {
        **result_values(result),
        "interval": interval and asdict(interval),
        "skipped": result.skipped,
        "copies": find_copies(result.task),
    }
