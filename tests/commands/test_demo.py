"""``verydeep demo``: the page in a browser, what it asks other hosts for, and how it ends."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import verydeep as vd
from tests.conftest import picture
from tests.peers import need
from tests.runs import Cli
from tests.thin_nets import CLASSES, make_pictures, narrow_config, save_box_run, save_run
from verydeep.configs.protocols import PaperNet
from verydeep.demonstration.subjects import find_generated_runs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

FP32: dict[str, Any] = {"precision": "fp32", "workers": 0, "progress": False}
SECONDS = 60


@dataclass
class Served:
    """A demonstration in a process of its own."""

    address: str
    process: "subprocess.Popen[str]"
    folder: Path
    """Its folder for temporary files."""
    calls: list[str]
    """What the server itself asked other hosts for, through the proxy that it was told to use."""


def start(arguments: list[object], folder: Path, proxy: str) -> "tuple[subprocess.Popen[str], str]":
    command = [sys.executable, "-m", "verydeep", "demo", *map(str, arguments), "--port", "0", "--precision", "fp32"]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), proxy)
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.match(r"Open (http://127\.0\.0\.1:\d+) in a browser\. Ctrl-C", line):
            return process, found[1]
    raise AssertionError("".join(lines))


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a net, a localization net, a classifier, an archive and their data."""
    root = tmp_path_factory.mktemp("nets")
    make_pictures(root / "data", 5)
    net = save_run(root / "runs", narrow_config(PaperNet.parse("A/256-512"), root / "data"), "net")
    save_box_run(root / "runs", PaperNet.parse("D/256pcr"), root / "data", name="boxes")
    vd.transfer(root / "data", net, out=root / "few", scales=256, c=1, **FP32)
    vd.features(net, root / "data", out=root / "archive", **FP32)
    return root


