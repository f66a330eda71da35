"""The settings of a run: everything that it depends on (``run.json``)."""

from dataclasses import asdict, dataclass

from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import PaperNet, Regression
from verydeep.configs.recipes import FineTuned, Recipe
from verydeep.data.box_checks import BadBoxes
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.engine.datasets import VAL_FRACTION, Division
from verydeep.engine.nets.folders import RunFolder
from verydeep.json_files import FileFormat, read_json, write_json
from verydeep.models.vgg import Pooling
from verydeep.ops.value_ranges import ValueRanges

FORMAT = FileFormat("verydeep-run", 2, "`verydeep train`")


@dataclass(frozen=True)
class RunSettings:
    """Everything that a run depends on; on resume, only the number of epochs and the micro-batch may change."""

    data: str
    """Folder of the data set, or "generated"."""
    network: str
    crop: int
    width: float
    fc_width: int
    recipe: Recipe
    seed: int
    bf16: bool
    init_from: str | None = None
    """Source net."""
    fine_tuned: FineTuned = "all"
    """Layers that learn."""
    regression: Regression | None = None
    """Boxes that a localization net learns; None: classes."""
    bad_boxes: BadBoxes = "error"
    decoding: Decoding = STRICT
    deterministic: bool = False
    split_seed: int = 0
    """Seed of the division of a folder without val/."""
    val_fraction: float = VAL_FRACTION
    """Share of the images of such a folder that are validation images."""
    group_by: str | None = None
    """Groups of images that stay together in such a division."""
    micro_batch: int | None = None
    """Images that go through the net together; None: not chosen yet."""
    mean_rgb: tuple[float, float, float] | None = None
    """Mean color of the training images, or of those of the source net."""
    covariance: tuple[tuple[float, ...], ...] | None = None
    """(3, 3) covariance of the RGB pixels of the training images."""
    value_ranges: ValueRanges | None = None
    """Ranges of values that are not bytes; None: not chosen yet."""
    pooling: Pooling = "ceil"
    """Rounding of the source net."""
    input_scale: tuple[float, float, float] | None = None
    """Folded scale of conv1_1's weights, where they are those of a source net that has one."""
    license: str | None = None
    """License of the source net's weights, where it is known."""
    imported_source: str | None = None
    """Net of another system from which the weights descend, perhaps by way of other runs."""

    def __post_init__(self) -> None:
        """Check the network's name.

        Raises:
            ValueError: there is no such network.
        """
        if self.network not in NETWORKS:
            raise ValueError(f"network {self.network!r}")

    @property
    def net(self) -> PaperNet:
        """The net of the paper that the run trains, apart from its width and crop."""
        return PaperNet(self.network, self.recipe.stages[-1].scale, self.fine_tuned, self.regression)

    @property
    def division(self) -> Division:
        """How a folder without val/ is divided."""
        return Division(self.split_seed, self.val_fraction, self.group_by)

    @classmethod
    def load(cls, run: RunFolder) -> "RunSettings":
        """Read run.json.

        Raises:
            DataError: the file is missing, damaged or of another format.
        """
        return read_json(run.settings, cls, FORMAT)

    def save(self, run: RunFolder) -> None:
        """Write run.json."""
        write_json(run.settings, asdict(self), FORMAT)
