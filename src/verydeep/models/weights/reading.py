"""Reading of weight files of all systems, which are recognized by their content, not by their name."""

from pathlib import Path

from verydeep.errors import WeightsError
from verydeep.models.weights.readers.caffe import looks_like_caffemodel, read_caffemodel
from verydeep.models.weights.readers.keras import read_keras
from verydeep.models.weights.readers.matconvnet import read_matconvnet
from verydeep.models.weights.readers.state_dicts import read_pickled, read_safetensors
from verydeep.models.weights.readers.torch_nets import convert_state_dict
from verydeep.models.weights.weight_file import WeightFile
from verydeep.paths import describe_read_error, special_kind

FORMATS = "Caffe (.caffemodel), MatConvNet (.mat), Keras (.h5, .keras), torchvision (.pth) or timm (.safetensors)"

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
KERAS_MEMBER = b"metadata.json"
"""The first file in a .keras archive."""
MATLAB = b"MATLAB"
BRACE_AT = 8
"""The place where the header of a safetensors file begins, after its length."""
HEAD_BYTES = 4096


def read_weight_file(path: Path) -> WeightFile:
    """Read a weight file of any known system.

    Raises:
        WeightsError: no known system wrote the file, or it is damaged, or its net is not one of the paper's.
        ResourceError: a package that the format needs is not installed.
    """
    if kind := special_kind(path):
        raise WeightsError(f"{path} is a {kind}: give a weight file.")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except PermissionError as error:
        raise WeightsError(describe_read_error(path, error)) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}): give the path of a weight file.") from None
    if head.startswith(MATLAB):
        return read_matconvnet(path)
    if head.startswith(HDF5):
        return read_keras(path)
    if head[BRACE_AT : BRACE_AT + 1] == b"{":  # first: the length in front of it may look like anything
        return convert_state_dict(read_safetensors(path), path)
    if head.startswith(ZIP) and KERAS_MEMBER in head:
        return read_keras(path)
    if head.startswith((ZIP, PICKLE)):
        return convert_state_dict(read_pickled(path), path)
    if looks_like_caffemodel(head):
        return read_caffemodel(path)
    raise WeightsError(f"{path} {_describe_other_file(head)}: give a file of {FORMATS}.")


def _describe_other_file(head: bytes) -> str:
    """Return what a file is that is not a weight file of a known system, by its first bytes."""
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights themselves (`git lfs pull` fetches them)"
    if head.lstrip().startswith(b"<"):
        return "is a web page, perhaps in place of a failed download"
    return "is not a weight file in a known format"
