"""JPEG files to time with: pieces of scikit-learn's two photographs, which travel with its package."""

from pathlib import Path

import numpy as np
from PIL import Image

TILE = (500, 375)
"""Width and height of a piece; both photographs are 640x427."""


def make_photographs(folder: Path, tiles: int, count: int) -> list[Path]:
    """``count`` different JPEGs, quality 90, of ``tiles`` x ``tiles`` pieces: 500x375 for 1, 2000x1500 for 4.

    A large one is a mosaic, some pieces mirrored, not an enlargement: an enlargement holds no detail, is decoded
    faster than a photograph, and would flatter whoever saves on the rest.
    """
    from sklearn.datasets import load_sample_images

    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    rng, (width, height) = np.random.default_rng(7), TILE
    paths = []
    for number in range(count):
        whole = Image.new("RGB", (width * tiles, height * tiles))
        for row in range(tiles):
            for column in range(tiles):
                source = sources[(number + row + column) % 2]
                left, top = (int(rng.integers(0, room + 1)) for room in (source.width - width, source.height - height))
                piece = source.crop((left, top, left + width, top + height))
                if rng.random() < 0.5:
                    piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                whole.paste(piece, (column * width, row * height))
        paths.append(folder / f"{whole.width}x{whole.height}-{number}.jpg")
        whole.save(paths[-1], quality=90)
    return paths
