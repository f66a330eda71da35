"""How the paper's nets descend from one another (sections 3.1, A.1), and so in which order they are trained."""

from collections.abc import Container, Iterable
from typing import TypeVar

from verydeep.configs.localization import LocalizationNet
from verydeep.configs.protocols import TrainedNet
from verydeep.configs.scales import TrainScale

FIRST, SECOND = TrainScale(256, 256), TrainScale(384, 384)
"""The paper's two fixed train scales, in the order they were used."""

FROM_RANDOM_WEIGHTS = ("A", "A-LRN", "B-5x5")
"""The nets that start from nothing. For B-5x5 that is inferred: the paper does not say how it was trained. Its 5x5
kernels do not fit A's 3x3 ones, so only the FC layers could come from A, and these without the features they read."""

NetT = TypeVar("NetT", bound=TrainedNet | LocalizationNet)


def start_of(net: TrainedNet | LocalizationNet) -> TrainedNet | None:
    """The net that this one's weights start from, at any S; None: random weights.

    - At S = 256: from A, as "deeper architectures" do. That B is one of them is inferred from its depth.
    - At another fixed S: from the same net at 256, as the paper's S = 384.
    - Jittered: from the same net at S = 384.
    - Fine-tuned in the FC layers only: from where the net with all layers fine-tuned starts; at S = 256 from that net
      itself. For the paper's D/256-512fc, D/384 is inferred: section 4.4 only says which layers were tuned.
    - A localization net: from the classification net of the same S (section A.1), whichever layers are fine-tuned.
    """
    if isinstance(net, LocalizationNet):
        return net.classifier
    if net.scale.jittered:
        return TrainedNet(net.network, SECOND)
    if net.scale != FIRST or net.fine_tuned == "fc":
        return TrainedNet(net.network, FIRST)
    return None if net.network in FROM_RANDOM_WEIGHTS else TrainedNet("A", FIRST)


def with_starts(
    nets: Iterable[NetT], there: Container[TrainedNet | LocalizationNet] = ()
) -> tuple[NetT | TrainedNet, ...]:
    """These nets and all that they descend from: each after its start, none twice.

    Nets that are ``there`` are left out, and so are starts that only they need.
    """
    ordered: dict[NetT | TrainedNet, None] = {}
    for net in nets:
        line: list[NetT | TrainedNet] = []
        current: NetT | TrainedNet | None = net
        while current is not None and current not in there:
            line.append(current)
            current = start_of(current)
        ordered.update(dict.fromkeys(reversed(line)))
    return tuple(ordered)


LADDER: tuple[TrainedNet, ...] = tuple(
    TrainedNet.parse(text)
    for text in (
        *("A/256", "A-LRN/256", "B/256"),
        *("C/256", "D/256", "E/256"),
        *("C/384", "D/384", "E/384"),
        *("C/256-512", "D/256-512", "E/256-512"),
        "D/256-512fc",
    )
)
"""Every classification net of Tables 3-10, each after its start; a localization net starts from one of these."""
