"""Which system wrote a weight file, told by its content and not by its name."""

from pathlib import Path

from torch import Tensor

from verydeep.errors import VerydeepError
from verydeep.models.weights.foreign import ForeignNet
from verydeep.models.weights.readers.caffe import looks_like_caffemodel, read_caffemodel
from verydeep.models.weights.readers.keras import read_keras
from verydeep.models.weights.readers.matconvnet import read_matconvnet
from verydeep.models.weights.readers.state_dicts import read_pickled, read_safetensors
from verydeep.models.weights.readers.timm import from_timm, is_timm
from verydeep.models.weights.readers.torchvision import from_torchvision, is_torchvision

FORMATS = "Caffe (.caffemodel), MatConvNet (.mat), Keras (.h5), torchvision (.pth) or timm (.safetensors)"

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
KERAS_MEMBER = b"metadata.json"
"""The first file in a .keras archive."""
MATLAB = b"MATLAB"
BRACE_AT = 8
"""Where the header of a safetensors file begins, behind its length."""
HEAD_BYTES = 4096


def read_foreign(path: Path) -> ForeignNet:
    """The net in a weight file of any system that is known.

    Raises:
        VerydeepError: none of them wrote it, or as its reader.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise VerydeepError(f"{path} cannot be read ({error.strerror}): give the path of a weight file.") from None
    if head.startswith(MATLAB):
        return read_matconvnet(path)
    if head.startswith(HDF5):
        return read_keras(path)
    if head[BRACE_AT : BRACE_AT + 1] == b"{":  # first: the length before it may look like anything
        return of_state_dict(read_safetensors(path), path)
    if head.startswith(ZIP) and KERAS_MEMBER in head:
        raise VerydeepError(f"{path} is an archive of Keras 3: unpack it, and give the model.weights.h5 inside.")
    if head.startswith((ZIP, PICKLE)):
        return of_state_dict(read_pickled(path), path)
    if looks_like_caffemodel(head):
        return read_caffemodel(path)
    raise VerydeepError(f"{path} is no weight file that is known: give one of {FORMATS}.")


def of_state_dict(tensors: dict[str, Tensor], path: Path) -> ForeignNet:
    """The net that a PyTorch state dict holds.

    Raises:
        VerydeepError: its names are not those of a system that is known, or as the readers of names.
    """
    if is_timm(tensors):
        return from_timm(tensors, path)
    if is_torchvision(tensors):
        return from_torchvision(tensors, path)
    first = ", ".join(list(tensors)[:3]) or "nothing"
    raise VerydeepError(f"{path} holds {first} ...: these are not the names of a VGG net of torchvision or timm.")
