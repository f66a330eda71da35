"""Kill commands many times, and write how each ended: ``python -m tests.many_kills 500 > log.csv``.

Half of the kills come at a change of the file system, half after a time. One to three kills hit a command before it may
finish; then its results are compared with those of a command that was not killed.
"""

import csv
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.kills import start_forker
from tests.test_kills import JOBS, finish, make_inputs, next_arguments, read_results


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
        for name, job in JOBS.items():
            shutil.copytree(inputs, work)
            start = time.perf_counter()
            attempt = forker.run(work, *job.arguments)
            whole[name] = (attempt.num_moments, time.perf_counter() - start, read_results(work, job))
            shutil.rmtree(work)
        while done < num_kills:
            name = str(rng.choice(list(JOBS)))
            job, (num_moments, seconds, expected) = JOBS[name], whole[name]
            shutil.copytree(inputs, work)
            kills: list[str] = []
            for _ in range(int(rng.integers(1, 4))):
                moment, after = int(rng.integers(1, num_moments + 1)), float(rng.uniform(0.02, 1)) * seconds
                when = {"moment": moment} if rng.random() < 0.5 else {"seconds": after}
                attempt = forker.run(work, *next_arguments(work, job), **when)  # type: ignore[arg-type]
                kills += [f"{key}={value:.4g}" for key, value in when.items() if attempt.killed]
            error, differing = "", []
            try:
                finish(forker, work, job)
                found = read_results(work, job)
                differing = sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
            except AssertionError as wrong:
                error = str(wrong).strip()[-400:]
            writer.writerow([name, " ".join(kills), " ".join(differing), error])
            sys.stdout.flush()
            done += len(kills)
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
