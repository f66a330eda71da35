"""Time until the help of the command line is there, and until a public function can be called from Python.

    python -m benchmarks.startup --write        # from the repository's root

The peer is Python importing tyro and rich's tables alone, which every help with tyro needs.
"""

import argparse
import subprocess
import sys
from functools import partial

import torch

from benchmarks.timing import interleave, report, speedup, table

PEER = "import tyro, rich"
SIDES = {
    PEER: ("-c", "import tyro, rich.table"),
    "verydeep --help": ("-m", "verydeep", "--help"),
    "verydeep train --help": ("-m", "verydeep", "train", "--help"),
    "import verydeep; verydeep.train": ("-c", "import verydeep; verydeep.train"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repeat, to see that it works")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    sides = {
        name: partial(subprocess.run, [sys.executable, *arguments], check=True, capture_output=True)
        for name, arguments in SIDES.items()
    }
    seconds = interleave(sides, 1 if options.quick else 15)
    rows = [[name, f"{1000 * sorted(times)[len(times) // 2]:.0f}", speedup(seconds[PEER], times)]
            for name, times in seconds.items()]  # fmt: skip
    header = ["command", "milliseconds", f"times as fast as {PEER}"]
    report("startup", "Startup", table(header, rows), torch.device("cpu"), ["tyro", "rich"], write=options.write)


if __name__ == "__main__":
    main()
