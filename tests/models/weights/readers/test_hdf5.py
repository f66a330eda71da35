"""HDF5 files that are damaged, or made to fill the memory, to read other files or to keep a reader busy."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verydeep.errors import VerydeepError
from verydeep.models.weights.readers import hdf5
from verydeep.models.weights.readers.hdf5 import read_groups

h5py = pytest.importorskip("h5py", reason="h5py comes with verydeep[keras]")

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)


def write(path: Path, change: Callable[[Any], object] = lambda group: None, place: str = "model_weights") -> Path:
    """Two layers as Keras writes them, one without weights, and what ``change`` does to the group of the first."""
    with h5py.File(path, "w") as file:
        layers = file.create_group(place) if place else file
        layers.attrs["layer_names"] = ["conv", "pool", "fc"]
        layers.create_group("pool").attrs["weight_names"] = []
        for layer in ("conv", "fc"):
            layers.create_group(layer).attrs["weight_names"] = [f"{layer}/kernel:0", f"{layer}/bias:0"]
            layers.create_dataset(f"{layer}/{layer}/kernel:0", data=KERNEL)
            layers.create_dataset(f"{layer}/{layer}/bias:0", data=KERNEL[0, 0, 0])
        change(layers["conv"])
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(VerydeepError) as caught:
        read_groups(path, "model_weights", "layers")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and str(path) in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize("place", ["model_weights", "layers", ""])
def test_weights_below_a_layer_come_back(place: str, tmp_path: Path) -> None:
    found, groups = read_groups(write(tmp_path / "net.h5", place=place), "model_weights", "layers")
    assert (found, [group.path for group in groups]) == (place, [("conv", "conv"), ("fc", "fc")])
    for group in groups:
        assert {name: tuple(values.shape) for name, values in group.values.items()} == {
            "bias:0": (4,),
            "kernel:0": (3, 3, 3, 4),
        }
        assert np.array_equal(group.values["kernel:0"].numpy(), KERNEL)


def test_whole_numbers_are_left_out(tmp_path: Path) -> None:
    """Such as the states of Keras 3's random generators."""
    path = write(tmp_path / "net.h5", lambda group: group.create_dataset("state/vars/0", data=np.arange(2, dtype="u4")))
    assert [group.path for group in read_groups(path, "model_weights")[1]] == [("conv", "conv"), ("fc", "fc")]


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_other_floats_become_ours(dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path / "net.h5", lambda group: group.create_dataset("more", data=KERNEL.astype(dtype)))
    values = (
        next(group for group in read_groups(path, "model_weights")[1] if "more" in group.values).values["more"].numpy()
    )
    assert values.dtype == np.float32 and np.abs(values - KERNEL).max() <= (2e-3 if dtype == "<f2" else 0)


def link_elsewhere(group: Any) -> None:
    group["more"] = h5py.ExternalLink("other.h5", "/secret")


def keep_elsewhere(group: Any) -> None:
    folder = Path(group.file.filename).parent
    group.create_dataset("more", shape=(4,), dtype="f4", external=[(str(folder / "other.h5"), 0, 16)])


def see_elsewhere(group: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(4,))
    group.create_virtual_dataset("more", layout)


def share_one(group: Any) -> None:
    """Three hundred names for the same numbers."""
    for number in range(300):
        group[f"more{number}"] = group["conv/kernel:0"]


def announce(group: Any, **form: object) -> None:
    group.create_dataset("more", shape=(4096, 25088), dtype="f4", **form)


