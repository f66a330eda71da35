from pathlib import Path

import numpy as np
from PIL import Image

from tests.wide_files import write_png16, write_tiff
from verydeep.data.loading import value_survey
from verydeep.data.loading.value_survey import survey_values
from verydeep.data.split import Split
from verydeep.engine.progress import run_with_progress
from verydeep.ops.value_ranges import ValueRanges


def survey(*files: Path, recorded: ValueRanges | None = None) -> list[str]:
    return [
        str(values)
        for values in run_with_progress(survey_values([Split.of_photographs(files)], recorded or {}), "", len(files))
    ]


def test_each_type_of_values_has_one_range_for_all_files(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 20 * 30).reshape(20, 30)
    files = [
        write_tiff(tmp_path / "a.tif", (ramp * 900).astype(np.uint16)),
        write_png16(tmp_path / "b.png", (ramp * 3472).astype(np.uint16)),
        write_tiff(tmp_path / "c.tif", (ramp * 0.8).astype(np.float32)),
        write_tiff(tmp_path / "no suffix", (ramp * 0.5).astype(np.float64)),
        write_tiff(tmp_path / "damaged.tif", (ramp * 2**16 - 1).astype(np.uint16)),
    ]
    files[-1].write_bytes(files[-1].read_bytes()[:-9])
    for name in ("photo.jpg", "photo.png", "photo.tif"):
        Image.new("RGB", (20, 30)).save(tmp_path / name)
    (tmp_path / "no image.tif").write_bytes(b"II*\0")
    (tmp_path / "maximum.pgm").write_bytes(b"P5 1 1 4095 \0\0")
    everything = sorted(tmp_path.iterdir())
    split = Split.of_photographs(everything)
    floats, integers = run_with_progress(survey_values([split], {}), "", len(split))
    assert (floats.value_type, floats.num_files, floats.value_range) == ("float", 2, (0, 1))
    assert (integers.value_type, integers.num_files, integers.value_range) == ("uint16", 3, (0, 4095))
    assert survey(*everything) == [
        "2 files have floating-point values: 0 to 1 become 0 to 255 (the largest value over the data set is 0.8).",
        "3 files have 12-bit values in 16 bits: 0 to 4095 become 0 to 255 (the largest value over the data set is "
        "3472).",
    ]


def test_a_recorded_range_holds(tmp_path: Path) -> None:
    file = write_tiff(tmp_path / "a.tif", np.full((4, 5), 60_000, np.uint16))
    lines = survey(file, recorded={"uint16": (0, 4095), "float": (0, 1)})
    assert lines == ["1 file has 12-bit values in 16 bits: 0 to 4095 become 0 to 255, as recorded with the net."]


def test_many_files_are_measured_on_a_part_of_them(tmp_path: Path) -> None:
    count = value_survey.MAX_MEASURED + 200
    content = write_tiff(tmp_path / "first.tif", np.full((1, 2), 700, np.uint16)).read_bytes()
    files = [tmp_path / f"{number:04}.tif" for number in range(count)]
    for file in files:
        file.write_bytes(content)
    (line,) = survey(*files)
    assert line.startswith("1,200 files have 10-bit values in 16 bits") and "measured on 1,000 of them" in line


def test_files_that_promise_bytes_are_not_opened(tmp_path: Path) -> None:
    assert survey(*(tmp_path / f"missing{suffix}" for suffix in (".jpg", ".JPEG", ".webp", ".gif", ".heic"))) == []
    assert survey(tmp_path / "missing.tif") == []
