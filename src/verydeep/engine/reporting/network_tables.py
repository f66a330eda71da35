"""Tables 1 and 2: the layers of the networks, and their numbers of parameters."""

from collections.abc import Iterator

from verydeep.configs.networks import NETWORKS, PAPER_FC_WIDTH, Conv, Network
from verydeep.results.measured_table import MeasuredTable


def network_table() -> MeasuredTable:
    """Return Table 1: the layers of each network."""
    networks = [network for name, network in NETWORKS.items() if name != "B-5x5"]
    columns = [list(describe_layers(network)) for network in networks]
    return MeasuredTable(
        name="table1",
        title="Table 1: ConvNet configurations, input 224x224 RGB",
        headings=tuple(f"{network.name}\n{network.num_weight_layers} layers" for network in networks),
        rows=tuple(zip(*columns, strict=True)),
        remarks=(),
        values={
            "rows": [
                {"network": network.name, "layers": " ".join(column).split()}
                for network, column in zip(networks, columns, strict=True)
            ]
        },
        num_labels=len(networks),
    )


def describe_layers(network: Network) -> Iterator[str]:
    """Yield the layers of a network, a block in several lines."""
    for block in network.blocks:
        yield "\n".join(conv_name(conv) for conv in block) + "\n"
        yield "maxpool\n"
    yield from (f"FC-{PAPER_FC_WIDTH}", f"FC-{PAPER_FC_WIDTH}", "FC-1000", "soft-max")


def conv_name(conv: Conv) -> str:
    """Return a convolution as Table 1 names it, such as conv3-64, with A-LRN's normalization below it."""
    return f"conv{conv.kernel}-{conv.channels}" + ("\nLRN" if conv.lrn else "")


def parameter_table() -> MeasuredTable:
    """Return Table 2: the number of weights and biases of each network."""
    counts = {name: network.num_parameters() for name, network in NETWORKS.items() if name != "B-5x5"}
    return MeasuredTable(
        name="table2",
        title="Table 2: number of parameters, 1000 classes",
        headings=("net", "parameters", "millions"),
        rows=tuple((name, f"{count:,}", f"{count / 1e6:.0f}") for name, count in counts.items()),
        remarks=(),
        values={"rows": [{"network": name, "num_parameters": count} for name, count in counts.items()]},
    )
