"""State dicts as PyTorch keeps them: pickled by torch.save, or safetensors. Nothing that a file brings is ever run."""

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from verydeep.errors import VerydeepError
from verydeep.models.weights.foreign import MOST_VALUES

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""torch's magic number, pickled: the first thing in a file from before torch 1.6."""
_MOST_PICKLE = 2**24
"""Bytes of names and shapes; that of VGG-19 has eight thousand."""
_NEEDED = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
    r"|torch\.nn\.parameter Parameter"
    r"|torch(\.cuda)? \w+Storage"
    r"|torch (Size|device|(b?float|u?int)\d+)"
)
"""What tensors are rebuilt with. torch's own list is longer, and bytearray on it can be made to fill the memory."""
_WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into every name."""


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of torch.save, of today or from before torch 1.6, by their names; what is none is left out.

    A checkpoint may keep them under "state_dict", "model" or "model_state_dict".

    Raises:
        VerydeepError: the file is damaged, wants to run something, or announces more than it holds.
    """
    try:
        zipped = _check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols: what torch cannot read, it refuses
            # Mapped, a zip archive takes no memory, whatever it announces.
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except VerydeepError:
        raise
    except Exception as error:  # of a damaged file, torch and zipfile raise whatever they come across
        raise _unreadable(path, error) from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    return _tensors(loaded, path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by their names.

    Raises:
        VerydeepError: the file is damaged or holds no tensors of a net.
    """
    try:
        loaded = load_file(path)
    except Exception as error:  # torch has its say after safetensors
        raise _unreadable(path, error) from None
    return _tensors(loaded, path)


def _check_file(path: Path) -> bool:
    """Whether it is a zip archive; refuses what is damaged, wants to run something or announces more than it holds."""
    with path.open("rb") as file:
        head = file.read(_MOST_PICKLE)
    if head.startswith(_ZIP):
        _check_archive(path)
        return True
    if not head.startswith(_LEGACY):
        raise _no_torch_file(path)
    pickles = io.BytesIO(head)
    for _ in range(5):  # magic number, version, system, the object itself, names of its storages
        _check_pickle(pickles, path)
    return False


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename.rpartition("/")[2] for entry in entries}
        if "data.pkl" not in names or "constants.pkl" in names:  # the latter in TorchScript, which is a program
            raise _no_torch_file(path)
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise VerydeepError(
                f"{path} announces more than it holds, or is compressed, as torch.save writes none: get it anew."
            )
        for entry in entries:
            if not entry.CRC:
                del entry.CRC  # torch can be told to compute none
            with archive.open(entry) as content:
                head = content.read(_MOST_PICKLE)
                while content.read(2**20):  # to its end, where the checksum is compared: torch does not
                    pass
            if entry.filename.endswith("/data.pkl"):
                _check_pickle(io.BytesIO(head), path)


def _check_pickle(content: io.BytesIO, path: Path) -> None:
    """Read a pickle without building anything of it.

    Raises:
        VerydeepError: it names what state dicts do not need, or a storage larger than the file.
        ValueError: it is damaged.
    """
    size, numbers = path.stat().st_size, [0]
    for operation, argument, _ in pickletools.genops(content):
        match operation.name:
            case "GLOBAL" | "INST" if not _NEEDED.fullmatch(str(argument)):
                wanted = ".".join(str(argument).split())
                raise VerydeepError(
                    f"{path} wants {wanted!r:.80} to be run, which no weights need: nothing was run; "
                    "get the weights alone, as torch.save(net.state_dict(), FILE) writes them."
                )
            case "STACK_GLOBAL" | "OBJ" | "NEWOBJ_EX" | "EXT1" | "EXT2" | "EXT4" | "PERSID":
                raise VerydeepError(
                    f"{path} is pickled as torch.save does not pickle, and may want to run something: nothing was run; "
                    "get the weights as torch.save(net.state_dict(), FILE) writes them."
                )
            case "MARK":
                numbers = [0]
            case "BININT" | "LONG1":
                numbers.append(argument or 0)
            case "BINPERSID" if max(numbers) > size:  # a storage: its numbers are counts of values
                raise VerydeepError(
                    f"{path} announces {max(numbers)} values, more than it holds: it is damaged; get it anew."
                )


def _tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    """What is a tensor among the entries, in float32 where it is not of whole numbers, wrappers left out of its name.

    Raises:
        VerydeepError: there are none, two get the same name, or they are larger than the file.
    """
    tensors: dict[str, Tensor] = {}
    space = path.stat().st_size
    for key, value in loaded.items() if isinstance(loaded, Mapping) else ():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            continue
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise VerydeepError(f"{path} keeps {name!r:.80} sparse, quantized or complex: save its plain numbers.")
        if name in tensors:
            raise VerydeepError(f"{path} holds two nets: {name!r:.80} occurs twice; save one of them.")
        space -= value.numel() * value.element_size()
        if space < 0 or value.numel() > MOST_VALUES:
            raise VerydeepError(
                f"{path} announces {tuple(value.shape)} values for {name!r:.80}, more than it holds or a net of the "
                "paper has: get it anew."
            )
        tensors[name] = value.detach().float() if value.is_floating_point() else value
    if not tensors:
        raise VerydeepError(f"{path} holds no state dict: give what torch.save(net.state_dict(), FILE) writes.")
    return tensors


def _no_torch_file(path: Path) -> VerydeepError:
    return VerydeepError(f"{path} is no file of torch.save: give what torch.save(net.state_dict(), FILE) writes.")


def _unreadable(path: Path, error: Exception) -> VerydeepError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, pickle.UnpicklingError):
        reason = "its pickle is malformed"  # torch's own words recommend to load it without its guard
    return VerydeepError(f"{path} cannot be read ({reason:.200}): it is damaged, or of another format; get it anew.")
