"""What the tests of protocol texts share: any protocol, white space, and how an error looks."""

import re
from collections.abc import Callable

from hypothesis import strategies as st

from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import VIEWS, EvalProtocol, Member, TrainedNet
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError

scale_pairs = st.tuples(st.integers(224, 4096), st.integers(224, 4096)).map(lambda pair: TrainScale(*sorted(pair)))
train_scales = st.integers(224, 4096).map(lambda scale: TrainScale(scale, scale)) | scale_pairs
nets = st.builds(TrainedNet, st.sampled_from(list(NETWORKS)), train_scales, st.sampled_from(["all", "fc"]))
rising_scales = st.lists(st.integers(224, 4096), min_size=1, max_size=5, unique=True).map(lambda q: tuple(sorted(q)))
members = st.builds(Member, nets, rising_scales)
protocols = st.builds(
    EvalProtocol,
    st.lists(members, min_size=1, max_size=8, unique=True).map(tuple),
    st.sampled_from(VIEWS),
)

_spaces = st.text(alphabet=" \t\n", max_size=3)


def spaced(text: str, data: st.DataObject) -> str:
    """The text with other white space around its marks."""

    def space() -> str:
        return data.draw(_spaces)

    bare = text.replace(" ", "")
    return space() + re.sub("[+:@,]", lambda mark: space() + mark[0] + space(), bare) + space()


def reads_back_or_is_refused(parse: Callable[[str], object], text: str) -> None:
    """What is read prints as what is read again; what is not is quoted, with a place in it and a caret."""
    try:
        protocol = parse(text)
    except VerydeepError as error:
        sentence, _, caret = str(error).split("\n")
        place = int(re.match(r"--protocol .*: at character (\d+)[,:]", sentence)[1])  # type: ignore[index]
        assert repr(text) in sentence
        assert 1 <= place <= len(text) + 1
        assert caret.strip() == "^"
    else:
        assert parse(str(protocol)) == protocol
        assert str(parse(str(protocol))) == str(protocol)


def assert_pointed_at(error: BaseException, text: str, place: int, found: str, reason: str) -> None:
    """The error quotes what stands at the place, says the reason, and puts the caret under it."""
    sentence, shown, caret = str(error).split("\n")
    quoted = f", {found!r}" if found else ""
    assert sentence.startswith(f"--protocol {text!r}: at character {place}{quoted}: ")
    assert sentence.endswith(".")
    assert reason in sentence
    assert shown == "    " + text
    assert shown[len(caret) - 1 :].startswith(found)
    assert len(caret) - 4 == place
