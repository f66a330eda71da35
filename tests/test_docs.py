"""The documents tell the truth: their code runs, their commands parse, their links lead somewhere."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import verydeep
from tests.markdown_pages import FENCED, NO_RUN, PAGES, ROOT, blocks, commands
from verydeep import cli
from verydeep.arguments import parse
from verydeep.configs.networks import NETWORKS
from verydeep.models.vgg import VGG


def test_modules_are_where_the_documents_say() -> None:
    """A path with a folder in it is one below the package."""
    package = ROOT / "src" / "verydeep"
    floors = "|".join(path.name for path in package.iterdir() if path.is_dir())
    named = {
        path
        for page in PAGES
        for path in re.findall(rf"`((?:{floors})/[\w/]*(?:\.py)?)`", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 40 and [path for path in sorted(named) if not (package / path).exists()] == []


def test_every_room_of_the_engine_is_reported() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    engine = ROOT / "src" / "verydeep" / "engine"
    rooms = [f"{path.parent.name}/" for path in engine.glob("*/__init__.py")]
    rooms += [path.name for path in engine.glob("*.py") if path.name != "__init__.py"]
    assert len(rooms) > 10 and [room for room in rooms if f"`{room}`" not in text] == []


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "dense-evaluation.md", "paper-map.md"} <= {page.name for page in PAGES}
    assert ["train"] in list(commands(ROOT / "README.md"))


@pytest.mark.parametrize("name", ["docs/python.md", "docs/dense-evaluation.md"])
def test_python_code_runs(name: str) -> None:
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    runnable = list(blocks(ROOT / name, "python", mark=""))
    assert runnable
    for line, code in runnable:
        exec(compile("\n" * line + code, str(ROOT / name), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_calls_exist(page: Path) -> None:
    """Public functions that a page calls exist, with these parameters."""
    for _, code in blocks(page, "python", mark=NO_RUN):
        for call in ast.walk(ast.parse(code)):
            if isinstance(call, ast.Call) and re.fullmatch(r"vd\.\w+", ast.unparse(call.func)):
                function = getattr(verydeep, ast.unparse(call.func).removeprefix("vd."))
                options = {keyword.arg: None for keyword in call.keywords}
                inspect.signature(function).bind(*call.args, **options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    for words in commands(page):
        try:
            if words != [cli.VERSION]:
                parse(words, cli.COMMANDS, cli.DESCRIPTION)
        except SystemExit as stop:
            assert not stop.code, f"{page.name}: verydeep {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_prose_exist(page: Path) -> None:
    prose = FENCED.sub("", page.read_text(encoding="utf-8"))
    assert set(re.findall(r"`verydeep ([a-z]\w*)", prose)) <= set(cli.COMMANDS)


def test_the_index_names_every_command() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert {name for name in cli.COMMANDS if f"`verydeep {name}" not in text} == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http://", "https://"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_downloads_uploads_and_the_demonstration_alone_use_the_network() -> None:
    """As docs/how-to/offline.md says: nothing else imports what opens a connection."""
    package = ROOT / "src" / "verydeep"
    network = re.compile(
        r"^\s*(?:import|from) (?:urllib|http|socket|requests|httpx|huggingface_hub|gradio|uvicorn)\b", re.M
    )
    users = {path.relative_to(package).parent.as_posix() for path in package.rglob("*.py")
             if network.search(path.read_text(encoding="utf-8"))}  # fmt: skip
    assert users == {"engine/importing", "engine/publishing", "demonstration"}


def test_the_origin_of_every_picture_is_reported() -> None:
    text = (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "docs" / "pictures").iterdir() if f"`{path.name}`" not in text] == []


def test_costs_of_dense_evaluation() -> None:
    with torch.device("meta"):
        net = VGG(NETWORKS["D"]).to("meta")

    def cost(height: int, width: int) -> tuple[float, tuple[int, ...]]:
        """Billions of multiply-adds, which the counter counts as two, and the shape of the class score map."""
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            scores = net(torch.empty(1, 3, height, width, device="meta"))
        return counter.get_total_flops() / 2e9, tuple(scores.shape[2:])

    text = (ROOT / "docs/dense-evaluation.md").read_text(encoding="utf-8")
    crop, _ = cost(224, 224)
    assert f"one crop takes {crop:.1f} billion multiply-adds" in text
    rows = re.findall(r"^\| (\d+)x(\d+) \| (\d+)x(\d+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 2
    for height, width, map_height, map_width, dense, crops in rows:
        whole, shape = cost(int(height), int(width))
        assert shape == (int(map_height), int(map_width))
        assert (f"{whole:.1f}", f"{shape[0] * shape[1] * crop:.1f}") == (dense, crops)


def test_widths_of_intervals() -> None:
    """The table of the page has Wilson's intervals."""
    text = (ROOT / "docs/intervals.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| 10 \| \[([\d.]+), ([\d.]+)\] \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for count, low, high in rows:
        number = int(count)
        # The limits are the shares p that differ from the measured one by 1.96 of their own standard errors.
        center, z2 = 0.1, 1.959963984540054**2
        roots = np.roots([1 + z2 / number, -2 * center - z2 / number, center**2]).real
        assert sorted(f"{100 * root:.1f}" for root in roots) == sorted([low, high])
