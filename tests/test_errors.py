"""Messages of errors: one sentence that cannot control a terminal, whatever names a file has."""

import pickle

import pytest

from verydeep.configs.protocols import EvaluationProtocol
from verydeep.errors import DataError, OptionError
from verydeep.wording import escape_controls


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred\a", r"\x1b[31mred\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x9b1m\u2028", r"\x9b1m\u2028"),
        ("caf\udce9", r"caf\udce9"),
        ("Küche 台所 👩‍🍳 \u3000", "Küche 台所 👩‍🍳 \u3000"),
    ],
)
def test_names_control_no_terminal(name: str, shown: str) -> None:
    assert str(DataError(f"/photos/{name} is damaged.")) == f"/photos/{shown} is damaged."
    assert escape_controls(name) == shown


def test_long_messages_are_shortened_in_their_middle() -> None:
    text = str(DataError(f"Line 1 of /list.csv is {'a' * 100_000!r}: remove it."))
    assert len(text) < 2100 and text.startswith("Line 1 of /list.csv is 'aaa") and text.endswith("aaa': remove it.")


def test_what_a_user_typed_is_shown_with_its_place() -> None:
    with pytest.raises(OptionError) as raised:
        EvaluationProtocol.parse("D/256/256 : crop\x1b")
    lines = str(raised.value).split("\n")
    assert len(lines) == 3 and lines[2].strip() == "^" and "\x1b" not in str(raised.value)


def test_errors_pass_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DataError("a\nb.")))
    assert type(error) is DataError and str(error) == r"a\nb."
