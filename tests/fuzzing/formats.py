"""Every format that verydeep reads: small valid files of it, and the public function that reads them."""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import verydeep as vd
from tests.conftest import picture
from tests.data.sets.ilsvrc_trees import make_kaggle, make_tars
from tests.data.sets.voc_trees import put_actions, put_annotation, put_voc
from tests.foreign_files import thin_weights, write_caffemodel, write_matconvnet
from tests.he_weights import draw_he_weights
from tests.stored_runs import store_run
from tests.thin_nets import save_model
from verydeep.configs.recipes import RECIPES
from verydeep.data.box_annotations import read_boxes
from verydeep.data.folders.folder import open_folder
from verydeep.data.folders.groups import add_groups
from verydeep.data.folders.name_lists import expand_lists
from verydeep.data.layout import open_split
from verydeep.data.sets.imagenet import read_devkit
from verydeep.data.sets.preparation import find_ilsvrc, prepare_ilsvrc
from verydeep.data.sets.voc import open_voc
from verydeep.data.sets.voc_actions import open_voc_actions
from verydeep.engine.caching.array_cache import ArrayCache
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.importing.conversion import convert_file
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.nets.net import Net
from verydeep.engine.publishing.results import read_results
from verydeep.engine.report_page.page import write_report_page
from verydeep.engine.training.checkpoint import load_checkpoint, read_position, save_checkpoint
from verydeep.engine.training.schedule import new_schedule
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.state import TrainState, make_optimizer
from verydeep.engine.transfer.classifier import Classifier, load_classifier, save_classifier
from verydeep.engine.transfer.linear_svms import LinearSVMs
from verydeep.models.weights.model_folder import ModelConfig, SplitRecord, load_model

CONFIG = ModelConfig("A", ("a", "b"), ("a", "b"), crop=32, fc_width=12)
OUT = "out"
"""The folder, next to the files, that a reader may write to."""


@dataclass(frozen=True)
class Format:
    """Files of a format, and how they are read."""

    make: Callable[[Path], object]
    """Make valid files in a folder."""
    kinds: Mapping[str, str]
    """File that is mutated -> the kind of its structure, a key of ``mutations.STRUCTURES``."""
    read: Callable[[Path], Any]
    """Read the files in a folder; the value of valid ones never changes."""


