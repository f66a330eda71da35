"""``verydeep push``: the files that arrive on a Hub on this machine, and the errors if none do."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_hub import TOKEN, FakeHub, serving
from tests.models.export.test_onnx import THIN, drawn
from tests.peers import need
from tests.runs import Cli
from tests.thin_nets import save_model
from verydeep.engine.nets.digests import digest_of_folder
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import ModelConfig, Provenance, SplitRecord, keep_classifier

# Of the Hub's library, in the older way in.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CONFIG = replace(THIN, crop=32, train_scale="256", provenance=Provenance(epochs=3, converged=True))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    need("huggingface_hub")
    from huggingface_hub import constants

    with serving() as server:
        # The library reads these from the environment when it is imported, which may be before this test.
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the older way in, which needs no other server
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that knows where it lies, with one evaluation."""
    run, data = tmp_path / "runs" / "photos-A", str(tmp_path / "pictures" / "photos")
    about = replace(CONFIG.provenance, data=data, source_net=str(tmp_path / "runs" / "other"), num_images=12)
    save_model(drawn(CONFIG), replace(CONFIG, split=SplitRecord(data, 0, 0.2, "t", "v", False), provenance=about), run)
    share = {"percent": 12.5, "low": 7.25, "high": 19.75}
    errors = {"top1": share, "topk": {**share, "percent": 2.5}, "k": 4, "class_recall": share, "num_images": 40}
    row = {"net": "photos-A", "crop": 32, "view": "dense", "scales": [224, 256], "errors": errors}
    values = {"data": data, "nets": [str(run)], "weights": "last", "split": "test", "num_images": 40, "rows": [row]}
    values |= {
        "precision": "fp32",
        "remarks": [f"Not converged: the learning rate of {run} did not drop as often as planned."],
    }
    values["digests"] = [digest_of_folder(run / "model")]
    write_json(run / "evaluations" / "test-dense" / "errors.json", values)
    return run


def files_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_what_was_shown_arrives(hub: FakeHub, run: Path, inside: Cli, tmp_path: Path) -> None:
    shown = inside("push", run, "jane/photos-vgg", "--out", "card").stdout
    assert shown == "Written: card/ (README.md, config.json, model.safetensors); nothing was uploaded.\n"
    assert not hub.requests
    done = inside("push", run, "jane/photos-vgg")
    arrived = dict(hub.files["jane/photos-vgg"])
    assert arrived == files_in(tmp_path / "card") and set(arrived) == {"README.md", "config.json", "model.safetensors"}
    assert arrived["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert hub.private == {"jane/photos-vgg": False}
    assert f"{hub.address}/jane/photos-vgg" in done.stdout
    assert "verydeep predict hf-hub:jane/photos-vgg photo.jpg" in done.stdout
    # Once more, into the repository that is there now.
    (run / "evaluations" / "test-dense" / "errors.json").unlink()
    inside("push", run, "jane/photos-vgg")
    assert b"Not measured." in hub.files["jane/photos-vgg"]["README.md"] and b"12.5" in arrived["README.md"]


def test_it_is_the_same_net_without_the_paths(
    hub: FakeHub, run: Path, inside: Cli, tmp_path: Path, photographs: Path
) -> None:
    inside("push", run, "jane/photos-vgg")
    for name, content in hub.files["jane/photos-vgg"].items():
        assert str(tmp_path).encode() not in content, name
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    values, own = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "copy", run / "model"))
    assert (values["split"]["data"], values["provenance"]["data"]) == ("photos", "photos")
    assert values["provenance"]["source_net"] == "other"
    assert {**values, "split": 0, "provenance": 0} == {**own, "split": 0, "provenance": 0}
    photo = photographs / "test" / "bee" / "001.jpg"
    outputs = [inside("predict", net, photo, "--format", "json").stdout for net in (run, tmp_path / "copy")]
    assert outputs[0] == outputs[1]


