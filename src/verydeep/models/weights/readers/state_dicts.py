"""Reader of PyTorch's state dicts: files of torch.save, or safetensors. No code in a file is ever run."""

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.models.weights.readers.layers import natural_order
from verydeep.models.weights.readers.stand_ins import is_replaceable, put_stand_ins
from verydeep.models.weights.weight_file import MAX_VALUES
from verydeep.paths import utf8_path

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""torch's pickled magic number, with which files from before torch 1.6 begin."""
_MAX_PICKLE = 2**24
"""Bytes of names and shapes; VGG-19 has eight thousand."""
_ALLOWED = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
    r"|torch\.nn\.parameter Parameter"
    r"|torch(\.cuda)? \w+Storage"
    r"|torch (Size|device|(b?float|u?int)\d+)"
)
"""The names that rebuild tensors. torch's own list is longer, and its bytearray can be used to fill the memory."""
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that DataParallel, torch.compile, FSDP and checkpointing add to names."""
_LARGEST_TUPLE = 100_000
"""Values in a tuple and in the tuples within it; a pair of momenta has two."""
_MAX_DEPTH = 4
"""Levels of a checkpoint in which a state dict is searched."""


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of torch.save, of any version, by their names.

    In a checkpoint they may be under any key.

    Raises:
        WeightsError: the file is damaged, would run code, declares more than it holds, or has several state dicts.
    """
    try:
        zipped, others = _check_file(path)
        with warnings.catch_warnings(), utf8_path(path) as readable, put_stand_ins(others):
            warnings.simplefilter("ignore")  # about other pickle protocols; torch refuses those that it cannot read
            # Mapped into memory, a zip archive allocates nothing, whatever it declares.
            loaded = torch.load(readable, map_location="cpu", weights_only=True, mmap=zipped)
    except WeightsError:
        raise
    except Exception as error:  # torch and zipfile raise all kinds of errors for a damaged file
        raise _unreadable_error(path, error) from None
    return _select_tensors(_find_state_dict(loaded, path), path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file by their names.

    Raises:
        WeightsError: the file is damaged or has no tensors of a net.
    """
    try:
        with utf8_path(path) as readable:
            loaded = load_file(readable)
    except Exception as error:  # torch raises its own errors after those of safetensors
        raise _unreadable_error(path, error) from None
    tensors = _select_tensors(loaded, path)
    return {name: tensors[name] for name in sorted(tensors, key=natural_order)}  # the file has them in any order


def _check_file(path: Path) -> tuple[bool, frozenset[str]]:
    """Return whether the file is a zip archive, and names for stand-ins; refuse one that is damaged or runs code."""
    with path.open("rb") as file:
        head = file.read(_MAX_PICKLE)
    if head.startswith(_ZIP):
        return True, _check_archive(path)
    if not head.startswith(_LEGACY):
        raise _other_file_error(path)
    pickles = io.BytesIO(head)
    # magic number, version, system, the object itself, names of its storages
    return False, frozenset().union(*[_check_pickle(pickles, path) for _ in range(5)])


def _check_archive(path: Path) -> frozenset[str]:
    others: frozenset[str] = frozenset()
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename.rpartition("/")[2] for entry in entries}
        if "data.pkl" not in names or "constants.pkl" in names:
            raise _other_file_error(path, names)
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise WeightsError(
                f"{path} declares more numbers than it holds, or is compressed, unlike files of torch.save: "
                "download it again."
            )
        for entry in entries:
            if not entry.CRC:
                del entry.CRC  # torch can be configured to compute none
            with archive.open(entry) as content:
                head = content.read(_MAX_PICKLE)
                while content.read(2**20):  # zipfile compares the checksum at the end; torch does not
                    pass
            if entry.filename.endswith("/data.pkl"):
                others |= _check_pickle(io.BytesIO(head), path)
    return others


def _check_pickle(content: io.BytesIO, path: Path) -> frozenset[str]:
    """Read a pickle without building its objects, and return its names of what stand-ins replace.

    Raises:
        WeightsError: it names functions that state dicts do not need, or a storage larger than the file.
        ValueError: it is damaged.
    """
    size, numbers, others, stack = path.stat().st_size, [0], set(), _TupleSizes()
    for operation, argument, _ in pickletools.genops(content):
        if stack.follow(operation, argument) > _LARGEST_TUPLE:
            raise WeightsError(f"{path} has tuples within tuples without end, unlike weights: download it again.")
        match operation.name:
            case "GLOBAL" if is_replaceable(str(argument)):
                others.add(str(argument))
            case "GLOBAL" | "INST" if not _ALLOWED.fullmatch(str(argument)):
                function = ".".join(str(argument).split())
                raise WeightsError(
                    f"{path} would run {function!r:.80}, which weights do not need; nothing was run: get the weights "
                    "alone, as torch.save(net.state_dict(), FILE) writes them."
                )
            case "STACK_GLOBAL" | "OBJ" | "NEWOBJ_EX" | "EXT1" | "EXT2" | "EXT4" | "PERSID":
                raise WeightsError(
                    f"{path} is pickled in another way than by torch.save, and may run code; nothing was run: get the "
                    "weights as torch.save(net.state_dict(), FILE) writes them."
                )
            case "MARK":
                numbers = [0]
            case "BININT" | "LONG1":
                numbers.append(argument or 0)
            case "BINPERSID" if max(numbers) > size:  # a storage: its numbers are counts of values
                raise WeightsError(
                    f"{path} declares {max(numbers)} values, more than it holds: it is damaged; download it again."
                )
    return frozenset(others)


class _TupleSizes:
    """Follows what a pickle would do, and counts the values in its tuples, and in those within them.

    A hundred operations can make a tuple whose values nobody can count one by one, which takes forever to be hashed.
    """

    def __init__(self) -> None:
        self.stack: list[int] = []
        """Values in each object; 1 for all but tuples, -1 for a mark."""
        self.memo: dict[object, int] = {}

    def follow(self, operation: pickletools.OpcodeInfo, argument: object) -> int:
        """Do an operation, and return the number of values in the object that it makes; 0 if it makes none."""
        if operation.name.endswith("PUT"):
            self.memo[argument] = self.stack[-1] if self.stack else 1
            return 0
        popped = self._pop(operation.stack_before)
        if operation.name == "MEMOIZE":
            self.memo[len(self.memo)] = sum(popped)
        if operation.name in ("MEMOIZE", "DUP"):
            made = popped * len(operation.stack_after)
        elif "TUPLE" in operation.name:
            made = [1 + sum(popped)]
        elif operation.name.endswith("GET"):
            made = [self.memo.get(argument, 1)]
        else:
            made = [-1 if each is pickletools.markobject else 1 for each in operation.stack_after]
        self.stack += made
        return max(made, default=0)

    def _pop(self, kinds: Sequence[pickletools.StackObject]) -> list[int]:
        """Remove and return objects; where they are missing, the pickle is damaged, which is found later."""
        if pickletools.markobject not in kinds:
            place = max(0, len(self.stack) - len(kinds))
            popped, self.stack[place:] = self.stack[place:], []
            return popped
        popped = []
        while self.stack and (size := self.stack.pop()) != -1:
            popped.append(size)
        del self.stack[max(0, len(self.stack) - kinds.index(pickletools.markobject)) :]
        return popped


def _find_state_dict(loaded: object, path: Path) -> object:
    """Return the state dict within a checkpoint, which has the weight of a convolution or, failing that, any tensor.

    Raises:
        WeightsError: there are several.
    """
    found = list(_list_state_dicts(loaded, "checkpoint", set()))
    nets = [(place, tensors) for place, tensors in found if _has_convolutions(tensors)]
    if len(nets) > 1:
        places = " and ".join(place for place, _ in nets[:3])
        raise WeightsError(f"{path} has {len(nets)} nets, {places:.200}: save one of them with torch.save(..., FILE).")
    return max(nets or found, key=lambda candidate: len(candidate[1]), default=("", loaded))[1]


def _list_state_dicts(
    value: object, place: str, seen: set[int], depth: int = 0
) -> Iterator[tuple[str, Mapping[object, object]]]:
    """Yield each mapping that has tensors, once, with its place."""
    if not isinstance(value, Mapping | list | tuple) or depth > _MAX_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    if isinstance(value, Mapping) and any(isinstance(name, str) and isinstance(each, Tensor) for name, each in items):
        yield place, value
    for name, values in items:
        yield from _list_state_dicts(values, f"{place}[{name!r:.60}]", seen, depth + 1)


def _has_convolutions(tensors: Mapping[object, object]) -> bool:
    """Whether a mapping has the weight of a convolution under its name; an optimizer's state has other names."""
    return any(
        isinstance(name, str) and name.endswith("weight") and isinstance(values, Tensor) and values.ndim == 4
        for name, values in tensors.items()
    )


def _select_tensors(loaded: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors among the entries, float32 or integers, without the wrappers in their names.

    A tensor that has several names has the first alone.

    Raises:
        WeightsError: there are none, two have the same name, or they are larger than the file.
    """
    tensors: dict[str, Tensor] = {}
    space = path.stat().st_size
    seen: set[tuple[object, ...]] = set()
    for key, value in loaded.items() if isinstance(loaded, Mapping) else ():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            continue
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise WeightsError(f"{path} has sparse, quantized or complex values in {name!r:.80}: save plain numbers.")
        identity = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if identity in seen and value.numel():  # another name for the same numbers
            continue
        seen.add(identity)
        if name in tensors:
            raise WeightsError(f"{path} has two nets: {name!r:.80} occurs twice; save one of them.")
        space -= value.numel() * value.element_size()
        if space < 0 or value.numel() > MAX_VALUES:
            raise WeightsError(
                f"{path} declares {tuple(value.shape)} values for {name!r:.80}, more than it holds, or than any net of "
                "the paper: download it again."
            )
        tensors[name] = value.detach().float() if value.is_floating_point() else value
    if not tensors:
        keys = ", ".join(map(str, loaded)) if isinstance(loaded, Mapping) else ""
        inside = f" under any of its keys ({keys:.100})" if keys else ""
        raise WeightsError(
            f"{path} has no state dict{inside}: give a file that torch.save(net.state_dict(), FILE) writes."
        )
    return tensors


def _other_file_error(path: Path, members: Collection[str] = ()) -> WeightsError:
    """Return the error for a file of another kind, by the names in it if it is a zip archive."""
    kind = ""
    if "constants.pkl" in members:
        kind = "a TorchScript program, "
    elif any(name.endswith(".npy") for name in members):
        kind = "a zip file of NumPy arrays, "
    elif "archive_format" in members:
        kind = "a program of torch.export, "
    return WeightsError(
        f"{path} is {kind}not a file of torch.save: give a file that torch.save(net.state_dict(), FILE) writes."
    )


def _unreadable_error(path: Path, error: Exception) -> WeightsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, pickle.UnpicklingError):
        reason = "its pickle is malformed"  # torch's own message recommends to load it without protection
    return WeightsError(
        f"{path} cannot be read ({reason:.200}): it is damaged, or of another format; download it again."
    )
