"""Read mutated files of every format: ``python -m tests.fuzzing --minutes 30 --format safetensors --log log.csv``.

Each file is read in a fork of a process that has imported everything. It must give a value, or an error of verydeep in
one sentence; it must not crash, take ten seconds, run code, write elsewhere, or take more memory than a few times the
file. Mutation N of a format is the same in every run. With a log, a run continues after the last mutation in it.
"""

import argparse
import csv
import gzip
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fuzzing.attempts import Attempt, Bench
from tests.fuzzing.formats import FORMATS
from tests.thin_nets import thin_networks

_HEADER = ("format", "first", "count", "read", "refused", "findings", "seconds")
_BLOCK = 100
CORPUS = Path(__file__).parent / "corpus"
"""FORMAT/NUMBER/FILE.gz: files that once did harm."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", action="append", choices=list(FORMATS), help="All of them otherwise.")
    parser.add_argument("--count", type=int, help="Mutations of each format.")
    parser.add_argument("--minutes", type=float, help="Time for each format.")
    parser.add_argument("--corpus", action="store_true", help="First read the files that once did harm.")
    parser.add_argument("--log", type=Path, help="CSV file that gets a line for each hundred mutations.")
    parser.add_argument("--findings", type=Path, help="Folder for files that did harm.")
    options = parser.parse_args()
    thin_networks(pytest.MonkeyPatch())  # the files are small
    findings = 0
    for name in options.format or FORMATS:
        with TemporaryDirectory(prefix="fuzz-") as folder:
            bench = Bench(name, Path(folder))
            findings += _read_corpus(bench) if options.corpus else 0
            findings += _fuzz(bench, options)
    print(f"{findings} findings")
    sys.exit(1 if findings else 0)


def _read_corpus(bench: Bench) -> int:
    """Read the files of the format that once did harm; return how many do again."""
    folder = CORPUS / bench.name
    harmful = 0
    for path in sorted(folder.rglob("*.gz")):
        number, _, file = path.relative_to(folder).as_posix().removesuffix(".gz").partition("/")
        attempt = bench.try_content(file, gzip.decompress(path.read_bytes()), int(number))
        harmful += _report(bench, attempt, None)
    return harmful


def _report(bench: Bench, attempt: Attempt, findings: Path | None) -> bool:
    """Print what a file did that it must not, and keep the file; return whether it did harm."""
    if attempt.harm:
        print(f"{bench.name} {attempt.number} {attempt.file}: {attempt.harm}", flush=True)
        if findings is not None:
            _keep(findings / bench.name, attempt)
    return bool(attempt.harm)


def _fuzz(bench: Bench, options: argparse.Namespace) -> int:
    """Read mutations until their number or the time is reached; return how many did harm."""
    start, harmful = time.monotonic(), 0
    first = _next_number(options.log, bench.name) if options.log else 0
    number, last = first, first + (sys.maxsize if options.count is None else options.count)
    seconds = 60 * (options.minutes or sys.maxsize)
    while number < last and time.monotonic() - start < seconds:
        block_start, end = time.monotonic(), min(last, number + _BLOCK)
        attempts = [bench.try_number(each) for each in range(number, end)]
        found = sum(_report(bench, attempt, options.findings) for attempt in attempts)
        refused = sum(attempt.is_refused and not attempt.harm for attempt in attempts)
        if options.log:
            elapsed = round(time.monotonic() - block_start, 1)
            count = end - number
            _append(options.log, (bench.name, number, count, count - refused - found, refused, found, elapsed))
        number, harmful = end, harmful + found
    elapsed = time.monotonic() - start
    print(f"{bench.name}: {number - first} mutations, {harmful} findings, {elapsed:.0f} s", flush=True)
    return harmful


def _next_number(log: Path, name: str) -> int:
    if not log.exists():
        return 0
    with log.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["format"] == name]
    return max((int(row["first"]) + int(row["count"]) for row in rows), default=0)


def _append(log: Path, line: tuple[object, ...]) -> None:
    is_new = not log.exists()
    with log.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([_HEADER, line] if is_new else [line])


def _keep(folder: Path, attempt: Attempt) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{attempt.number}-{Path(attempt.file).name}").write_bytes(attempt.content)
    (folder / f"{attempt.number}.txt").write_text(f"{attempt.file}: {attempt.harm}\n", errors="backslashreplace")


if __name__ == "__main__":
    main()
