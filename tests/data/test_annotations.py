"""XML as ILSVRC, Pascal VOC and labelers write it, and XML that means harm."""

from pathlib import Path

import pytest

from verydeep.data.annotations import LARGEST_XML, Annotation, read_xml
from verydeep.errors import VerydeepError

VOC = """<annotation><folder>VOC2007</folder><filename>000001.jpg</filename>
<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>
<size><width>353</width><height>500</height><depth>3</depth></size><segmented>0</segmented>
<object><name>dog</name><pose>Left</pose><difficult>0</difficult>
<bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox></object>
<object><name>person</name><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>
</bndbox></part><bndbox><xmin>8</xmin><ymin>12</ymin><xmax>352</xmax><ymax>498</ymax></bndbox></object></annotation>"""


def xml(*boxes: tuple[object, object, object, object], name: str = "cat", size: object = (50, 40)) -> str:
    """One of ILSVRC's, as small as it may be; ``size`` None: without."""
    size_xml = "" if size is None else "<size><width>{}</width><height>{}</height><depth>3</depth></size>".format(*size)
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for x1, y1, x2, y2 in boxes
    )
    return (
        "<annotation><folder>%s</folder><filename>%s</filename><source><database>ILSVRC_2012</database></source>"
        f"{size_xml}<segmented>0</segmented>{objects}</annotation>"
    )


def read(folder: Path, text: str | bytes) -> Annotation:
    (folder / "a.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_xml(folder / "a.xml")


def test_ilsvrc_counts_from_zero_and_decimals_are_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, xml((0, "1.5", 49, 39), (3, 4, 5, 6), name="Scottish_deerhound"))
    assert [one.xyxy for one in found.instances] == [(0, 1.5, 49, 39), (3, 4, 5, 6)]
    assert [one.name for one in found.instances] == ["Scottish_deerhound"] * 2
    assert [one.where for one in found.instances] == [f"Object {n} of {tmp_path / 'a.xml'}" for n in (1, 2)]
    assert found.size == (50, 40)


def test_voc_counts_from_one_and_parts_are_no_objects(tmp_path: Path) -> None:
    found = read(tmp_path, VOC)
    assert [(one.name, one.xyxy) for one in found.instances] == [
        ("dog", (47, 239, 194, 370)),
        ("person", (7, 11, 351, 497)),
    ]
    assert found.size == (353, 500)


@pytest.mark.parametrize("size", [None, (0, 0), (0, 40), ("", ""), ("wide", 40), (-50, 40)])
def test_a_size_that_is_none_is_left_open(tmp_path: Path, size: object) -> None:
    assert read(tmp_path, xml((1, 2, 3, 4), size=size)).size is None


@pytest.mark.parametrize("number", ["", "x", "nan", "inf", "-inf", "1e999", "0x10", "1" * 40, "1,5"])
def test_what_is_no_number_is_reported_with_its_object(tmp_path: Path, number: str) -> None:
    with pytest.raises(VerydeepError, match=r"Object 2 of .*a\.xml has a box that is not four numbers"):
        read(tmp_path, xml((1, 2, 3, 4), (1, number, 3, 4)))


def test_an_object_without_box_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match=r"Object 1 of .*a\.xml has a box that is not"):
        read(tmp_path, "<annotation><object><name>cat</name></object></annotation>")


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        f"<?xml version='1.0'?>{LAUGHS}]><annotation><folder>&j;</folder></annotation>".encode(),
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><folder>&x;</folder></annotation>',
        f"<?xml version='1.0' encoding='utf-16'?>{LAUGHS}]><annotation>&j;</annotation>".encode("utf-16"),
        b"<annotation>" + b" " * LARGEST_XML,
    ],
    ids=["laughs", "outside", "laughs in UTF-16", "large"],
)
def test_harm_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(VerydeepError, match=r"a\.xml (has a DOCTYPE|has more than)"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xd8\xff", b"<annotation>", b"<annotation>&x;</annotation>", b"<?xml version='1.0' encoding='x'?><a/>"],
)
def test_what_is_no_xml_is_one_sentence_that_names_it(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(VerydeepError, match=r"a\.xml is not XML") as raised:
        read(tmp_path, text)
    assert "\n" not in str(raised.value)


def test_deep_nesting_ends(tmp_path: Path) -> None:
    assert read(tmp_path, b"<annotation>" + b"<a>" * 90_000 + b"</a>" * 90_000 + b"</annotation>").instances == ()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match=r"b\.xml cannot be read: No such file"):
        read_xml(tmp_path / "b.xml")
