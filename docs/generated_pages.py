"""Pages of the site that are made from files outside docs/, so that they cannot differ from them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from notebooks import read_notebook
from reference import command_pages, python_pages

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = DOCS / "generated"

PAGES = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "src/verydeep/commands": "commands/index.md",
    "src/verydeep/__init__.py": "python/index.md",
}
"""Pages that stand for files and folders outside docs/."""

CHILDREN = {"examples": "/generated/examples/*", "performance": "/generated/benchmarks/*"}
"""Pages that have generated ones below them in the navigation."""

FENCED = re.compile(r"(^`{3,4}[^`].*?^`{3,4}$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[((?:`[^`]*`|\[[^\]]*\]|[^\[\]`])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def write_pages() -> None:
    """Write all generated pages; one that has not changed keeps its time, so that Sphinx does not read it again."""
    pages = {GENERATED / "commands" / name: text for name, text in command_pages().items()}
    pages |= {GENERATED / "python" / name: text for name, text in python_pages().items()}
    for source, text in read_sources():
        page = page_of(source)
        assert page is not None
        pages[page] = move_links(text, source, page)
    for page in set(GENERATED.rglob("*.md")) - set(pages):
        page.unlink()
    for page, text in pages.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def read_sources() -> Iterator[tuple[Path, str]]:
    """Yield each file that becomes a page, with its text as Markdown."""
    for name in PAGES:
        if name.endswith(".md"):
            yield ROOT / name, (ROOT / name).read_text(encoding="utf-8")
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.md")):
        yield path, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield path, f"# {path.name}\n\n```python\n{path.read_text(encoding='utf-8')}```\n\n[Download]({path.name})\n"
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        yield path, read_notebook(path)


def page_of(target: Path) -> Path | None:
    """Return the page of the site that stands for a file or folder, if there is one."""
    if target.is_relative_to(DOCS):
        return target
    name = target.relative_to(ROOT)
    if name.as_posix() in PAGES:
        return GENERATED / PAGES[name.as_posix()]
    if name.parts[0] == "examples":
        return GENERATED / "examples" / f"{target.stem}.md"
    if name.parts[:2] == ("benchmarks", "results") and target.suffix == ".md":
        return GENERATED / "benchmarks" / target.name
    return None


def move_links(text: str, source: Path, page: Path) -> str:
    """Rewrite the links of a file for the page that shows it.

    Args:
        text: Markdown.
        source: The file that holds it, from which its links lead to others.
        page: The page of the site.
    """

    def move(match: re.Match[str]) -> str:
        image, label, link, anchor = match.groups(default="")
        if link.startswith(("http://", "https://", "mailto:")):
            return match[0]
        target = Path(os.path.normpath(source.parent / link))
        downloads = label.startswith("Download")
        place = target if downloads or image else page_of(target) or target
        if place.is_dir() or place == ROOT / "LICENSE":
            return label
        return f"{image}[{label}]({Path(os.path.relpath(place, page.parent)).as_posix()}{anchor})"

    parts = FENCED.split(text)
    return "".join(part if part.startswith("```") else LINK.sub(move, part) for part in parts)


def build_navigation(docname: str, text: str) -> str:
    """Return the table of contents below a page: on the first page, its links under "Pages", by heading."""
    if docname in CHILDREN:
        return f"\n\n```{{toctree}}\n:hidden:\n:glob:\n\n{CHILDREN[docname]}\n```\n"
    if docname != "index":
        return ""
    trees = []
    for group in re.split(r"^### ", text.partition("\n## Pages\n")[2], flags=re.MULTILINE)[1:]:
        heading, _, body = group.partition("\n")
        body = body.partition("\n## ")[0]
        links = dict.fromkeys(match[3] for match in LINK.finditer(body) if match[3].endswith(".md"))
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *links, "```"]))
    return "\n\n" + "\n\n".join(trees) + "\n"
