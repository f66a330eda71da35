"""Draw over a photograph where a net sees its most probable class.

python examples/score_map.py oxford-vgg16 photo.jpg score-map.png --scale 384
"""

import argparse

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageOps

import verydeep as vd

mpl.use("Agg")
import matplotlib.pyplot as plt

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", metavar="RUN")
parser.add_argument("photo", metavar="PHOTO")
parser.add_argument("picture", metavar="PICTURE")
parser.add_argument("--scale", type=int, default=384, help="short side at a crop of 224")
options = parser.parse_args()

net = vd.load(options.run)
assert isinstance(net, vd.Net), "a classifier of `transfer` has no class score map"
with Image.open(options.photo) as file:
    photo = ImageOps.exif_transpose(file).convert("RGB")
factor = options.scale * net.config.crop / 224 / min(photo.size)
photo = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.BILINEAR)
with torch.inference_mode():
    images = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float()  # (1, 3, H, W) RGB, 0-255
    posteriors = net.model(images)[0].softmax(dim=0)  # (K, h, w)
best = int(posteriors.mean(dim=(1, 2)).argmax())
plt.imshow(photo)
plt.imshow(posteriors[best], extent=(0, photo.width, photo.height, 0), alpha=0.5, vmin=0, vmax=1)
plt.title(net.config.class_words[best], parse_math=False)
plt.axis("off")
plt.savefig(options.picture, dpi=150)
