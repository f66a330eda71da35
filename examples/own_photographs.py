"""Train a net on a folder of photographs, test it, and say what is on other photographs.

    python examples/own_photographs.py photos new/*.jpg --crop 64 --epochs 15

The folder holds one folder of photographs per class. Predictions go to predictions.csv.
"""

import argparse
import csv
from pathlib import Path

import verydeep as vd

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", metavar="DATA", help="folder with one folder of photographs per class")
parser.add_argument("images", nargs="+", metavar="IMAGE", help="photographs to predict")
parser.add_argument("--crop", type=int, default=64, help="input size of the net in pixels")
parser.add_argument("--epochs", type=int, default=15)
options = parser.parse_args()

run = vd.train(options.data, crop=options.crop, epochs=options.epochs, width=0.25, fc_width=512)
print(vd.evaluate(options.data, run))

net = vd.load(run)  # read once, used for all calls below
predictions = vd.predict(net, options.images, top=3)
print(predictions)
records = predictions.records()
with Path("predictions.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, records[0])
    writer.writeheader()
    writer.writerows(records)
