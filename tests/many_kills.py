"""Kill commands many times, and write how each ended: ``python -m tests.many_kills 500 > log.csv``.

Half of the kills come at a change of the file system, half after a time. One to three kills hit a command before it may
finish; then its results are compared with those of a command that was not killed.
"""

import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.jobs import JOBS, begin, find_differences, kill, make_inputs, run_whole
from tests.kills import start_forker


def main() -> None:
    num_kills, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rng, writer, done = np.random.default_rng(seed), csv.writer(sys.stdout), 0
    writer.writerow(["command", "kills", "differing", "error"])
    with tempfile.TemporaryDirectory() as temporary, start_forker() as forker:
        inputs, work = Path(temporary) / "inputs", Path(temporary) / "work"
        inputs.mkdir()
        make_inputs(forker, inputs)
        whole = {}
        for name in JOBS:
            start = time.perf_counter()
            num_moments, expected = run_whole(forker, inputs, work, name)
            whole[name] = (num_moments, time.perf_counter() - start, expected)
        while done < num_kills:
            name = str(rng.choice(list(JOBS)))
            num_moments, seconds, expected = whole[name]
            begin(inputs, work)
            kills: list[str] = []
            for _ in range(int(rng.integers(1, 4))):
                moment, after = int(rng.integers(1, num_moments + 1)), float(rng.uniform(0.02, 1)) * seconds
                when: dict[str, float] = {"moment": moment} if rng.random() < 0.5 else {"seconds": after}
                if kill(forker, work, name, when):
                    kills += [f"{key}={value:.4g}" for key, value in when.items()]
            error, differing = "", []
            try:
                differing = find_differences(forker, work, name, expected)
            except AssertionError as wrong:
                error = str(wrong).strip()[-400:]
            writer.writerow([name, " ".join(kills), " ".join(differing), error])
            sys.stdout.flush()
            done += len(kills)


if __name__ == "__main__":
    main()
