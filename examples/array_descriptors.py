"""Cut a photograph into tiles and find the two tiles that look most alike, by their descriptors.

python examples/array_descriptors.py oxford-vgg16 photo.jpg --tiles 4
"""

import argparse

import numpy as np
from PIL import Image

import verydeep as vd

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", metavar="RUN", help="a run, a weight file or a published net")
parser.add_argument("photo", metavar="PHOTO")
parser.add_argument("--tiles", type=int, default=4, help="tiles in a row and in a column")
options = parser.parse_args()

with Image.open(options.photo) as image:
    pixels = np.asarray(image.convert("RGB"))  # (H, W, 3) uint8
tiles = [tile for row in np.array_split(pixels, options.tiles) for tile in np.array_split(row, options.tiles, axis=1)]

descriptors = vd.describe(options.run, tiles)
print(descriptors)

similarity = descriptors.values @ descriptors.values.T  # (n, n): all descriptors have length one
np.fill_diagonal(similarity, -1)
first, second = np.unravel_index(similarity.argmax(), similarity.shape)
print(f"Most alike: {descriptors.images[first]} and {descriptors.images[second]}, {similarity.max():.3f}")
