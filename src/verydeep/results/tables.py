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
    rows: tuple[tuple[str, ...], ...]
    """Cells; a cell may have several lines."""
    title: str = ""
    caption: str = ""
    num_labels: int = 1
    """Number of columns of words, at the left; the others hold figures."""
    dispensable: tuple[str, ...] = ()
    """Headings of the columns to leave out first where there is no room, the most dispensable first."""
    bold_last: bool = False
    """Whether the last row is the one that was asked for."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, without the columns that do not fit."""
        shown = self._fitting_columns(options.max_width)
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
        for column in shown:
            if column < self.num_labels:
                table.add_column(Text(self.headings[column]), overflow="fold")
            else:
                table.add_column(Text(self.headings[column]), justify="right", no_wrap=True)
        for row in self.rows:
            style = "bold" if self.bold_last and row is self.rows[-1] else ""
            table.add_row(*(Text(row[column]) for column in shown), style=style)
        if self.title:
            yield Text(self.title, style="italic")
        yield table
        if self.caption:
            yield Text(self.caption, style="dim")
        if len(shown) < len(self.headings):
            hidden = ", ".join(heading for i, heading in enumerate(self.headings) if i not in shown)
            yield Text(f"The terminal is too narrow for: {hidden}.")

    def _fitting_columns(self, width: int) -> list[int]:
        """Return the columns that fit into a width."""
        lines = [[line for row in (self.headings, *self.rows) for line in row[i].split("\n")] for i in self._columns]
        widths = [max(map(cell_len, column)) for column in lines]
        widths[: self.num_labels] = [min(each, LABEL_WIDTH) for each in widths[: self.num_labels]]
        dispensable = [self.headings.index(heading) for heading in self.dispensable]
        order = dispensable + [i for i in reversed(self._columns[self.num_labels :]) if i not in dispensable]
        shown = list(self._columns)
        while order and sum(widths[i] + 1 for i in shown) - 1 > width:
            shown.remove(order.pop(0))
        return shown

    @property
    def _columns(self) -> range:
        return range(len(self.headings))

    def to_html(self) -> str:
        """Return the table as HTML, for notebooks."""
        head = "".join(f"<th>{html.escape(heading)}</th>" for heading in self.headings)
        body = "".join(f"<tr>{self._html_cells(row)}</tr>" for row in self.rows)
        title, caption = (f"<p>{html.escape(text)}</p>" if text else "" for text in (self.title, self.caption))
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{caption}"

    def _html_cells(self, row: Sequence[str]) -> str:
        align = ["left" if i < self.num_labels else "right" for i in self._columns]
        cells = (html.escape(cell).replace("\n", "<br>") for cell in row)
        return "".join(f'<td style="text-align: {side}">{cell}</td>' for side, cell in zip(align, cells, strict=True))
