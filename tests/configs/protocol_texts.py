"""What the tests of protocol texts share: any protocol, white space, and how an error looks."""

import re

from hypothesis import strategies as st

from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import (
    LOCALIZATION_VIEWS,
    VIEWS,
    Classes,
    EvaluationProtocol,
    Member,
    PaperNet,
    Regression,
    default_classes,
)
from verydeep.configs.scales import TrainScale
from verydeep.errors import OptionError

scale_pairs = st.tuples(st.integers(224, 4096), st.integers(224, 4096)).map(lambda pair: TrainScale(*sorted(pair)))
train_scales = st.integers(224, 4096).map(lambda scale: TrainScale(scale, scale)) | scale_pairs
rising_scales = st.lists(st.integers(224, 4096), min_size=1, max_size=5, unique=True).map(lambda q: tuple(sorted(q)))


def members_with(*regressions: Regression | None) -> st.SearchStrategy[Member]:
    """Members with one of these regressions."""
    layers, boxes = st.sampled_from(["all", "fc"]), st.sampled_from(regressions)
    nets = st.builds(PaperNet, st.sampled_from(list(NETWORKS)), train_scales, layers, boxes)
    return st.builds(Member, nets, rising_scales)


members = members_with(None)
box_members = members_with("per-class", "single-class")
class_protocols = st.builds(
    EvaluationProtocol,
    st.lists(members, min_size=1, max_size=8, unique=True).map(tuple),
    st.sampled_from(VIEWS),
)


@st.composite
def box_protocols(draw: st.DrawFn) -> EvaluationProtocol:
    """Protocols of localization nets."""
    several = tuple(draw(st.lists(box_members, min_size=1, max_size=5, unique=True)))
    view = draw(st.sampled_from(LOCALIZATION_VIEWS))
    truth: Classes = "truth"
    classes = draw(st.sampled_from([default_classes(several, view), truth]) | class_protocols)
    return EvaluationProtocol(several, view, classes)


_spaces = st.text(alphabet=" \t\n", max_size=3)


def spaced(text: str, data: st.DataObject) -> str:
    """The text with other white space around its marks."""

    def space() -> str:
        return data.draw(_spaces)

    bare = text.replace(" ", "")
    return space() + re.sub("[+:@,]", lambda mark: space() + mark[0] + space(), bare) + space()


def reads_back_or_is_refused(text: str) -> None:
    """A text that is read prints as one that is read again; otherwise the error quotes it, with a place and a caret."""
    try:
        protocol = EvaluationProtocol.parse(text)
    except OptionError as error:
        sentence, _, caret = str(error).split("\n")
        place = int(re.match(r"`protocol` .* is wrong at character (\d+)[,:]", sentence)[1])  # type: ignore[index]
        assert error.parameter == "protocol"
        assert repr(text) in sentence
        assert 1 <= place <= len(text) + 1
        assert caret.strip() == "^"
    else:
        assert EvaluationProtocol.parse(str(protocol)) == protocol


def assert_pointed_at(error: BaseException, text: str, place: int, found: str, reason: str) -> None:
    """The error quotes what stands at the place, says the reason, and puts the caret under it."""
    sentence, shown, caret = str(error).split("\n")
    quoted = f", {found!r}" if found else ""
    assert sentence.startswith(f"`protocol` {text!r} is wrong at character {place}{quoted}: ")
    assert sentence.endswith(".")
    assert reason in sentence
    assert shown == "    " + text
    assert shown[len(caret) - 1 :].startswith(found)
    assert len(caret) - 4 == place
