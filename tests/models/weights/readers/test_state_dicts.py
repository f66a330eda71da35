"""Files of torch.save and safetensors: what was saved comes back; what is damaged or hostile is one sentence."""

import argparse
import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor, nn

from tests.models.weights.readers.source_nets import announce, rewrite
from verydeep.errors import VerydeepError
from verydeep.models.weights.readers import state_dicts
from verydeep.models.weights.readers.state_dicts import read_pickled, read_safetensors

TENSORS = {
    "features.0.weight": torch.linspace(-2, 3, 4 * 3 * 9).reshape(4, 3, 3, 3),
    "features.0.bias": torch.tensor([1.5, -2.25, 0.0, 1e-20]),
    "features.1.num_batches_tracked": torch.tensor(12),
}
FORMATS = ["zip", "legacy"]


def write(path: Path, content: object, form: str = "zip") -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


def refused(path: Path, *words: str, read: Callable[[Path], object] = read_pickled) -> None:
    with pytest.raises(VerydeepError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600 and str(path) in message
    assert all(word in message for word in words), message


def same(read: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return read.keys() == expected.keys() and all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("within", ["", "state_dict", "model", "model_state_dict", "net", "ema", "params", "anything"])
def test_what_torch_saved_comes_back(form: str, within: str, tmp_path: Path) -> None:
    content: object = OrderedDict(TENSORS)
    if within:
        moments = {"exp_avg": torch.zeros(4, 3, 3, 3), "exp_avg_sq": torch.zeros(4, 3, 3, 3), "step": torch.tensor(3.0)}
        optimizer = {"state": {0: moments}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        content = {"epoch": 3, "time": 1_790_000_000, "optimizer": optimizer, "betas": [0.9, None], within: content}
    tensors = read_pickled(write(tmp_path / "net.pth", content, form))
    assert same(tensors, TENSORS)
    assert tensors["features.0.weight"].dtype == torch.float32


@pytest.mark.parametrize("form", FORMATS)
def test_a_modules_own_state_dict(form: str, tmp_path: Path) -> None:
    """With parameters for tensors, and with the attribute that modules give their state dicts."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    expected = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert same(read_pickled(write(tmp_path / "a.pth", net.state_dict(), form)), expected)
    parameters = dict(net.named_parameters())
    read = read_pickled(write(tmp_path / "b.pth", parameters, form))
    assert read.keys() == parameters.keys() and not any(tensor.requires_grad for tensor in read.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    tensor = torch.tensor([[0.5, -1.25], [3.0, 448.0]])
    content = {"fc8.weight": tensor.to(dtype)}
    save_file(content, tmp_path / "net.safetensors")
    for read in (read_pickled(write(tmp_path / "a", content)), read_safetensors(tmp_path / "net.safetensors")):
        assert read["fc8.weight"].dtype == torch.float32 and torch.equal(read["fc8.weight"], tensor)


def test_strides_and_offsets_are_kept(tmp_path: Path) -> None:
    numbers = torch.arange(60.0)
    views = {"a": numbers[10:34].reshape(4, 6).t(), "b": numbers.reshape(3, 4, 5)[:, ::2]}
    expected = {name: view.clone() for name, view in views.items()}
    for form in FORMATS:
        assert same(read_pickled(write(tmp_path / form, views, form)), expected)


def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    """``torch.serialization.set_crc32_options(False)`` writes zeros."""
    torch.serialization.set_crc32_options(False)
    try:
        write(tmp_path / "net.pth", TENSORS)
    finally:
        torch.serialization.set_crc32_options(True)
    assert zipfile.ZipFile(tmp_path / "net.pth").testzip() is not None
    assert same(read_pickled(tmp_path / "net.pth"), TENSORS)


def test_archives_that_others_packed_again_are_read(tmp_path: Path) -> None:
    """Their storages begin anywhere."""
    assert same(read_pickled(rewrite(write(tmp_path / "net.pth", TENSORS), lambda name, content: content)), TENSORS)


def test_safetensors_come_back(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert same(read_safetensors(tmp_path / "model.safetensors"), TENSORS)


class Runs:
    """What executes something when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def test_tensors_of_torch_0_1(tmp_path: Path) -> None:
    """As in the VGG files of 2017, torchvision's and jcjohnson's, whose tensors are rebuilt by a function of then."""
    tensor = TENSORS["features.0.weight"]
    storage = torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True)
    old = Runs(torch._utils._rebuild_tensor, storage, 0, tuple(tensor.shape), tensor.stride())
    path = write(tmp_path / "vgg16-00b39a1b.pth", OrderedDict({"features.0.weight": old}), "legacy")
    assert b"_rebuild_tensor\n" in path.read_bytes()
    assert same(read_pickled(path), {"features.0.weight": tensor})


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", ["os.system", "eval", "open", "bytearray", "torch.serialization.load"])
def test_nothing_is_run(what: str, form: str, protocol: int, tmp_path: Path) -> None:
    """PyTorch itself allows bytearray, and bytearray(bytearray(10**10)) is ten gigabytes."""
    mark = tmp_path / "it-ran"
    hostile = {
        "os.system": Runs(os.system, f"touch {mark}"),
        "eval": Runs(eval, f"open({str(mark)!r}, 'w')"),
        "open": Runs(open, str(mark), "w"),
        "bytearray": Runs(bytearray, 10**9),
        "torch.serialization.load": Runs(torch.load, str(mark)),
    }[what]
    path = tmp_path / "net.pth"
    content = {"state_dict": TENSORS, "note": hostile}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form == "zip")
    if protocol == 2:
        refused(path, "nothing was run", {"os.system": "posix.system"}.get(what, what))
    else:  # the legacy form has its magic number in that protocol, too
        refused(path, "nothing was run" if form == "zip" else "not a file of torch.save")
    assert not mark.exists()


@pytest.mark.parametrize("form", FORMATS)
def test_what_a_training_notes_beside_the_weights_is_left_out(tmp_path: Path, form: str) -> None:
    notes = {
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "best": np.float64(0.5),
        "epoch": np.int64(3),
        "history": defaultdict(list, loss=[0.5]),
        "started": datetime(2026, 1, 2),
        "files": {Path("a"): 1},
    }
    before = torch.serialization.get_safe_globals()
    path = write(tmp_path / "net.pth", {**notes, "state_dict": TENSORS}, form)
    assert same(read_pickled(path), TENSORS)
    assert set(torch.serialization.get_safe_globals()) == set(before)
    assert same(read_pickled(write(path, defaultdict(None, TENSORS), form)), TENSORS)


@pytest.mark.parametrize("form", FORMATS)
def test_torchs_own_guard_stands_behind_ours(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is patched, because it lets no file through that torch's has to stop."""
    mark = tmp_path / "it-ran"
    path = write(tmp_path / "net.pth", {"a": torch.zeros(3), "b": Runs(os.system, f"touch {mark}")}, form)
    monkeypatch.setattr(state_dicts, "_ALLOWED", re.compile(".*"))
    refused(path, "cannot be read", "malformed")
    assert not mark.exists()


def test_whole_modules_and_torchscript_are_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    for form in FORMATS:
        refused(write(tmp_path / form, net, form), "torch.nn.modules.container.Sequential", "state_dict()")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.trace(net, torch.zeros(1, 3, 5, 5)).save(tmp_path / "script.pt")  # type: ignore[no-untyped-call]
    refused(tmp_path / "script.pt", "is a TorchScript program, not a file of torch.save")


def test_other_things_are_no_state_dicts(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    refused(tmp_path / "arrays.npz", "is a zip file of NumPy arrays, not a file of torch.save")
    (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1")
    refused(tmp_path / "text.pth", "not a file of torch.save")
    (tmp_path / "empty.pth").touch()
    refused(tmp_path / "empty.pth", "not a file of torch.save")
    for number, content in enumerate(([torch.zeros(3)], torch.zeros(3), {"epoch": 3}, {1: torch.zeros(3)}, {})):
        refused(write(tmp_path / f"{number}.pth", content), "no state dict")
    refused(write(tmp_path / "keys.pth", {"epoch": 3, "opt": {}}), "no state dict under any of its keys (epoch, opt)")
    refused(tmp_path / "nowhere.pth", "cannot be read")
    refused(tmp_path, "cannot be read")
    save_file({}, tmp_path / "none.safetensors")
    refused(tmp_path / "none.safetensors", "no state dict", read=read_safetensors)
    refused(tmp_path / "nowhere.safetensors", "cannot be read", read=read_safetensors)


def test_state_dicts_within_mappings_and_lists_are_found(tmp_path: Path) -> None:
    for number, content in enumerate(({"ckpt": {"model": {"weights": TENSORS}}}, (TENSORS, 3), [{"a": 1}, [TENSORS]])):
        assert same(read_pickled(write(tmp_path / f"{number}.pth", content)), TENSORS)


def test_a_mapping_that_contains_itself_is_searched_once(tmp_path: Path) -> None:
    levels: dict[str, object] = {"net": TENSORS}
    for _ in range(3):
        levels = {f"level {number}": levels for number in range(300)}
    levels["again"] = levels
    assert same(read_pickled(write(tmp_path / "net.pth", levels)), TENSORS)


def test_two_nets_in_one_are_refused(tmp_path: Path) -> None:
    both = {"features.0.bias": torch.zeros(4), "module.features.0.bias": torch.ones(4)}
    refused(write(tmp_path / "net.pth", both), "features.0.bias", "twice")
    other = {name: tensor + 1 for name, tensor in TENSORS.items()}
    refused(
        write(tmp_path / "two.pth", {"net": TENSORS, "ema": other}), "2 nets, checkpoint['net'] and checkpoint['ema']"
    )


def test_numbers_that_are_not_plain_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.pth", {"fc8.weight": torch.eye(3).to_sparse()}), "_rebuild_sparse_tensor")
    refused(write(tmp_path / "b.pth", {"fc8.weight": torch.zeros(3, 3, device="meta")}), "_rebuild_meta_tensor")
    refused(write(tmp_path / "c.pth", {"fc8.weight": torch.ones(3, dtype=torch.complex64)}), "fc8.weight", "complex")


@pytest.mark.parametrize("form", FORMATS)
def test_a_small_storage_does_not_become_a_large_tensor(form: str, tmp_path: Path) -> None:
    """Strides of 0; and many tensors that share parts of what is stored once."""
    path = write(tmp_path / "one.pth", {"fc6.weight": torch.zeros(1).expand(4096, 25088)}, form)
    refused(path, "declares", "fc6.weight")
    shared = torch.rand(20_000)
    path = write(tmp_path / "many.pth", {f"features.{i}.weight": shared[i:] for i in range(9)}, form)
    refused(path, "declares")


def test_a_tensor_with_several_names_has_the_first(tmp_path: Path) -> None:
    """As in a module that holds the layers of another, and the other as well."""
    shared = torch.rand(20_000)
    path = write(tmp_path / "net.pth", {"features.0.weight": shared, "vgg.features.0.weight": shared, "fc": shared + 1})
    assert same(read_pickled(path), {"features.0.weight": shared, "fc": shared + 1})


@pytest.mark.parametrize("form", FORMATS)
def test_no_tensor_is_larger_than_any_of_a_net(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched, because a file of the real limit takes 1.6 GB."""
    path = write(tmp_path / "net.pth", TENSORS, form)
    assert same(read_pickled(path), TENSORS)
    monkeypatch.setattr(state_dicts, "MAX_VALUES", 107)
    refused(path, "declares", "features.0.weight")


@pytest.mark.parametrize("instead", [4 * 10**4, 2**31 - 1])
@pytest.mark.parametrize("form", FORMATS)
def test_a_storage_is_no_larger_than_the_file(form: str, instead: int, tmp_path: Path) -> None:
    """7001 values that the pickle says are many more, its checksum right."""
    path = write(tmp_path / "net.pth", {"fc8.weight": torch.rand(7001)}, form)
    if form == "zip":
        rewrite(path, lambda name, content: announce(content, 7001, instead) if name.endswith("data.pkl") else content)
    else:
        path.write_bytes(announce(path.read_bytes(), 7001, instead))
    refused(path, "declares", str(instead))


def test_tuples_within_tuples_without_end_are_refused(tmp_path: Path) -> None:
    """As the key of a dictionary such a tuple would be hashed value by value: 2^60 of them."""
    bomb: tuple[object, ...] = ()
    for _ in range(60):
        bomb = (bomb, bomb)
    parts = (0x1950A86A20F9469CFC6C, 1001, {}, [bomb], [])  # in the form from before torch 1.6
    (tmp_path / "net.pth").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    refused(tmp_path / "net.pth", "tuples within tuples")
    shared = (0.9, 0.999)  # as an optimizer's groups have them
    path = write(tmp_path / "good.pth", {"groups": [shared] * 1000, "net": TENSORS})
    assert same(read_pickled(path), TENSORS)


def test_a_bomb_in_the_archive_is_not_unpacked(tmp_path: Path) -> None:
    """Two megabytes that are two gigabytes of zeros would be in torch's hands, in the pickle or in a storage."""
    for entry in ("data.pkl", "data/0"):
        path = write(tmp_path / "net.pth", {"fc8.weight": torch.rand(5)})
        rewrite(path, lambda name, content: content + bytes(2**22) * name.endswith(entry), zipfile.ZIP_DEFLATED)  # noqa: B023
        refused(path, "declares more numbers than it holds")


def test_safetensors_that_announce_more_than_they_hold(tmp_path: Path) -> None:
    whole = save({"fc8.weight": torch.rand(4, 5)})
    length = struct.unpack("<Q", whole[:8])[0]
    for shape, end in (([2**40], 2**42), ([4, 500], 8000), ([2**62, 2**62], 80)):
        header = json.dumps({"fc8.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
        path = tmp_path / "net.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + whole[8 + length :])
        refused(path, "cannot be read", read=read_safetensors)
    path.write_bytes(struct.pack("<Q", 2**60) + whole[8:])
    refused(path, "cannot be read", read=read_safetensors)


def test_checksums_of_large_storages_are_compared(tmp_path: Path) -> None:
    """Of more than the 16 MiB that are read first."""
    ones = torch.ones(2**22 + 5000)
    path = write(tmp_path / "net.pth", {"fc8.weight": ones})
    assert same(read_pickled(path), {"fc8.weight": ones})
    content = bytearray(path.read_bytes())
    content[content.rindex(torch.ones(1).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    refused(path, "CRC-32")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    files = {form: write(folder / form, TENSORS, form).read_bytes() for form in FORMATS}
    return {**files, "safetensors": save(TENSORS)}


@pytest.mark.parametrize("form", [*FORMATS, "safetensors"])
def test_what_is_cut_is_refused(form: str, files: dict[str, bytes], tmp_path: Path) -> None:
    read = read_safetensors if form == "safetensors" else read_pickled
    content = files[form]
    for length in {*range(0, len(content), 37), len(content) - 1}:
        (tmp_path / "cut").write_bytes(content[:length])
        refused(tmp_path / "cut", read=read)


@pytest.mark.parametrize("form", [*FORMATS, "safetensors"])
@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_flipped_is_refused_or_harmless(
    form: str, files: dict[str, bytes], tmp_path: Path, data: st.DataObject
) -> None:
    """A zip archive has checksums: what they let pass is what was saved."""
    content = bytearray(files[form])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped"
    path.write_bytes(content)
    try:
        tensors = read_safetensors(path) if form == "safetensors" else read_pickled(path)
    except VerydeepError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert form != "zip" or same(tensors, TENSORS)