def _convert(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        net = convert_file(folder / name)
        for tensor in net.tensors.values():
            assert bool(tensor.isfinite().all()) and tensor.dtype == torch.float32
        net.config.build()
        return {key: tensor.double().sum().item() for key, tensor in net.tensors.items()}, net.config.class_names

    return read


def _torch_names() -> dict[str, torch.Tensor]:
    tensors = thin_weights()
    return {f"model.{name}": value for name, value in tensors.items()}


def _save_zip(folder: Path) -> None:
    torch.save({"epoch": 3, "state_dict": _torch_names(), "args": {"lr": 0.1}}, folder / "net.pth")


def _save_legacy(folder: Path) -> None:
    torch.save(_torch_names(), folder / "net.pth", _use_new_zipfile_serialization=False)


def _keras_groups(path: Path, place: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        layers = file.create_group(place)
        weights = thin_weights()
        for name in [name.removesuffix(".weight") for name in weights if name.endswith("weight")]:
            kernel = weights[f"{name}.weight"].permute(2, 3, 1, 0).numpy()
            kernel = kernel.reshape(-1, kernel.shape[-1]) if name.startswith("fc") else kernel
            inner = layers.create_group(name)
            inner.attrs["weight_names"] = [f"{name}/kernel:0", f"{name}/bias:0"]
            inner.create_dataset("kernel:0", data=kernel)
            inner.create_dataset("bias:0", data=weights[f"{name}.bias"].numpy())


def _save_keras_archive(folder: Path) -> None:
    inner = folder / "model.weights.h5"
    _keras_groups(inner, "layers")
    layers = [{"class_name": "Conv2D", "config": {"name": "a", "activation": "relu"}} for _ in range(3)]
    config = {"module": "keras", "class_name": "Functional", "config": {"name": "vgg16", "layers": layers}}
    with zipfile.ZipFile(folder / "net.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.8.0"}')
        archive.writestr("config.json", json.dumps(config))
        archive.write(inner, "model.weights.h5")
    inner.unlink()


def _save_matconvnet(folder: Path) -> None:
    wnids = tuple(f"n{number:08d}" for number in range(5))
    write_matconvnet(folder / "net.mat", thin_weights(), wnids=wnids, words=("a", "b", "c", "d", "e"))
    write_matconvnet(folder / "small.mat", thin_weights(side=0), compressed=True, old=True)


def _make_model(folder: Path, config: ModelConfig = CONFIG) -> None:
    model = config.build()
    draw_he_weights(model, 1)
    save_model(model, config, folder)
    (folder / "run.json").unlink()


def _make_state() -> TrainState:
    model, recipe = CONFIG.build(), RECIPES["generated"]
    draw_he_weights(model, 1)
    return TrainState(model, make_optimizer(model, recipe), new_schedule(recipe, 0, 0, 100))


def _make_checkpoint(folder: Path) -> None:
    settings = RunSettings("photos", "A", 32, 1.0, 12, RECIPES["generated"], 3, False)
    settings.save(RunFolder(folder))
    save_checkpoint(folder, _make_state()).rename(folder / "step.safetensors")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.4, "epoch": 1}\n')


def _read_checkpoint(folder: Path) -> Any:
    progress, schedule = read_position(folder / "step.safetensors")
    load_checkpoint(folder / "step.safetensors", _make_state())
    settings = RunSettings.load(RunFolder(folder))
    return progress, schedule, settings, settings.net


def _make_archive(folder: Path) -> None:
    _make_model(folder / "net")
    for number in range(3):
        Image.fromarray(picture(41, 35, number)).save(folder / f"{number}.png")
    vd.features(folder / "net/model", str(folder), out=folder / "archive", device="cpu", precision="fp32", workers=0)
    for shard in (folder / "archive/shards").iterdir():
        shard.rename(shard.with_name("0.safetensors"))


@cache
def _query(folder: Path) -> Any:
    return vd.describe(folder / "net/model", folder / "1.png", device="cpu", precision="fp32", workers=0)


def _search_archive(folder: Path) -> Any:
    return vd.search(folder / "archive", _query(folder), device="cpu", workers=0).as_dict()


def _make_cache(folder: Path) -> None:
    with ArrayCache(folder / "cached", {}) as arrays:
        arrays.add(np.arange(5), {"kind": {"values": np.ones((5, 3), np.float32)}})
    for path in (folder / "cached/kind").iterdir():
        path.rename(path.with_name("0.safetensors"))


def _read_cache(folder: Path) -> Any:
    arrays = ArrayCache(folder / "cached", {})
    keys, loaded = arrays.keys("kind"), arrays.load("kind", np.arange(3))
    return keys.tolist(), None if loaded is None else (loaded[0].tolist(), sorted(loaded[1]))


def _make_classifier(folder: Path) -> None:
    _make_model(folder / "net")
    net = Net.open(folder / "net/model")
    svms = LinearSVMs(np.ones((2, 12), np.float32), np.zeros(2, np.float32), 3.0, (1,))
    record = SplitRecord("/photos", seed=3, val_fraction=0.2, train="0123", val="4567", plateau=False)
    representation = Representation((net,), ("relu7",), (256,), "average")
    save_classifier(folder / "few", Classifier(("ant", "bell"), ("ant, emmet", "bell"), representation, svms, record))


def _read_classifier(folder: Path) -> Any:
    classifier = load_classifier(folder / "few")
    return classifier.class_names, classifier.svms.weights.tolist(), str(classifier)


def _make_tars(folder: Path) -> None:
    make_tars(folder)
    (folder / "ILSVRC2012_img_test_v10102019.tar").rename(folder / "ILSVRC2012_img_test.tar")


def _prepare(folder: Path) -> Any:
    out = folder.parent / OUT
    progress = [(each.split, each.done) for each in prepare_ilsvrc(find_ilsvrc(folder), out)]
    return progress, sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def _make_devkit(folder: Path) -> None:
    import tarfile

    make_tars(folder / "tars")
    with tarfile.open(folder / "tars/ILSVRC2012_devkit_t12.tar.gz") as archive:
        for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"):
            stream = archive.extractfile(f"ILSVRC2012_devkit_t12/data/{name}")
            assert stream is not None
            (folder / name).write_bytes(stream.read())
    shutil.rmtree(folder / "tars")


def _read_kaggle(folder: Path) -> Any:
    split = open_split(folder, "val")
    boxes = [each.boxes.tolist() for each in read_boxes(split, folder, "skip")]
    return split.files, split.class_words, boxes


def _make_boxes(folder: Path) -> None:
    for name in ("ant", "bee"):
        for number in range(2):
            path = folder / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30)).save(path)
    text = "path,label,xmin,ymin,xmax,ymax\n"
    for path in sorted(folder.rglob("*.png")):
        text += f"{path.relative_to(folder).as_posix()},{path.parent.name},1,2,30,20\n"
    (folder / "boxes.csv").write_text(text)
    groups = "".join(f"{path.relative_to(folder).as_posix()},g{path.stem}\n" for path in sorted(folder.rglob("*.png")))
    (folder / "groups.csv").write_text(f"path,group\n{groups}")


def _read_boxes(folder: Path) -> Any:
    split = open_folder(folder, "train", seed=0, val_fraction=0.5)
    split = add_groups(split, str(folder / "groups.csv"))
    return split.groups, [each.boxes.tolist() for each in read_boxes(split, folder)]


