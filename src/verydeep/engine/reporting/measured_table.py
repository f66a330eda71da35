"""A table of the paper, measured on a user's data."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from verydeep.configs.networks import PAPER_FC_WIDTH, NetSizes
from verydeep.engine.nets.net import Net
from verydeep.files import atomic_write
from verydeep.json_files import write_json
from verydeep.results.measured_table import MeasuredTable


def write_measured_table(table: MeasuredTable, folder: Path) -> None:
    """Write a table into a folder: NAME.json for programs, NAME.md for a page.

    Raises:
        ResourceError: a file cannot be written.
    """
    write_json(folder / f"{table.name}.json", {**table.values, "remarks": table.remarks})
    lines = [table.headings, ["---"] * len(table.headings), *table.rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    bullets = "\n".join(f"- {remark.strip()}" for remark in table.remarks)
    with atomic_write(folder / f"{table.name}.md") as path:
        path.write_text(f"## {table.title}\n\n{body}\n\n{bullets}\n", encoding="utf-8", errors="backslashreplace")


def table_title(name: str) -> str:
    """Return the title of a table by its name: "Table 3" for "table3", "Shallow" for "shallow"."""
    return name.replace("table", "Table ").capitalize()


def width_suffix(sizes: NetSizes) -> str:
    """Return the end of a title for nets narrower or wider than the paper's: ", by nets of width 0.25"."""
    widths = [f"width {sizes.width:g}"] if sizes.width != 1 else []
    widths += [f"FC width {sizes.fc_width}"] if sizes.fc_width != PAPER_FC_WIDTH else []
    return f", by nets of {' and '.join(widths)}" if widths else ""


def paper_cell(*figures: float | None) -> str:
    """Return published figures as one cell: "29.6/10.4", with "-" for those that the paper does not give."""
    return "/".join("-" if figure is None else f"{figure:.1f}" for figure in figures)


def unconverged_remarks(runs: Iterable[str]) -> Iterator[str]:
    """Name the runs that did not converge, if there are any."""
    if names := sorted(set(runs)):
        yield (
            f"Not reported, because the learning rate has not dropped as often as planned: {', '.join(names)}. "
            "Continue each with `verydeep train --resume RUN`, after its last epoch with more `epochs`."
        )


def training_remarks(nets: Iterable[Net]) -> Iterator[str]:
    """Name differences between the trainings of a table's nets."""
    provenances = [net.config.provenance for net in nets]
    data = sorted({each.data or "" for each in provenances} - {""})
    if len(data) > 1:
        yield f"The nets were trained on different data: {', '.join(data)}."
    epochs = sorted({each.epochs or 0 for each in provenances} - {0})
    if len(epochs) > 1:
        yield f"The nets were trained for different numbers of epochs: at most {', '.join(map(str, epochs))}."
