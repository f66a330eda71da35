"""The Markdown pages of the repository, with the code and the commands that they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "docs" / "generated"
"""Pages that the site makes of other files."""
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - set(GENERATED.rglob("*.md")))
FENCED = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NO_RUN = "no-run"
"""Marks code that needs a trained net or a user's files, and commands that need a network, a GPU or days."""


def blocks(page: Path, *languages: str, mark: str | None = None) -> Iterator[tuple[int, str]]:
    """Yield each fenced block in one of these languages, with the number of the line it begins on."""
    text = page.read_text(encoding="utf-8")
    for block in FENCED.finditer(text):
        if block[1] in languages and mark in (None, block[2].strip()):
            yield text[: block.start(3)].count("\n"), block[3]


def commands(page: Path, mark: str | None = None) -> Iterator[list[str]]:
    """The words of each ``verydeep ...`` in the page's shell blocks, up to a pipe or redirection."""
    for _, block in blocks(page, "sh", "bash", "console", mark=mark):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = list(lexer)
            while "verydeep" in words:
                words = words[words.index("verydeep") + 1 :]
                end = next((i for i, word in enumerate(words) if set(word) <= set("&|;<>()")), len(words))
                yield words[:end]
