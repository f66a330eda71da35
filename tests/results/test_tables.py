"""Tables on terminals of all widths."""

import io

import pytest
from rich.console import Console

from verydeep.results.tables import TextTable

TABLE = TextTable(
    headings=("net", "map", "top-1 error", "top-5 error"),
    rows=(("A/256-512/384 of many photographs", "7x7\n9x9", "29.6 [28.1,31.1]", "10.4 [9.5,11.4]"),) * 2,
    title="Errors",
)


def rendered(width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(TABLE)
    return capture.get()


@pytest.mark.parametrize(
    ("width", "hidden"),
    [(100, ""), (57, ""), (56, "top-5 error"), (42, "top-5 error"), (30, "top-1 error, top-5 error")],
)
def test_a_narrow_terminal_loses_columns_and_no_digits(width: int, hidden: str) -> None:
    text = rendered(width)
    assert (f"too narrow: {hidden}. JSON" if hidden else "Errors") in " ".join(text.split())
    for heading, cell in (("top-1 error", "29.6 [28.1,31.1]"), ("top-5 error", "10.4 [9.5,11.4]"), ("map", "9x9")):
        assert text.count(cell) == (0 if heading in hidden.split(", ") else 2)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_html_has_all_columns() -> None:
    text = TABLE.to_html()
    assert text.count("<th>") == 4
    assert "7x7<br>9x9" in text
    assert text.index("Errors") < text.index("<table>")
