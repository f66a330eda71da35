from pathlib import Path

import numpy as np
from PIL import Image

from tests.wide_files import write_png16, write_tiff
from verydeep.data.loading import value_survey
from verydeep.data.loading.value_survey import Recorded, survey_values
from verydeep.data.split import Split
from verydeep.engine.progress import run_with_progress


def survey(*files: Path, recorded: Recorded | None = None) -> list[str]:
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
    file = write_tiff(tmp_path / "a.tif", np.full((4, 5), 3000, np.uint16))
    lines = survey(file, recorded={"uint16": ((0, 4095), "classifier"), "float": ((0, 1), "net")})
    assert lines == [
        "1 file has 12-bit values in 16 bits: 0 to 4095 become 0 to 255, as recorded with the classifier (the largest "
        "value here is 3000)."
    ]


def test_files_that_exceed_a_recorded_range_are_counted(tmp_path: Path) -> None:
    bright = np.full((4, 5), 60_000, np.uint16)
    bright[0] = 7
    files = [write_tiff(tmp_path / f"{number}.tif", values) for number, values in enumerate((bright, bright // 16))]
    assert survey(*files, recorded={"uint16": ((0, 4095), "net")}) == [
        "1 of 2 files with 16-bit values exceeds 0 to 4095, the range recorded with the net: its largest value is "
        "60000, and 75% of its pixels become white. Rescale its values to that range, or correct value_ranges in the "
        "net's config.json."
    ]
    below = write_tiff(tmp_path / "below.tif", np.array([[-2000, 0, 4000, 5]], np.int16))
    (line,) = survey(below, recorded={"int16": ((-1024, 3071), "archive")})
    assert (
        "its smallest value is -2000 and its largest value is 4000, and 50% of its pixels become black or white" in line
    )
    assert line.endswith("or make a new archive.") and "-bit values exceeds" in line


def test_a_file_that_names_its_own_range_ignores_the_recorded_one(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 16383 " + np.array([9, 16_000], ">u2").tobytes())
    assert survey(tmp_path / "a.pgm", recorded={"uint16": ((0, 4095), "net")}) == []


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
