from pathlib import Path

import numpy as np
import pytest

from tests.data.folders.test_products import write_product
from tests.data.trees import put
from verydeep.engine.nets.argument_order import check_data_first, check_data_second
from verydeep.errors import OptionError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "my photos/1.jpg", "flowers/rose/1.jpg", "empty/notes.txt")
    write_product(write_product(tmp_path / "run") / "model", "config.json", "verydeep")
    write_product(tmp_path / "runs" / "first")
    write_product(tmp_path / "archive", "manifest.json", "verydeep-descriptors")


@pytest.mark.parametrize(
    ("data", "net", "message"),
    [
        ("run", "flowers", "run is a run of verydeep: `data` comes first and `run` second, as in `{} flowers run`."),
        ("run", "gone", "run is a run of verydeep: `data` comes first and `run` second, as in `{} DATA run`."),
        ("oxford-vgg16", "my photos", "oxford-vgg16 is a net: `data` comes first and `run` second, "
         "as in `{} 'my photos' oxford-vgg16`."),
        ("runs", "oxford-vgg16", "runs holds a run of verydeep: give a folder of photographs."),
        ("archive", "run", "archive is an archive of verydeep: give a folder of photographs."),
        ("run", "run/model", "run is a run of verydeep: give a folder of photographs."),
        ("gone", "flowers", "flowers holds photographs, not a net: `data` comes first and `run` second, "
         "as in `{} flowers RUN`."),
        ("flowers", "my photos", "my photos holds photographs, not a net: `data` comes first and `run` second, "
         "as in `{} flowers RUN`."),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folders")
def test_a_net_before_the_data_set_is_refused_with_the_right_command(data: str, net: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_data_first("evaluate DATA RUN", data, [net])
    assert str(caught.value) == message.format("verydeep evaluate")


@pytest.mark.parametrize(
    ("usage", "source", "images", "message"),
    [
        ("predict RUN DATA", "my photos", ["run"], "my photos holds photographs, and `run` comes first, as in "
         "`verydeep predict run 'my photos'`."),
        ("predict RUN DATA", "flowers/rose/1.jpg", [], "flowers/rose/1.jpg is a photograph, and `run` comes first, as "
         "in `verydeep predict RUN flowers/rose/1.jpg`."),
        ("features RUN DATA --out DIR", "flowers", "oxford-vgg16", "flowers holds photographs, and `run` comes first, "
         "as in `verydeep features oxford-vgg16 flowers --out DIR`."),
        ("search ARCHIVE DATA", "flowers", ["archive"], "flowers holds photographs, and `archive` comes first, as in "
         "`verydeep search archive flowers`."),
        ("search ARCHIVE DATA", "my photos", "flowers/rose/1.jpg", "my photos holds photographs: make an archive of "
         "photographs first, by `verydeep features RUN 'my photos' --out DIR`, and search in DIR."),
        ("search ARCHIVE DATA", "run", "flowers", "run is a run of verydeep, not an archive: give a folder of "
         "`verydeep features`."),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folders")
def test_photographs_before_a_net_are_refused_with_the_right_command(
    usage: str, source: str, images: object, message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        check_data_second(usage, source, images)
    assert str(caught.value) == message


@pytest.mark.usefixtures("folders")
def test_arguments_in_their_order_pass() -> None:
    for data in ("flowers", "generated", "gone", "empty"):
        for net in ("run", "oxford-vgg16", "gone", "empty", object()):
            check_data_first("evaluate DATA RUN", data, [net])
    for net in ("run", "run/model", "archive", "oxford-vgg16", "gone", "empty", object()):
        for images in ("flowers", ["flowers", "gone"], np.zeros((9, 9, 3))):
            check_data_second("predict RUN DATA", net, images)
