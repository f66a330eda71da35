"""Images in memory: PIL images, arrays and tensors become RGB images as a decoded file does."""

import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from PIL import Image
from torch import Tensor

from verydeep.data.pixels.decoding import upright_rgb
from verydeep.errors import DataError
from verydeep.ops.arrays import AnyArray

ImageLike = Image.Image | AnyArray | Tensor
"""One image in memory; an array or tensor of four dimensions holds several."""

EXPECTED = "expected a PIL image, an array (H, W, 3) or (H, W) of uint8, or a tensor (3, H, W) or (H, W, 3) of uint8"


def to_image(value: object, name: str = "The image") -> Image.Image:
    """Convert one image to a PIL image in RGB.

    The rotation that a camera noted in the EXIF data of a PIL image is applied, as it is for files.

    Args:
        value: a PIL image of any mode, a uint8 array (H, W, 3) or gray (H, W), or a uint8 tensor (3, H, W), (H, W, 3)
            or gray (H, W). A tensor whose first and last dimensions are both 3 is read as (3, H, W).
        name: how error messages call the image.

    Raises:
        DataError: the type, shape or number format is another one, or a lazily opened PIL image cannot be decoded.
    """
    if isinstance(value, Image.Image):
        return upright_rgb(value, name)
    if not isinstance(value, np.ndarray | Tensor):
        raise DataError(f"{name} is of type {type(value).__name__}; {EXPECTED.replace('a PIL', 'a path, a PIL', 1)}.")
    shape = tuple(value.shape)
    if isinstance(value, Tensor):
        pixels = value.detach().cpu().numpy() if str(value.dtype) == "torch.uint8" else None
        if pixels is not None and len(shape) == 3 and shape[0] == 3:
            pixels = pixels.transpose(1, 2, 0)
    else:
        pixels = value if value.dtype == np.uint8 else None
    if pixels is None:
        kind = "a tensor" if isinstance(value, Tensor) else "an array"
        raise DataError(
            f"{name} is {kind} of {str(value.dtype).removeprefix('torch.')}; {EXPECTED}. Scale the values to 0-255 and "
            "convert them."
        )
    if pixels.size == 0 or pixels.ndim not in {2, 3} or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise DataError(f"{name} has shape {shape}; {EXPECTED}.")
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def unpack_images(values: object) -> Iterator[object]:
    """Yield the single images of one image, an array or tensor of several, or nested collections of images or paths.

    Any collection will do, such as a series of a data frame or an array of texts, but no mapping and no data frame.
    """
    if isinstance(values, Iterable) and _is_collection(values):
        for value in values:
            yield from unpack_images(value)
    elif isinstance(values, np.ndarray | Tensor) and values.ndim == 4:
        yield from values
    else:
        yield values


def _is_collection(values: object) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim > 0 and values.dtype.kind in "OU"  # texts, as a data frame gives them
    singles = (str, bytes, bytearray, os.PathLike, Mapping, Image.Image, Tensor)
    return not isinstance(values, singles) and not hasattr(values, "columns")