@pytest.fixture(scope="module")
def served(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A demonstration of a net, a classifier, a localization net and an archive."""
    need("gradio")
    root = tmp_path_factory.mktemp("served")
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=record_calls, args=(proxy, calls), daemon=True).start()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        (root / "temporary").mkdir()
        shown = [nets / "runs" / "net", nets / "few", nets / "runs" / "boxes"]
        process, page = start([*shown, "--archive", nets / "archive"], root / "temporary", address)
        try:
            yield Served(page, process, root / "temporary", calls)
        finally:
            process.kill()
            process.communicate()


def record_calls(proxy: socket.socket, calls: list[str]) -> None:
    while True:
        try:
            connection, _ = proxy.accept()
        except OSError:  # closed
            return
        with connection:
            calls.append(connection.recv(1000).decode(errors="replace"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(served: Served, browser: Any) -> Iterator[Any]:
    """The page with its first example; a request to another host fails the test."""
    asked: list[str] = []
    errors: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.address)
        page.wait_for_selector("#classes li")
        page.wait_for_selector("#map img")
        yield page
    others = [url for url in asked if not url.startswith((f"{served.address}/", "data:", "blob:"))]
    assert asked and others == [] and errors == [] and served.calls == []


def upload(page: Any, *paths: Path) -> None:
    page.locator("#upload input[type=file]").set_input_files(list(map(str, paths)))


def wait_until(page: Any, condition: str, argument: object = None) -> None:
    page.wait_for_function(condition, arg=argument, timeout=1000 * SECONDS)


def test_a_photograph_is_named_mapped_boxed_and_found(page: Any, nets: Path, tmp_path: Path) -> None:
    photo = tmp_path / "holiday <b>.png"
    Image.fromarray(picture(190, 260, seed=77)).save(photo)
    before = page.locator("#gallery img").count()
    assert before == len(CLASSES)  # a validation photograph of each class
    upload(page, photo)
    wait_until(page, "count => document.querySelectorAll('#gallery img').length == count", before + 1)
    expected = vd.predict(nets / "runs" / "net", photo, **FP32).top(5)[0]
    score = "text => document.querySelector('#classes .score').textContent == text"
    wait_until(page, score, f"{expected[0].score:.1%}")
    names = page.locator("#classes .name").all_text_contents()
    scores = page.locator("#classes .score").all_text_contents()
    assert names == [each.words for each in expected] and scores == [f"{each.score:.1%}" for each in expected]
    assert page.locator("#photograph label").text_content().strip().startswith("Photograph, box: ")
    similarities = page.locator("#neighbors .caption-label").all_text_contents()
    assert len(similarities) == 8 and similarities == sorted(similarities, reverse=True)

    source = page.evaluate("document.querySelector('#map img').src")
    value = page.locator("#window p").text_content()
    assert f"for {expected[0].words}" in value
    page.locator("#label input").click()
    page.get_by_role("option", name=expected[1].words).click()
    wait_until(page, "source => document.querySelector('#map img').src != source", source)
    assert f"for {expected[1].words}" in page.locator("#window p").text_content()
    page.locator("#map img").click(position={"x": 200, "y": 100})
    wait_until(page, "document.querySelector('#window p').textContent.startsWith('Outlined: the chosen window')")


def test_views_and_scales_are_compared_with_their_times(page: Any) -> None:
    rows = page.locator("#times tr")
    assert rows.count() == 2
    page.locator("#view").get_by_text("crops", exact=True).click()
    wait_until(page, "document.querySelectorAll('#times tr').length == 3")
    page.locator("#scales").get_by_text("384", exact=True).click()
    wait_until(page, "document.querySelectorAll('#times tr').length == 4")
    texts = [row.split("\t")[0] for row in rows.all_inner_texts()[1:]]
    assert texts == ["dense at Q=256, 384, 512", "crops at Q=256, 384, 512", "crops at Q=256, 512"]
    for scale in ("256", "512"):
        page.locator("#scales").get_by_text(scale, exact=True).click()
    page.get_by_text("Choose a test scale Q.").wait_for()
    page.locator("#scales").get_by_text("384", exact=True).click()
    page.get_by_text("Choose a test scale Q.").wait_for(state="hidden")
    assert all(re.fullmatch(r"\d+\.\d\d s", row.split("\t")[-1].strip()) for row in rows.all_inner_texts()[1:])


def find_violations(page: Any) -> list[tuple[str, list[str]]]:
    """What axe-core finds on the page at rest: rules, and the elements that break them."""
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    wait_until(page, "window.rests = document.querySelector('.pending') ? 0 : (window.rests || 0) + 1, rests > 60")
    page.evaluate("window.rests = 0")
    checked = axe.run(page)
    assert len(checked["passes"]) > 20
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in checked["violations"]]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_it_is_accessible(served: Served, browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    """axe-core finds nothing: with answer, map and search; with an open list; with an error. Nothing is cut off."""
    (tmp_path / "bad.jpg").write_bytes(b"no photograph")
    with browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme) as context:
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.goto(served.address)
        page.wait_for_selector("#neighbors img")
        page.wait_for_selector("#map img")
        assert find_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#gallery").get_by_role("button", name=CLASSES[0], exact=True).count() == 1
        page.locator("#label input").click()
        assert find_violations(page) == []
        page.keyboard.press("Escape")
        upload(page, tmp_path / "bad.jpg")
        page.wait_for_selector("#message [role=alert]")
        assert find_violations(page) == []


def test_it_is_accessible_before_there_is_a_photograph(nets: Path, browser: Any, tmp_path: Path) -> None:
    shutil.copytree(nets / "runs" / "net", tmp_path / "net")
    config = tmp_path / "net" / "model" / "config.json"
    config.write_text(config.read_text().replace(str(nets / "data"), str(tmp_path / "gone")))
    process, address = start([tmp_path / "net"], tmp_path, "")
    try:
        with browser.new_context() as context:
            page = context.new_page()
            page.set_default_timeout(1000 * SECONDS)
            page.goto(address)
            page.get_by_text("Choose a photograph, or drop one of your own.").wait_for()
            assert page.locator("#gallery img").count() == 0
            assert find_violations(page) == []
    finally:
        process.kill()
        process.communicate()


def test_a_classifier_has_margins(page: Any) -> None:
    page.locator("#net input").click()
    page.get_by_role("option").nth(1).click()
    wait_until(page, "/^[+-]/.test(document.querySelector('#classes .score').textContent)")
    assert not page.locator("#view").is_visible()
    assert "margin" in page.locator("#window p").text_content()


def test_files_that_cannot_be_used_are_explained(page: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photograph")
    upload(page, tmp_path / "bad.jpg")
    wait_until(page, "document.querySelector('#message')?.textContent.includes('bad.jpg')")
    message = page.locator("#message [role=alert]").text_content()
    assert str(tmp_path) not in message and "/" not in message, message
    Image.new("1", (12000, 9000)).save(tmp_path / "wide.png")
    upload(page, tmp_path / "wide.png")
    wait_until(page, "document.querySelector('#message')?.textContent.includes('wide.png is too large, 12,000x9,000')")
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate((50 << 20) + 1)
    upload(page, tmp_path / "large.jpg")
    page.get_by_text(re.compile("exceed", re.IGNORECASE)).first.wait_for()
    good = Image.fromarray(picture(80, 120, seed=3))
    good.save(tmp_path / "good.png")
    upload(page, tmp_path / "good.png", tmp_path / "bad.jpg")
    page.locator("#gallery").get_by_text("good.png").wait_for()
    wait_until(page, "document.querySelector('#message')?.textContent.includes('bad.jpg')")


def test_only_this_machine_is_answered(served: Served) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(served.address) as answer:
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        text = answer.read().decode()
    assert "fonts.googleapis" not in text and '"analytics_enabled":true' not in text.replace(" ", "")
    request = urllib.request.Request(served.address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
    with caught.value:
        assert caught.value.code == 421
    port = int(served.address.rsplit(":", 1)[1])
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((own, port), timeout=5)


@pytest.mark.parametrize("route", ["gradio_api/file=", "gradio_api/file/", "file=", "assets/", "static/", "theme.css/"])
def test_no_other_file_is_served(served: Served, nets: Path, route: str) -> None:
    """Neither by its path, nor by ways up, of the system, of the working folder, of the data set or of the net."""
    (served.folder / "secret.txt").write_text("secret words")
    config = nets / "runs" / "net" / "model" / "config.json"
    photograph = next((nets / "data").rglob("*.png"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for file in (Path("/etc/passwd"), served.folder / "secret.txt", config, photograph):
        up = "../" * 12 + str(file).lstrip("/")
        for path in (
            str(file),
            up,
            urllib.parse.quote(up, safe=""),
            up.replace("..", "%2e%2e"),
            f"..%5c{file}",
            "secret.txt",
        ):
            request = urllib.request.Request(f"{served.address}/{route}{path}")
            try:
                with opener.open(request, timeout=SECONDS) as answer:
                    content = answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    content = error.read()
            assert file.read_bytes() not in content and b"secret words" not in content and b"root:" not in content, path


def test_the_port_may_be_taken(served: Served, nets: Path, inside: Cli) -> None:
    done = inside("demo", nets / "runs" / "net", "--port", served.address.rsplit(":", 1)[1], check=False)
    assert done.returncode == 1 and "cannot be used" in done.stderr and "choose another one, or 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_uploads_are_deleted_at_the_end(served: Served) -> None:
    """The last test of this demonstration."""
    assert len(list(served.folder.glob("verydeep-demo-*"))) == 1
    served.process.send_signal(signal.SIGTERM)
    assert served.process.stdout is not None
    assert served.process.wait(SECONDS) == 0
    assert "The demonstration has ended, and uploaded photographs are deleted." in served.process.stdout.read()
    assert list(served.folder.glob("verydeep-demo-*")) == []


def test_without_a_net_it_says_what_to_run(inside: Cli) -> None:
    need("gradio")
    done = inside("demo", check=False)
    assert done.returncode == 1 and "run `verydeep train` first" in done.stderr


def test_without_a_net_it_shows_the_newest_of_the_generated_set(nets: Path, tmp_path: Path) -> None:
    for number, (source, name) in enumerate((("net", "s0"), ("boxes", "pcr-s0"), ("net", "s2"), ("net", "s1"))):
        shutil.copytree(nets / "runs" / source, tmp_path / f"generated-A-{name}")
        os.utime(tmp_path / f"generated-A-{name}" / "model" / "model.safetensors", (number, number))
    shutil.copytree(nets / "runs" / "net", tmp_path / "photos-A-s0")
    (tmp_path / "generated-A-s9" / "model").mkdir(parents=True)  # in training
    shutil.copy(nets / "runs" / "net" / "model" / "config.json", tmp_path / "generated-A-s9" / "model")
    found = {path.name for path in find_generated_runs(tmp_path)}
    assert found == {"generated-A-s1", "generated-A-pcr-s0"}


def test_two_localization_nets_and_wrong_archives_are_refused(
    tmp_path: Path, inside: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gradio")
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    make_pictures(tmp_path / "data", 4)
    nets = [PaperNet.parse(text) for text in ("D/256pcr", "D/256scr")]
    runs = [save_box_run(tmp_path / "runs", net, tmp_path / "data") for net in nets]
    done = inside("demo", *runs, check=False)
    assert done.returncode == 1 and "Give one localization net at most" in done.stderr
    done = inside("demo", runs[0], "--archive", tmp_path / "data", check=False)
    assert done.returncode == 1 and "is not an archive of descriptors" in done.stderr
