"""Options that would be ignored are refused before anything is read."""

from typing import Any

import pytest

import verydeep as vd

BOXLESS = "Without `task=localize`"


@pytest.mark.parametrize(
    ("command", "arguments", "options", "message"),
    [
        ("evaluate", ("photos", "net"), {"crop": 64}, "Without `protocol`, `crop` has no effect: omit it."),
        ("evaluate", ("photos", "net"), {"fc_width": 64, "runs": "old"}, "`fc_width` and `runs` have no effect"),
        ("evaluate", ("photos", "net"), {"bad_boxes": "skip"}, f"{BOXLESS}, `bad_boxes` has no effect"),
        ("localize", ("net", "photo.jpg"), {"runs": "old"}, "Without `classes`, `runs` has no effect"),
        ("train", ("photos",), {"bad_boxes": "skip"}, f"{BOXLESS}, `bad_boxes` has no effect"),
        ("train", ("photos",), {"dropout": 0, "dropout_after": 5}, "With `dropout=0`, `dropout_after` has no effect"),
        ("verify", ("photos",), {"weights": "best"}, "Without `net`, `weights` has no effect"),
        ("push", ("net", "jane/net"), {"out": "card", "private": True}, "With `out`, .*, `private` has no effect"),
        ("reproduce", ("table1",), {"data": "photos"}, "For table1, .*, `data` has no effect"),
        (
            "reproduce",
            ("table3",),
            {"data": "photos", "bad_boxes": "clip"},
            "For table3, .*, `bad_boxes` has no effect",
        ),
    ],
)
def test_options_without_an_effect_are_refused(
    command: str, arguments: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(vd.OptionError, match=message):
        getattr(vd, command)(*arguments, **options)
