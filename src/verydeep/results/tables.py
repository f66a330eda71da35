"""Tables of text, for terminals, notebooks and log files."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

LABEL_WIDTH = 20
"""Columns of words are folded to this width before columns of figures are left out."""


@dataclass(frozen=True)
class TextTable:
    """A table of text; on a narrow terminal it loses columns, never digits."""

    headings: tuple[str, ...]
    """Headings of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells; a cell may have several lines."""
    title: str = ""
    """A line above the table."""
    num_labels: int = 1
    """Number of columns at the left that contain words; all further columns contain figures."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, without the columns that do not fit."""
        num_shown = self._count_fitting(options.max_width)
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for column, heading in enumerate(self.headings[:num_shown]):
            if column < self.num_labels:
                table.add_column(Text(heading), overflow="fold")
            else:
                table.add_column(Text(heading), justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*map(Text, row[:num_shown]))
        if self.title:
            yield Text(self.title, style="italic")
        yield table
        if hidden := self.headings[num_shown:]:
            yield Text(
                f"Left out, because the terminal is too narrow: {', '.join(hidden)}. JSON and CSV have all columns."
            )

    def _count_fitting(self, width: int) -> int:
        """Return the number of columns, from the left, that fit into a width."""
        columns = zip(self.headings, *self.rows, strict=True)
        widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
        widths[: self.num_labels] = [min(each, LABEL_WIDTH) for each in widths[: self.num_labels]]
        while len(widths) > self.num_labels and sum(widths) + len(widths) - 1 > width:
            widths.pop()
        return len(widths)

    def to_html(self) -> str:
        """Return the table as HTML, for notebooks."""
        head = "".join(f"<th>{html.escape(heading)}</th>" for heading in self.headings)
        body = "".join(f"<tr>{self._html_cells(row)}</tr>" for row in self.rows)
        title = f"<p>{html.escape(self.title)}</p>" if self.title else ""
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _html_cells(self, row: Sequence[str]) -> str:
        align = ["left" if i < self.num_labels else "right" for i in range(len(row))]
        cells = (html.escape(cell).replace("\n", "<br>") for cell in row)
        return "".join(f'<td style="text-align: {side}">{cell}</td>' for side, cell in zip(align, cells, strict=True))
