"""The model card: what the Hub reads of it, and what people do."""

from dataclasses import replace

import pytest

from tests.peers import need
from verydeep.configs.networks import NETWORKS
from verydeep.configs.published_nets import PUBLISHED, UNSETTLED
from verydeep.configs.recipes import RECIPES
from verydeep.engine.publishing.card import model_card
from verydeep.engine.publishing.results import Result
from verydeep.models.weights.model_folder import ModelConfig, Provenance
from verydeep.ops.metrics import Share

NAMES = ("yes", "a: b", "pipe|d", "Glück #1", "'quoted\"")
CONFIG = ModelConfig(
    "D",
    NAMES,
    NAMES,
    train_scale="256-512",
    mean_rgb=(121.25, 115.5, 101.125),
    provenance=Provenance(
        data="no",
        num_images=12345,
        precision="bf16",
        recipe=RECIPES["256-512"],
        converged=True,
    ),
)
RESULTS = (
    Result("pho: tos", "val", 5000, "dense, Q=256,384,512, fp32",
           {"top-1 error": Share(12.5, 11.6, 13.4), "top-4 error": Share(0.25, 0.1, 0.4)}, ("A | note.",)),
    Result("pho: tos", "test", 40, "center, Q=256, fp32",
           {"top-1 error": Share(20.0, 10.0, 35.0), "top-4 error": Share(0.0, 0.0, 9.0)}, ()),
)  # fmt: skip


def test_the_hub_reads_what_was_measured() -> None:
    need("huggingface_hub")
    from huggingface_hub import ModelCard

    card = ModelCard(model_card("jane/my.net-1", CONFIG, RESULTS), ignore_metadata_errors=False)
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("verydeep", "image-classification", None)
    assert "arxiv:1409.1556" in (data.tags or []) and data.model_name == "my.net-1"
    assert data.eval_results is not None
    entries = [
        (each.dataset_name, each.dataset_split, each.metric_name, each.metric_value) for each in data.eval_results
    ]
    first, second = "dense, Q=256,384,512, fp32", "center, Q=256, fp32"
    assert entries == [
        ("pho: tos", "val", f"top-1 accuracy ({first})", 0.875),
        ("pho: tos", "val", f"top-4 accuracy ({first})", 0.9975),
        ("pho: tos", "test", f"top-1 accuracy ({second})", 0.8),
        ("pho: tos", "test", f"top-4 accuracy ({second})", 1.0),
    ]
    assert {each.metric_type for each in data.eval_results} == {"accuracy"}
    assert {each.task_type for each in data.eval_results} == {"image-classification"}


def test_people_read_the_rest() -> None:
    text = model_card("jane/my.net-1", CONFIG, RESULTS)
    lines = text.splitlines()
    assert "| pho: tos | val | 5,000 | dense, Q=256,384,512, fp32 | 12.5 [11.6,13.4] | 0.2 [0.1,0.4] |" in lines
    assert "- A | note." in lines
    assert "verydeep predict hf-hub:jane/my.net-1 photo.jpg" in lines
    assert 'net = vd.load("hf-hub:jane/my.net-1")' in lines
    assert "mean RGB (121.250, 115.500, 101.125)" in text and "224x224 pixels" in text
    count = sum(parameter.numel() for parameter in CONFIG.build().parameters())
    assert f"{count:,} parameters" in text
    for row in ("| data | no |", "| images | 12,345 |", "| batch | 256 |", "| weight decay | 0.0005 |"):
        assert row in lines
    assert (
        "- train scale S = 256-512, at most 74 epochs, learning rate 0.001, divided by 10 when the validation error "
        "stops improving; dropout 0.5"
    ) in lines
    assert [line.removeprefix("- ") for line in lines[-5:]] == list(NAMES)
    assert "converged" not in text and "license" not in text.lower()


def test_what_was_not_measured_is_stated() -> None:
    config = replace(CONFIG, provenance=replace(CONFIG.provenance, converged=False))
    text = model_card("jane/x", config, ())
    assert "## Errors\n\nNot measured.\n" in text and "model-index" not in text
    assert "The net has not converged" in text


def test_many_classes_are_not_all_listed() -> None:
    names = tuple(f"n{number:08d}" for number in range(1000))
    words = tuple(f"thing {number}" for number in range(1000))
    text = model_card("jane/x", replace(CONFIG, class_names=names, class_words=words), ())
    assert "- thing 19 (n00000019)\n\nand 980 others, in config.json." in text and "thing 20" not in text


def test_an_imported_net_names_its_source_and_license() -> None:
    need("huggingface_hub")
    from huggingface_hub import ModelCard

    net = PUBLISHED["oxford-vgg16"]
    about = Provenance(
        imported_from=net.file, format="Caffe, V1 layers", sha256="ab" * 32, input="BGR, 0-255",
        published_net=net.name, url=net.url, license=net.license, published_errors=net.errors,
        published_protocol=net.protocol,
    )  # fmt: skip
    text = model_card("jane/oxford", replace(CONFIG, provenance=about), ())
    assert ModelCard(text).data.license == "cc-by-4.0"
    assert "## Source" in text and "## Training" not in text
    assert f"| address | {net.url} |" in text and f"| SHA-256 | {'ab' * 32} |" in text
    assert f"{net.errors[0]}% top-1 and {net.errors[1]}% top-5 ({net.protocol})." in text
    assert "by Karen Simonyan and Andrew Zisserman" in text and "https://creativecommons.org/licenses/by/4.0/" in text
    assert "Changes: the file was converted" in text


@pytest.mark.parametrize("name", ["torchvision-vgg16", "timm/vgg16.tv_in1k"])
def test_a_net_that_starts_from_a_published_one_carries_its_license(name: str) -> None:
    need("huggingface_hub")
    from huggingface_hub import ModelCard

    config = replace(
        CONFIG,
        fine_tuned="fc",
        provenance=replace(
            CONFIG.provenance, source_net="runs/before", imported_source=name, license=UNSETTLED, data="photos"
        ),
    )
    text = model_card("jane/x", config, ())
    data = ModelCard(text).data
    assert (data.license, data.license_name) == ("other", "not settled")
    assert data.license_link == "https://docs.pytorch.org/vision/stable/models.html"
    assert "| license of the source net | not settled |" in text
    assert f"The weights come from {name}, by the developers of torchvision" in text
    assert "released for non-commercial research" in text and "Changes: the net was trained further, on photos." in text
    assert "| trained layers | fc6, fc7 and fc8 |" in text


def test_trunks_and_boxes() -> None:
    need("huggingface_hub")
    from huggingface_hub import ModelCard

    trunk = model_card("jane/x", replace(CONFIG, class_names=(), class_words=()), ())
    assert ModelCard(trunk).data.pipeline_tag == "image-feature-extraction"
    assert "## Classes" not in trunk and "verydeep train photos --init-from hf-hub:jane/x" in trunk
    convolutions = [each for name, each in CONFIG.build().named_parameters() if name.startswith("conv")]
    assert f"{sum(each.numel() for each in convolutions):,} parameters" in trunk
    boxes = model_card("jane/x", replace(CONFIG, regression="per-class", constant_box=(0.5, 0.5, 0.5, 0.5)), ())
    assert ModelCard(boxes).data.pipeline_tag == "object-detection"
    assert "verydeep localize hf-hub:jane/x" in boxes and "a box for each of 5 classes" in boxes


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_net_has_a_card(network: str) -> None:
    assert f"network {network} of [Very Deep" in model_card("jane/x", replace(CONFIG, network=network), ())
