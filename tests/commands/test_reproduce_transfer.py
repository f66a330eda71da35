"""``verydeep reproduce table11``: the command writes the table of nets that exist, and refuses what it does not use."""

import json
from pathlib import Path
from typing import Any

import pytest

import verydeep.commands.reproduce as command
from tests.data.sets.transfer_trees import put_caltech_101
from tests.runs import run_and_print
from tests.thin_nets import CROP, SIZES, WIDTHS, save_run
from verydeep.errors import VerydeepError
from verydeep.models.weights.model_folder import ModelConfig, Provenance

OPTIONS = {"crop": CROP, **WIDTHS, "precision": "fp32", "workers": 0}


def test_table_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row, as one net is missing; none is trained."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    config = ModelConfig(
        "D", ("ant", "bell"), ("ant", "bell"), crop=CROP, **WIDTHS, train_scale="256-512",
        provenance=Provenance(converged=True),
    )  # fmt: skip
    save_run(tmp_path / "runs", config, "deep")
    put_caltech_101(tmp_path)
    run_and_print(command.reproduce, "table11", data=".", **OPTIONS)
    output = capsys.readouterr().out
    folder = tmp_path / "runs" / "tables" / f"Caltech-101-{SIZES}-fp32"
    (row,) = [row for row in json.loads((folder / "table11.json").read_text())["rows"] if row["nets"] == ["D/256-512"]]
    measured = row["figures"]["Caltech-101"]["measured"]
    line = next(line for line in output.splitlines() if line.startswith("VGG Net-D (16 layers)  "))
    assert f"91.8 ± 1.0 {measured['score']:.1f} ± {measured['deviation']:.1f}" in " ".join(line.split())
    assert "no E/256-512" in output and "D/256-512 is runs/deep." in output
    assert f"| {measured['score']:.1f} ± {measured['deviation']:.1f} |" in (folder / "table11.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3}, "For table11, which trains no nets .*, `epochs` has no effect: omit it"),
        ({"seeds": "0,1", "split": "test"}, "`seeds` and `split` have no effect: omit them"),
        ({"tune_threshold": True}, "For table11, which has no boxes, `tune_threshold` has no effect"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_unused_options_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(VerydeepError, match=message):
        command.reproduce("table11", **{"data": str(tmp_path), **OPTIONS, **options})  # type: ignore[arg-type]