def _make_xml(folder: Path) -> None:
    _make_boxes(folder)
    (folder / "boxes.csv").unlink()
    for path in sorted(folder.rglob("*.png")):
        put_annotation(folder, f"{path.parent.name}/{path.stem}", (path.parent.name, (2, 3, 31, 21)))
        (folder / "Annotations/train" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / f"Annotations/{path.parent.name}/{path.stem}.xml").rename(
            folder / f"Annotations/train/{path.parent.name}/{path.stem}.xml"
        )


def _make_labels(folder: Path) -> None:
    for number in range(8):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    (folder / "labels.csv").write_text("path,label\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(8)))
    (folder / "list.csv").write_text("path,size\n" + "".join(f"{n}.png,{n}\n" for n in range(8)))
    (folder / "list.txt").write_text("".join(f"{n}.png\n" for n in range(8)))


def _read_labels(folder: Path) -> Any:
    split = open_split(folder, "train", strict=True)
    lists = [list(expand_lists([str(folder / name)])) for name in ("list.csv", "list.txt")]
    return split.files, split.class_names, lists


def _make_voc(folder: Path) -> None:
    put_voc(folder, "val", {"2008_000001": {"cat": 1}, "2008_000002": {"dog": 1, "cat": 0}})
    put_actions(folder, "val", {("2008_000001", 1): {"jumping": 1}, ("2008_000002", 2): {"reading": 1}})
    put_annotation(folder, "2008_000001", ("person", (1, 2, 30, 40)))
    put_annotation(folder, "2008_000002", ("cat", (1, 2, 3, 4)), ("person", (1, 2, 30, 40)))


def _read_voc(folder: Path) -> Any:
    split, actions = open_voc(folder, "val"), open_voc_actions(folder, "val")
    return split.files, np.asarray(split.relevance).tolist(), actions.files, np.asarray(actions.relevance).tolist()


def _make_tiny(folder: Path) -> None:
    wnids = ("n01440764", "n02100735")
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "words.txt").write_text("n01440764\ttench\nn02100735\tsetter\n")
    for name in wnids:
        (folder / "train" / name / "images").mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(folder / f"train/{name}/images/{name}_0.JPEG")
        (folder / f"train/{name}/{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t10\t63\t50\n")
    (folder / "val/images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "val/images/val_0.JPEG")
    (folder / "val/val_annotations.txt").write_text("val_0.JPEG\tn01440764\t0\t32\t44\t62\n")


def _read_tiny(folder: Path) -> Any:
    splits = [open_split(folder, name) for name in ("train", "val")]
    return [(split.files, split.class_words, [box.tolist() for box in split.boxes or ()]) for split in splits]


def _make_run(folder: Path) -> None:
    run = store_run(folder / "run", folder / "photos")
    RunSettings("photos", "A", 64, 1.0, 4096, RECIPES["generated"], 3, False).save(RunFolder(run))
    _make_model(folder / "net", ModelConfig("A", ("ant", "bee", "crab"), ("ant", "bee", "crab"), 32, 1.0, 12))
    shutil.copytree(folder / "net/model", run / "model")
    shutil.rmtree(folder / "net")
    environment = dict.fromkeys(("command", "date", "verydeep", "revision", "python", "torch", "hardware"), "x")
    (run / "environment.json").write_text(json.dumps([{**environment, "precision": "fp32", "devices": 1}]))
    boxes = run / "evaluations/boxes"
    boxes.mkdir()
    share = {"percent": 50.0, "low": 10.0, "high": 90.0}
    errors = json.loads((run / "evaluations/val-dense-256/errors.json").read_text())
    row = {"net": "A", "crop": 64, "scales": [256], "pixels": [73], "view": "dense", "truth": {"error": share, "k": 1}}
    (boxes / "errors.json").write_text(json.dumps(errors | {"rows": [row]}))
    header = "path,label,iou,xmin,ymin,xmax,ymax,class1,rating1,annotations"
    (boxes / "boxes.csv").write_text(f'{header}\nant/0.png,ant,0.7,1,2,30,20,ant,0.5,"[[1, 2, 30, 20]]"\n')
    (boxes / "classes.csv").write_text("class,words\nant,the ant\n")


def _write_page(folder: Path) -> Any:
    out = folder.parent / OUT
    out.mkdir(exist_ok=True)
    written = write_report_page([folder / "run"], out / "report.html", [folder / "photos"])
    assert "<script>alert" not in (out / "report.html").read_text(encoding="utf-8")
    return written.num_photographs


def _make_published(folder: Path) -> None:
    _make_run(folder)
    shutil.rmtree(folder / "run/evaluations/boxes")
    from verydeep.engine.nets.digests import digest_of_folder

    path = folder / "run/evaluations/val-dense-256/errors.json"
    values = json.loads(path.read_text())
    digest = digest_of_folder(folder / "run/model")
    path.write_text(json.dumps(values | {"nets": ["run"], "digests": [digest]}))


def _read_published(folder: Path) -> Any:
    return [(each.protocol, each.errors) for each in read_results(folder / "run", folder / "run/model")]


_EVALUATION = "run/evaluations/val-dense-256"

FORMATS: dict[str, Format] = {
    "safetensors": Format(
        lambda folder: save_file(dict(thin_weights()), folder / "net.safetensors", {"format": "pt"}),
        {"net.safetensors": "safetensors"},
        _convert("net.safetensors"),
    ),
    "zip": Format(_save_zip, {"net.pth": "zip"}, _convert("net.pth")),
    "pickle": Format(_save_legacy, {"net.pth": "pickle"}, _convert("net.pth")),
    "hdf5": Format(
        lambda folder: _keras_groups(folder / "net.h5", "model_weights"), {"net.h5": "hdf5"}, _convert("net.h5")
    ),
    "keras": Format(_save_keras_archive, {"net.keras": "zip"}, _convert("net.keras")),
    "protobuf": Format(
        lambda folder: write_caffemodel(folder / "net.caffemodel", thin_weights()),
        {"net.caffemodel": "protobuf"},
        _convert("net.caffemodel"),
    ),
    "matlab": Format(
        _save_matconvnet,
        {"net.mat": "matlab", "small.mat": "matlab"},
        lambda folder: (_convert("net.mat")(folder), _convert("small.mat")(folder)),
    ),
    "model-folder": Format(
        _make_model,
        {"model/config.json": "json", "model/model.safetensors": "safetensors"},
        lambda folder: [tensor.sum().item() for tensor in load_model(folder / "model")[0].parameters()],
    ),
    "checkpoint": Format(_make_checkpoint, {"run.json": "json", "step.safetensors": "safetensors"}, _read_checkpoint),
    "classifier": Format(
        _make_classifier, {"few/classifier.json": "json", "few/svms.safetensors": "safetensors"}, _read_classifier
    ),
    "archive": Format(
        _make_archive,
        {"archive/manifest.json": "json", "archive/shards/0.safetensors": "safetensors"},
        _search_archive,
    ),
    "cache": Format(_make_cache, {"cached/kind/0.safetensors": "safetensors"}, _read_cache),
    "report": Format(
        _make_run,
        {
            f"{_EVALUATION}/errors.json": "json",
            f"{_EVALUATION}/predictions.csv": "table",
            "run/evaluations/boxes/errors.json": "json",
            "run/evaluations/boxes/boxes.csv": "table",
            "run/evaluations/boxes/classes.csv": "table",
            "run/metrics.jsonl": "jsonl",
            "run/run.json": "json",
            "run/environment.json": "json",
            "run/model/config.json": "json",
        },
        _write_page,
    ),
    "card": Format(_make_published, {f"{_EVALUATION}/errors.json": "json"}, _read_published),
    "tar": Format(
        _make_tars,
        {
            **dict.fromkeys((f"ILSVRC2012_img_{name}.tar" for name in ("train", "val", "test")), "tar"),
            "ILSVRC2012_devkit_t12.tar.gz": "tar",
        },
        _prepare,
    ),
    "devkit": Format(
        _make_devkit,
        {"meta.mat": "matlab", "ILSVRC2012_validation_ground_truth.txt": "table"},
        lambda folder: asdict(read_devkit(folder)),
    ),
    "kaggle": Format(
        make_kaggle,
        {"LOC_synset_mapping.txt": "table", "LOC_val_solution.csv": "table"}
        | {f"ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_0000000{number}.xml": "xml" for number in (1, 2, 3)},
        _read_kaggle,
    ),
    "xml": Format(_make_xml, {"Annotations/train/ant/0.xml": "xml"}, _read_boxes),
    "boxes": Format(_make_boxes, {"boxes.csv": "table", "groups.csv": "table"}, _read_boxes),
    "labels": Format(_make_labels, {"labels.csv": "table", "list.csv": "table", "list.txt": "table"}, _read_labels),
    "voc": Format(
        _make_voc,
        {
            "ImageSets/Main/val.txt": "table",
            "ImageSets/Main/cat_val.txt": "table",
            "ImageSets/Action/val.txt": "table",
            "ImageSets/Action/jumping_val.txt": "table",
            "Annotations/2008_000002.xml": "xml",
        },
        _read_voc,
    ),
    "tiny-imagenet": Format(
        _make_tiny,
        {
            "wnids.txt": "table",
            "words.txt": "table",
            "val/val_annotations.txt": "table",
            "train/n01440764/n01440764_boxes.txt": "table",
        },
        _read_tiny,
    ),
}