HOSTILE: dict[str, tuple[Callable[[Any], object], tuple[str, ...]]] = {
    "a link to another file": (link_elsewhere, ("link", "more")),
    "a soft link": (lambda group: group.__setitem__("more", h5py.SoftLink("/model_weights/fc")), ("link", "more")),
    "a soft link to itself": (
        lambda group: group.__setitem__("more", h5py.SoftLink("/model_weights/conv/more")),
        ("link", "more"),
    ),
    "numbers in another file": (keep_elsewhere, ("another file", "more")),
    "a view of another file": (see_elsewhere, ("another file", "more")),
    "never written": (announce, ("declares", "(4096, 25088)", "more")),
    "a few never written": (lambda group: group.create_dataset("more", (4,), "f4"), ("declares", "more")),
    "chunks never written": (lambda group: announce(group, chunks=(64, 64)), ("declares", "more")),
    "chunks of a fill value": (lambda group: announce(group, chunks=(64, 64), fillvalue=1), ("declares", "more")),
    "compressed": (lambda group: announce(group, chunks=(512, 512), compression="gzip"), ("compressed", "more")),
    "beyond all numbers": (lambda group: group.create_dataset("more", (2**40, 2**20), "f4"), ("declares",)),
    "the same numbers many times": (share_one, ("declares",)),
    "a group in itself": (lambda group: group.__setitem__("more", group), ("groups within groups",)),
    "groups without end": (lambda group: [group.create_group(f"more{n}") for n in range(2100)], ("2000",)),
    "texts": (lambda group: group.create_dataset("more", data=["a", "b"]), ("more", "object")),
    "a structure": (lambda group: group.create_dataset("more", data=np.zeros(3, "f4,i4")), ("more",)),
    "nothing": (lambda group: group.create_dataset("more", data=h5py.Empty("f4")), ("cannot be read",)),
    "a type": (lambda group: group.__setitem__("more", np.dtype("f4")), ("cannot be read",)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused(what: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones(4, np.float32)
    change, words = HOSTILE[what]
    refused(write(tmp_path / "net.h5", change), *words)


def test_a_name_is_no_path_to_another_file(tmp_path: Path) -> None:
    """HDF5's library writes no such name; who changes the bytes does."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = KERNEL
    path = write(tmp_path / "net.h5", lambda group: group.create_dataset("_elsewhere_secret", data=KERNEL))
    with h5py.File(path, "a") as file:
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/")  # at a place where nothing is looked up
    assert path.read_bytes().count(b"_elsewhere_secret") == 1
    path.write_bytes(path.read_bytes().replace(b"_elsewhere_secret", b"/elsewhere/secret"))
    refused(path, "link", "/elsewhere/secret")


def test_no_tensor_is_larger_than_any_of_a_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched, because a file of the real limit takes 1.6 GB."""
    path = write(tmp_path / "net.h5")
    monkeypatch.setattr(hdf5, "MAX_VALUES", 107)
    refused(path, "declares", "kernel:0")


def test_other_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.h5", "cannot be read")
    refused(tmp_path, "cannot be read")
    (tmp_path / "text.h5").write_text("version https://git-lfs.github.com/spec/v1")
    refused(tmp_path / "text.h5", "cannot be read")
    with h5py.File(tmp_path / "numbers.h5", "w") as file:
        file["model_weights"] = np.zeros(3, np.float32)
    refused(tmp_path / "numbers.h5", "cannot be read")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("whole") / "net.h5").read_bytes()


def test_what_is_cut_is_refused(content: bytes, tmp_path: Path) -> None:
    for length in {*range(0, len(content), 97), len(content) - 1}:
        (tmp_path / "cut.h5").write_bytes(content[:length])
        refused(tmp_path / "cut.h5")


@settings(max_examples=120, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_flipped_is_refused_or_read(content: bytes, tmp_path: Path, data: st.DataObject) -> None:
    """Always the same examples: on others HDF5's own library might not come back, and none is known to stop it."""
    flipped = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.h5"
    path.write_bytes(flipped)
    try:
        _, groups = read_groups(path, "model_weights", "layers")
    except VerydeepError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert all(values.dtype.is_floating_point for group in groups for values in group.values.values())


def test_without_h5py_one_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "net.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    refused(path, "needs h5py", "pip install 'verydeep[keras]'")
