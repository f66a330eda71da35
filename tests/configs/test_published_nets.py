"""The table of published nets against what the libraries that publish them say of their own files."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.peers import import_torchvision, need
from verydeep.configs.networks import NETWORKS
from verydeep.configs.paper import TABLES
from verydeep.configs.published_nets import PUBLISHED, find_published

DEPTH = {"11": "A", "13": "B", "16": "D", "19": "E"}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("torchvision")])
def test_torchvision_says_the_same(name: str) -> None:
    need("torchvision")
    torchvision = import_torchvision()
    ours = PUBLISHED[name]
    weights = torchvision.models.get_model_weights(name.removeprefix("torchvision-")).IMAGENET1K_V1
    top1, top5 = (weights.meta["_metrics"]["ImageNet-1K"][f"acc@{k}"] for k in (1, 5))
    assert ours.url == weights.url
    assert ours.errors == (pytest.approx(100 - top1), pytest.approx(100 - top5))
    assert weights.url.endswith(f"-{ours.digest.removeprefix('sha256:')}.pth")
    size = 4 * NETWORKS[ours.network].num_parameters() / 2**20
    assert weights.meta["_file_size"] == pytest.approx(size, rel=1e-3)


def test_every_name_states_its_net() -> None:
    for name, net in PUBLISHED.items():
        (depth,) = re.findall(r"vgg(\d\d)", name)
        assert (net.name, net.network) == (name, DEPTH[depth])
        algorithm, _, digest = net.digest.partition(":")
        length = {"sha1": 40, "md5": 32, "sha256": 8}[algorithm]
        assert re.fullmatch(f"[0-9a-f]{{{length}}}", digest)
    assert len({net.digest for net in PUBLISHED.values()}) == len(PUBLISHED)


@pytest.mark.parametrize("name", ["oxford-vgg16", "oxford-vgg19"])
def test_the_authors_nets_have_the_papers_errors(name: str) -> None:
    net = PUBLISHED[name]
    (row,) = (row for row in TABLES["table3"].rows if str(row.protocol) == f"{net.network}/{net.scale}/384")
    assert net.errors == (row.top1_val, row.top5_val)


@pytest.mark.parametrize("depth", [16, 19])
def test_keras_says_the_same(depth: int) -> None:
    """Read from the text of its source: importing it takes seconds."""
    need("keras")
    spec = find_spec("keras")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / f"src/applications/vgg{depth}.py").read_text()
    ours = PUBLISHED[f"keras-vgg{depth}"]
    assert f'file_hash="{ours.digest.removeprefix("md5:")}"' in text and ours.file in text
    assert ours.url.removesuffix(f"/vgg{depth}/{ours.file}") in text


def test_a_file_is_known_by_its_digest() -> None:
    sha1 = "9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24"
    assert find_published({"sha1": sha1, "md5": "0" * 32, "sha256": "0" * 64}) is PUBLISHED["oxford-vgg16"]
    found = find_published({"sha1": "0" * 40, "md5": "0" * 32, "sha256": f"397923af{'0' * 56}"})
    assert found is PUBLISHED["torchvision-vgg16"]
    assert find_published({"sha1": "0" * 40, "md5": sha1[:32], "sha256": "0" * 64}) is None


def test_the_page_about_weights_has_all_nets_with_their_licenses() -> None:
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    table = text.partition("## Published nets")[2].partition("### Licenses")[0]
    for name, net in PUBLISHED.items():
        family, _, depth = name.partition("-vgg")
        rows = [line for line in table.splitlines() if family in line and (depth in line)]
        assert any(line.endswith(f"| {net.license} |") for line in rows), name
        assert net.terms.author.partition(",")[0].split()[-1] in text and net.terms.address in text