def test_a_localization_net_brings_its_classifier(hub: FakeHub, run: Path, inside: Cli, tmp_path: Path) -> None:
    config: ModelConfig = replace(CONFIG, regression="single-class", constant_box=(0.5, 0.5, 0.5, 0.5))
    boxes = tmp_path / "runs" / "boxes"
    save_model(drawn(config), config, boxes)
    keep_classifier(boxes / "model", run / "model")
    assert "verydeep localize hf-hub:jane/boxes" in inside("push", boxes, "jane/boxes").stdout
    arrived = hub.files["jane/boxes"]
    assert {name.rpartition("/")[0] for name in arrived} == {"", "classifier"} and len(arrived) == 5
    assert arrived["classifier/model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert str(tmp_path).encode() not in b"".join(arrived.values())
    assert b"pipeline_tag: object-detection" in arrived["README.md"]


def test_private_is_private(hub: FakeHub, run: Path, inside: Cli) -> None:
    inside("push", run, "jane/secret", "--private")
    inside("push", run, "jane/secret", "--private")
    assert hub.private == {"jane/secret": True} and len(hub.files["jane/secret"]) == 3
    hub.private["jane/known"] = False
    refused = inside("push", run, "jane/known", "--private", check=False)
    assert refused.returncode == 1 and "jane/known is already public: make it private there" in refused.stderr
    assert "jane/known" not in hub.files


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ({"repos/create": 403, "api/models/jane/x": 404}, "This token may not write to jane/x: make one that may"),
        ({"repos/create": 401, "api/models/jane/x": 404}, "does not accept this token: log in with `hf auth login`"),
        ({"repos/create": 500}, "refused jane/x (500: as the test wants it): try again later."),
        ({"lfs/objects/batch": 403}, "This token may not write to jane/x"),
        ({"/storage/": 400}, "refused jane/x (400"),
        ({"commit/main": 413}, "refused jane/x (413"),
    ],
)
def test_a_refusal_is_reported(failing: dict[str, int], message: str, hub: FakeHub, run: Path, inside: Cli) -> None:
    hub.failing = failing
    refused = inside("push", run, "jane/x", check=False)
    assert refused.returncode == 1 and refused.stdout == "" and "Traceback" not in refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("verydeep: ") and message in last and last.endswith(".")
    assert not hub.files


def test_no_token_a_wrong_one_and_no_network(
    hub: FakeHub, run: Path, inside: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    refused = inside("push", run, "jane/x", check=False)
    assert refused.returncode == 1 and not hub.requests
    assert refused.stderr == (
        "verydeep: The Hub needs to know who you are: log in with `hf auth login`, or set HF_TOKEN.\n"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 34)
    refused = inside("push", run, "jane/x", check=False)
    assert refused.stderr == (
        f"verydeep: {hub.address} does not accept this token: log in with `hf auth login`, or set HF_TOKEN to another "
        "one.\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)  # as above, read at import
    refused = inside("push", run, "jane/x", check=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert refused.stderr.startswith(f"verydeep: jane/x cannot be uploaded to {nobody} (")
    assert refused.stderr.endswith("): check the network, and try again.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("photos-vgg",), "'photos-vgg' is not a repository name: write OWNER/NAME"),
        (("jane/a/b",), "'jane/a/b' is not a repository"),
        (("jane/x", "--out", "runs"), "runs already exists: choose another --out, or remove it."),
        (("jane/x", "--weights", "best"), "has no net in best/"),
    ],
)
def test_bad_input_is_reported_before_anything_is_sent(
    arguments: tuple[str, ...], message: str, hub: FakeHub, run: Path, inside: Cli
) -> None:
    refused = inside("push", run, *arguments, check=False)
    assert refused.returncode == 1 and message in refused.stderr and refused.stderr.count("\n") == 1
    assert not hub.requests


def test_a_damaged_net_is_not_published(hub: FakeHub, run: Path, inside: Cli) -> None:
    path = run / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    refused = inside("push", run, "jane/x", check=False)
    assert refused.returncode == 1 and "is damaged" in refused.stderr and not hub.requests
