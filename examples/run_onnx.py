"""Export a net to ONNX and predict photographs with onnxruntime alone, without PyTorch.

python examples/run_onnx.py runs/photos-A-256-c64-s0 photo.jpg
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

import verydeep as vd

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", metavar="RUN", help="a run, a weight file or a published net")
parser.add_argument("photos", nargs="+", metavar="PHOTO")
options = parser.parse_args()

with TemporaryDirectory() as folder:
    path = Path(folder) / "net.onnx"
    vd.export(options.run, format="onnx", out=path)
    session = onnxruntime.InferenceSession(path)
properties = session.get_modelmeta().custom_metadata_map
class_words, short_sides = json.loads(properties["class_words"]), json.loads(properties["short_sides"])

for path in options.photos:
    with Image.open(path) as file:
        photo = ImageOps.exif_transpose(file).convert("RGB")
    posteriors = []
    for short_side in short_sides:
        factor = short_side / min(photo.size)
        resized = photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.BILINEAR)
        images = np.asarray(resized, np.float32).transpose(2, 0, 1)[None]  # (1, 3, H, W) RGB, 0-255
        views = np.concatenate([images, images[..., ::-1]])  # the image and its mirror image
        posteriors.append(session.run(["posterior"], {"images": views})[0].mean(axis=0))  # (K,)
    posterior = np.mean(posteriors, axis=0)
    print(path, f"{class_words[posterior.argmax()]} {posterior.max():.1%}")
