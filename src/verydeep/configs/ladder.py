"""The order in which the paper's nets are trained: each after the net that it starts from (sections 3.1, A.1)."""

from collections.abc import Container, Iterable

from verydeep.configs.protocols import PaperNet
from verydeep.configs.scales import TrainScale

FIRST, SECOND = TrainScale(256, 256), TrainScale(384, 384)
"""The paper's two fixed train scales, in the order they were used."""

FROM_RANDOM_WEIGHTS = ("A", "A-LRN", "B-5x5")
"""Networks without a source net. For B-5x5 that is inferred: the paper does not say how it was trained. Its 5x5
kernels do not fit A's 3x3 ones, so only the FC layers could come from A, and these without the features they read."""


def find_source(net: PaperNet) -> PaperNet | None:
    """Return the source net of a net of any S, or None if it starts from random weights.

    - At S = 256: A, as for "deeper architectures". That B is one of them is inferred from its depth.
    - At another fixed S: the same net at 256, as for the paper's S = 384.
    - Jittered: the same net at S = 384.
    - Fine-tuned in the FC layers only: the source of the net with all layers fine-tuned; at S = 256 that net itself.
      For the paper's D/256-512fc, D/384 is inferred: section 4.4 only says which layers were tuned.
    - A localization net: the classification net of the same S (section A.1), whichever layers are fine-tuned.
    """
    if net.regression is not None:
        return net.classifier
    if net.scale.jittered:
        return PaperNet(net.network, SECOND)
    if net.scale != FIRST or net.fine_tuned == "fc":
        return PaperNet(net.network, FIRST)
    return None if net.network in FROM_RANDOM_WEIGHTS else PaperNet("A", FIRST)


def add_sources(nets: Iterable[PaperNet], trained: Container[PaperNet] = ()) -> tuple[PaperNet, ...]:
    """Return the nets and all their source nets, each after its source and none twice.

    Nets that are ``trained`` are left out, and so are sources that only they need.
    """
    ordered: dict[PaperNet, None] = {}
    for net in nets:
        line: list[PaperNet] = []
        current: PaperNet | None = net
        while current is not None and current not in trained:
            line.append(current)
            current = find_source(current)
        ordered.update(dict.fromkeys(reversed(line)))
    return tuple(ordered)


LADDER: tuple[PaperNet, ...] = tuple(
    PaperNet.parse(text)
    for text in (
        *("A/256", "A-LRN/256", "B/256"),
        *("C/256", "D/256", "E/256"),
        *("C/384", "D/384", "E/384"),
        *("C/256-512", "D/256-512", "E/256-512"),
        "D/256-512fc",
    )
)
"""Every classification net of Tables 3-10, each after its source; localization nets start from some of these."""
