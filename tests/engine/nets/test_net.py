"""Nets on disk and in memory: their configuration, their classes, their threads."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.folders.test_products import write_product
from tests.data.trees import put
from tests.engine.nets.described import BASE, CLASSES, WNIDS, leave
from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.data.split import Split
from verydeep.engine.classification.posterior_cache import open_posterior_cache
from verydeep.engine.load import load
from verydeep.engine.nets.checks import align_classes
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError, WeightsError
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, Provenance, keep_classifier, save_config, save_weights

CPU = Runtime(torch.device("cpu"), bf16=False)


def test_nets_that_are_not_the_papers(tmp_path: Path) -> None:
    """Called by their folder, as are nets of an unknown train scale."""
    for name, values in (("thin", {"width": 0.25}), ("narrow", {"fc_width": 512}), ("imported", {"train_scale": None})):
        net = Net.open(leave(tmp_path, name, **values))
        assert net.paper_net() is None and str(net) == name
    assert BASE.width == 1 and BASE.fc_width == PAPER_FC_WIDTH


@pytest.mark.parametrize(
    ("recorded", "ended", "converged"),
    [(None, False, False), (False, True, False), (True, True, True)],
)
def test_how_a_training_ended(tmp_path: Path, recorded: bool | None, ended: bool, converged: bool) -> None:
    net = Net.open(leave(tmp_path, "run", provenance=Provenance(converged=recorded)))
    assert (net.ended, net.converged) == (ended, converged)


def test_the_best_weights_of_a_box_net_share_the_copy_beside_the_last_ones(tmp_path: Path) -> None:
    """As a run, by --weights best, and as the model folder best/."""
    run, config = tmp_path / "run", ModelConfig(network="A", class_names=CLASSES, class_words=CLASSES)
    for folder in ("model", "best"):
        save_config(run / folder, replace(config, regression="per-class"))
    save_config(run / "model" / "classifier", config)
    for net in (Net.open(run), Net.open(run, "best"), Net.open(run / "best"), Net.open(run / "model")):
        assert net.classifier.folder == run / "model" / "classifier"


def remove_weights(folder: Path) -> None:
    for path in folder.rglob("model.safetensors"):
        path.unlink()


def test_a_net_in_memory_is_not_read_again(tmp_path: Path) -> None:
    net = load(wnid_net(tmp_path, WNIDS).folder)
    assert net.in_memory and not net.model.training and net.class_names == WNIDS
    assert net == Net.open(tmp_path / "net") and Net.open(net, "best") is net
    expected = net.model.fc8.weight.clone()
    remove_weights(tmp_path)
    assert torch.equal(net.load().fc8.weight, expected)
    some = net.with_outputs_for(WNIDS[2:0:-1])
    assert some is not None
    assert torch.equal(some.load().fc8.weight, expected[[2, 1]]) and torch.equal(net.model.fc8.weight, expected)
    assert torch.equal(some.prepare(CPU).fc8.weight, expected[[2, 1]])


def test_what_a_caller_does_to_a_loaded_model_stays_with_him(tmp_path: Path) -> None:
    net = load(wnid_net(tmp_path, WNIDS).folder)
    assert net.in_memory
    changed = net.load().train().half()
    changed.keep_outputs([0])
    assert net.model.fc8.weight.shape[0] == len(WNIDS) and net.model.fc8.weight.dtype == torch.float32
    assert not net.model.training


@pytest.mark.parametrize("bf16", [False, True])
def test_a_net_in_memory_is_prepared_once_for_all_threads(tmp_path: Path, bf16: bool) -> None:
    """On the CPU without a copy of its weights."""
    net, runtime = load(wnid_net(tmp_path, WNIDS).folder), replace(CPU, bf16=bf16)
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(lambda _: net.prepare(runtime), range(16)))
    assert len({id(model) for model in models}) == 1
    assert models[0].fc6.weight.dtype == (torch.bfloat16 if bf16 else torch.float32)
    assert net.in_memory
    assert (models[0].fc6.weight.data_ptr() == net.model.fc6.weight.data_ptr()) is not bf16
    assert Net.open(tmp_path / "net").prepare(runtime) is not models[0]


def test_a_net_on_disk_is_prepared_once_while_somebody_holds_it(tmp_path: Path) -> None:
    wnid_net(tmp_path, WNIDS)
    held = Net.open(tmp_path / "net").prepare(CPU)
    assert Net.open(tmp_path / "net").prepare(CPU) is held
    assert Net.open(tmp_path / "net").prepare(replace(CPU, bf16=True)) is not held
    wnid_net(tmp_path, WNIDS)  # another net in its place
    assert Net.open(tmp_path / "net").prepare(CPU) is not held


def test_a_localization_net_in_memory_holds_its_classifier(tmp_path: Path) -> None:
    net = wnid_net(tmp_path, WNIDS)
    keep_classifier(net.folder, net.folder)
    config = replace(net.config, regression="single-class", constant_box=(0.5, 0.5, 0.5, 0.5))
    save_config(net.folder, config)
    save_weights(net.folder, initialized(config).state_dict())
    boxes = load(net.folder)
    remove_weights(tmp_path)
    assert boxes.classifier.load().num_classes == len(WNIDS) and boxes.load().fc8.weight.shape[0] == 4


def test_a_net_that_changed_after_it_was_loaded_has_no_digest(tmp_path: Path) -> None:
    """What is computed with it must not be cached under the digest of the new weights."""
    net = load(wnid_net(tmp_path, WNIDS).folder)
    assert digest_of_net(net) == digest_of_net(Net.open(net.folder))
    save_config(net.folder, replace(net.config, seed=99))
    with pytest.raises(WeightsError, match="changed since it was loaded: load it again"):
        digest_of_net(net)


def initialized(config: ModelConfig) -> VGG:
    model = config.build()
    initialize(model)
    return model


def wnid_net(tmp_path: Path, names: tuple[str, ...]) -> Net:
    words = tuple(f"a {name}" for name in names)
    config = replace(BASE, class_names=names, class_words=words, width=1 / 16, fc_width=12)
    save_weights(tmp_path / "net", initialized(config).state_dict())
    save_config(tmp_path / "net", config)
    return Net.open(tmp_path / "net")


def test_classes_are_matched_by_their_wnids(tmp_path: Path) -> None:
    """Of a net of more classes, in another order, those of the data set, in its order; checked on the scores."""
    net = wnid_net(tmp_path, ("background", *WNIDS[::-1]))
    requested = (WNIDS[2], WNIDS[0], WNIDS[1])
    chosen = net.with_outputs_for(requested)
    assert chosen is not None
    assert chosen.config.class_names == requested and chosen.config.class_words == tuple(
        f"a {name}" for name in requested
    )
    images = torch.rand(2, 3, 70, 64, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        every, some = net.load()(images), chosen.load()(images)
    assert torch.allclose(some, every[:, [2, 4, 3]], rtol=1e-5) and len(set(every[0, :, 0, 0].tolist())) == 5


@pytest.mark.parametrize(
    ("own", "requested"),
    [
        (("ant", "bell", "crab"), ("bell", "ant", "dog")),
        (("ant", "bell", "crab"), ("ant", "bell")),
        (WNIDS, (*WNIDS[:2], "n99999999")),
        (WNIDS[:2], WNIDS[:3]),
    ],
)
def test_names_that_mean_nothing_elsewhere_are_not_matched(
    tmp_path: Path, own: tuple[str, ...], requested: tuple[str, ...]
) -> None:
    save_config(tmp_path, replace(BASE, class_names=own, class_words=own))
    net = Net.open(tmp_path)
    assert net.with_outputs_for(requested) is None
    assert net.with_outputs_for(own) is net


def test_a_box_net_is_not_reordered(tmp_path: Path) -> None:
    """Its outputs are four a class."""
    save_config(tmp_path, replace(BASE, class_names=WNIDS, class_words=WNIDS, regression="per-class"))
    assert Net.open(tmp_path).with_outputs_for(WNIDS[:2]) is None


def split_of(labels: list[int] | None, *names: str) -> Split:
    """Return photographs with these labels."""
    files = tuple(f"{number}.jpg" for number in range(len(labels or [0])))
    array = None if labels is None else np.array(labels, np.int64)
    return Split("val", Path("photos"), files, array, names, names, "class folders", camera_rotation=True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("ant", "bell"), "photos has a class that .* does not know: crab. Rename or remove that class"),
        (("ant", "dog", "eel"), "photos has 2 classes that .* does not know: bell, crab. Rename or remove those"),
        (("class 0", "class 1", "class 2"), "does not name its 3 classes"),
        ((), "only convolutions"),
    ],
)
@pytest.mark.parametrize("labels", [[0, 1, 2, 2], None])
def test_unknown_classes_are_refused(
    tmp_path: Path, names: tuple[str, ...], message: str, labels: list[int] | None
) -> None:
    """All of them, if the labels of the photographs are unknown."""
    save_config(tmp_path, replace(BASE, class_names=names, class_words=names))
    split = split_of(labels, *CLASSES)
    with pytest.raises(VerydeepError, match=message):
        align_classes(split, [Net.open(tmp_path)])
    save_config(tmp_path, BASE)
    assert align_classes(split, [Net.open(tmp_path)]) is split


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    """In another order, fewer, or with accents that another system stores; unknown ones count only with images."""
    names, words = ("bell", "caf\xe9", "ant"), ("a bell", "a caf\xe9", "an ant")
    save_config(tmp_path, replace(BASE, class_names=names, class_words=words))
    net = Net.open(tmp_path)
    for split, expected in (
        (split_of([0, 1, 2, 1], "ant", "bell", "cafe\N{COMBINING ACUTE ACCENT}"), [2, 0, 1, 0]),
        (split_of([0, 0, 1], "ant", "bell"), [2, 2, 0]),
        (split_of([1, 0], "ant", "bell", "dog"), [0, 2]),
    ):
        aligned = align_classes(split, [net])
        assert aligned.labels is not None
        assert aligned.labels.tolist() == expected and aligned.files == split.files
        assert (aligned.class_names, aligned.class_words) == (names, words)


def test_nets_of_an_ensemble_have_the_same_classes(tmp_path: Path) -> None:
    """Their outputs are brought into the order of the first one."""
    for number, names in enumerate((CLASSES, CLASSES[::-1], ("ant", "bell", "crab", "dog"))):
        save_config(tmp_path / str(number), replace(BASE, class_names=names, class_words=names))
    first, reversed_net, other = (Net.open(tmp_path / str(number)) for number in range(3))
    split = split_of([0], "ant")
    aligned = align_classes(split, [first, reversed_net])
    assert aligned.class_names == CLASSES
    assert reversed_net.with_outputs_for(aligned.class_names).outputs == (2, 1, 0)  # type: ignore[union-attr]
    with pytest.raises(WeightsError, match=r"2 has other classes than .*0: an ensemble needs"):
        align_classes(split, [first, other])


def test_posteriors_of_chosen_outputs_are_kept_by_themselves(tmp_path: Path, val_split: Split) -> None:
    """The same file, but a soft-max over other classes."""
    net = wnid_net(tmp_path, WNIDS)
    some, turned = net.with_outputs_for(WNIDS[:2]), net.with_outputs_for(WNIDS[1::-1])
    assert some is not None and turned is not None
    folders = {open_posterior_cache(each, val_split, CPU, fast_decode=False).folder for each in (net, some, turned)}
    assert len(folders) == 3


def test_a_folder_without_a_net_says_what_it_is_and_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(1, 6):
        write_product(tmp_path / "runs" / f"run{number}")
    put(tmp_path, "runs/tables/1.png", "phone/1.jpg", "empty/notes.txt")
    write_product(tmp_path / "clf", "classifier.json", "verydeep-classifier")
    trained = write_product(tmp_path / "trained", "classifier.json", "verydeep-classifier") / "classifier.json"
    fields = {"model_type": "verydeep-classifier", "nets": [{"path": "/nets/vgg.pth"}, {"path": "oxford-vgg19"}]}
    trained.write_text(json.dumps(fields, indent=1))
    write_product(tmp_path / "arch", "manifest.json", "verydeep-descriptors")
    write_product(write_product(tmp_path / "last") / "model", "config.json", "verydeep")
    sentences = {
        "runs": "is a folder of runs: give one of them, such as runs/run1, runs/run2, runs/run3 and 2 more.",
        "phone": "holds photographs and no net: give a run, a model folder or a weight file.",
        "empty": "has no net in model/: give a run, a model folder or a weight file.",
        "clf": "is a classifier of `verydeep transfer`: give a net; `verydeep predict`, `evaluate`, `explain` and "
        "`describe` take classifiers, too.",
        "trained": "is a classifier of `verydeep transfer`: give the net it was made from, /nets/vgg.pth; "
        "`verydeep predict`, `evaluate`, `explain` and `describe` take classifiers, too.",
        "arch": "is an archive of descriptors: give a net here; `verydeep search` takes archives.",
        "runs/run1": "has not saved a net yet: wait, or continue its training.",
    }
    for name, sentence in sentences.items():
        with pytest.raises(WeightsError) as caught:
            Net.open(name)
        assert str(caught.value) == f"{name} {sentence}"
    with pytest.raises(WeightsError, match=r"has no net in best/, because it had no validation images: use `weights="):
        Net.open("last", "best")
