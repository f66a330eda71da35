"""The documentation as a site: it builds without warnings, asks no other host for anything, and has no dead links."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import verydeep
from verydeep.arguments import read_options
from verydeep.cli import COMMANDS

DOCS = Path(__file__).parents[1] / "docs"

for package in (
    "sphinx",
    "myst_parser",
    "furo",
    "sphinx_design",
    "nbclient",
    "ipykernel",
):  # .ci/run installs them after the other tests
    pytest.importorskip(package)


@dataclass
class Page(HTMLParser):
    """What a page asks for, where it leads to, and its anchors."""

    path: Path
    requests: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def __hash__(self) -> int:
        return hash(self.path)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "srcset", "href", "data", "action", "poster", "background"):
                self.requests.append(value or "")
            elif name == "style":
                self.requests += re.findall(r"url\(([^)]*)\)", value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def stylesheet_requests(site: Path) -> Iterator[str]:
    """Yield the addresses in all stylesheets."""
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        yield from re.findall(r"url\(['\"]?([^)'\"]*)|@import\s+['\"]([^'\"]+)", text)


def test_pages_request_nothing_from_other_hosts(site: Path, pages: dict[Path, Page]) -> None:
    requests = {request for page in pages.values() for request in page.requests}
    requests |= {address for found in stylesheet_requests(site) for address in found}
    assert any(request.endswith(".css") or ".css?" in request for request in requests)
    assert [each for each in requests if urlsplit(each).scheme not in ("", "data") or urlsplit(each).netloc] == []


def test_links_lead_to_pages_and_anchors(pages: dict[Path, Page]) -> None:
    dead = []
    for page in pages.values():
        for link in page.links:
            parts = urlsplit(link)
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            if parts.scheme:
                continue
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append(f"{page.path.name}: {link}")
    assert dead == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_has_all_its_options(name: str, site: Path) -> None:
    text = (site / "generated" / "commands" / f"{name}.html").read_text(encoding="utf-8")
    flags = [f"--{'no-' if each.default is True else ''}{each.name.replace('_', '-')}"
             for each in read_options(name, COMMANDS) if not each.is_positional]  # fmt: skip
    words = re.sub(r"<[^>]+>", " ", text)
    assert [flag for flag in flags if flag not in words.split()] == []


def test_every_public_name_is_documented(pages: dict[Path, Page]) -> None:
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    assert {name for name in verydeep.__all__ if f"verydeep.{name}" not in anchors} == set()


def test_every_page_is_in_the_navigation(site: Path, pages: dict[Path, Page]) -> None:
    """The table of contents on the first page leads, step by step, to all pages."""
    found, waiting = set(), [site / "index.html"]
    while waiting:
        path = waiting.pop()
        if path in pages and path not in found:
            found.add(path)
            waiting += [(path.parent / urlsplit(link).path).resolve() for link in pages[path].links]
    assert {path.name for path in pages if path not in found} == {"search.html"}  # behind the field for words


def test_notebooks_show_what_their_cells_return(site: Path) -> None:
    """Tables of results, drawings, and what was printed."""
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "generated" / "examples").glob("*.html")}
    for name in ("first_steps", "few_photographs", "what_the_net_sees"):
        assert pages[name].count('class="notebook-output"') >= 3, name
        assert 'alt="Output of the cell" src="data:image/png;base64,' in pages[name]
    assert re.search(r"lemon: \d+% in columns", re.sub(r"<[^>]+>", "", pages["what_the_net_sees"]))


def test_the_search_needs_no_server(site: Path) -> None:
    """The index is a script, which a page from a file may load."""
    assert (site / "searchindex.js").read_text(encoding="utf-8").startswith("Search.setIndex(")
    assert "searchindex.js" in (site / "search.html").read_text(encoding="utf-8")


def test_the_search_finds_words_in_a_file_without_a_network(site: Path) -> None:
    """Typed on the first page, from a disk: the pages that hold the word, with where it stands."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    requests: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        page = browser.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("searchbox").or_(page.get_by_placeholder("Search")).first.fill("perceptual hash")
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-results li a")
        titles = page.locator("#search-results li a").all_inner_texts()
        browser.close()
    assert any("Finding bad data" in title for title in titles), titles
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
