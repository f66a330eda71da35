"""A net with its configuration, on disk or in memory."""

import copy
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import nn

from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.configs.protocols import PaperNet
from verydeep.configs.scales import TrainScale
from verydeep.data.folders.folder import WNID
from verydeep.engine.datasets import DEFAULT_DIVISION, Division
from verydeep.engine.inference import prepare_net
from verydeep.engine.nets.folders import RunFolder, Weights, find_model_folder, stamp_files
from verydeep.engine.runtime import Kernels, Runtime
from verydeep.errors import OptionError, ResourceError
from verydeep.models.cpu_engine import TestedNet
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import CLASSIFIER, ModelConfig, load_config, load_model
from verydeep.ops.value_ranges import RecordedRanges
from verydeep.paths import real_path
from verydeep.wording import size_text

_PLACING = threading.Lock()

_IN_USE: WeakValueDictionary[Hashable, TestedNet] = WeakValueDictionary()
"""Nets from the disk that are ready for testing; each is kept only while something refers to it."""


@dataclass(frozen=True)
class NetShape:
    """The sizes that all nets of one protocol or table share, whatever their networks."""

    class_names: tuple[str, ...]
    crop: int
    width: float = 1.0
    fc_width: int = PAPER_FC_WIDTH


@dataclass(frozen=True)
class Net:
    """A net with its configuration. A net from ``verydeep.load`` also holds its model in memory."""

    path: Path
    """The run, model folder, weight file or published net, as the user gave it."""
    folder: Path
    """The model folder."""
    config: ModelConfig
    """The content of ``config.json``."""
    outputs: tuple[int, ...] | None = None
    """The model's outputs that belong to the classes of ``config``, in their order; None: all."""
    weights: Weights = "last"
    """Whether the net has the last weights of its run or the best ones on validation."""
    _model: VGG | None = field(default=None, compare=False, repr=False)
    """The model in eval mode if it is in memory, with all of its outputs."""
    stamps: tuple[tuple[int, int], ...] = field(default=(), compare=False, repr=False)
    """Size and modification time of its files before the model was read into memory."""
    _classifier: "Net | None" = field(default=None, compare=False, repr=False)
    _placed: dict[tuple[str, bool, Kernels], TestedNet] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """The model in memory for each device, precision and kernels that it was needed for."""

    def __repr__(self) -> str:
        """Return what it is, without its class names and mean."""
        classes = f", {len(self.class_names):,} classes" if self.class_names else ""
        return f"<Net {self.path}: {self.config.network}, crop {self.config.crop}{classes}>"

    def __hash__(self) -> int:  # config has values that cannot be hashed
        return hash(self.folder)

    @classmethod
    def open(cls, source: object, weights: Weights = "last") -> "Net":
        """Read a net's configuration, not its weights.

        Args:
            source: a run, model folder, weight file or published net; a ``Net`` is returned as it is.
            weights: the last weights of a run, or those with the lowest validation error.

        Raises:
            WeightsError: the source is not a net, or its configuration is damaged.
            ResourceError: a published net cannot be downloaded.
            OptionError: the source is of another type, such as a classifier.
        """
        if isinstance(source, Net):
            return source
        path = net_path(source)
        folder = find_model_folder(path, weights)
        return cls(path, folder, load_config(folder), weights=weights)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the net's classes, in the order of its outputs."""
        return self.config.class_names

    @property
    def recorded_ranges(self) -> list[RecordedRanges]:
        """The value ranges that the net was trained with."""
        return [RecordedRanges(self.config.value_ranges)]

    @property
    def in_memory(self) -> bool:
        """Whether the model was read into memory."""
        return self._model is not None

    @property
    def model(self) -> VGG:
        """The model in eval mode, with all of its outputs: a PyTorch module, (N, 3, H, W) -> (N, K, h, w) scores.

        It is read from the disk each time, unless ``verydeep.load`` made this net.
        """
        return load_model(self.folder)[0] if self._model is None else self._model

    @property
    def division(self) -> Division:
        """How a folder without val/ was divided when the net was trained."""
        record = self.config.split
        return DEFAULT_DIVISION if record is None else Division.of(record)

    @property
    def stored_path(self) -> str:
        """A path that is valid in every folder: an absolute path, or the name of a published net."""
        return str(real_path(self.path)) if self.path.exists() else self.path.as_posix()

    def load(self) -> VGG:
        """Return the model in eval mode; the caller may change it. A model in memory is not read again.

        Raises:
            WeightsError: the weights are missing or damaged, or belong to another net.
        """
        model = self.model if self._model is None else share_weights(self._model)
        if self.outputs is not None:
            model.keep_outputs(self.outputs)
        return model

    def prepare(self, runtime: Runtime) -> TestedNet:
        """Return the model for testing: in eval mode, on the device, its weights rounded or packed.

        A model in memory is prepared once for each device, precision and kernels, and shared by all threads. A
        model that was read from the disk stays in memory only while something refers to it.

        Raises:
            WeightsError: the weights are missing or damaged, or belong to another net.
            ResourceError: the weights do not fit into the free memory of the machine.
        """
        key = (str(runtime.device), runtime.bf16, runtime.kernels)
        with _PLACING:
            if self._model is None:
                where = (real_path(self.folder), stamp_files(self.folder), self.outputs, *key)
                model = _IN_USE.get(where)
                if model is None:
                    self._check_memory(runtime)
                    model = _IN_USE[where] = prepare_net(self.load(), runtime)
                return model
            if key not in self._placed:
                self._placed[key] = prepare_net(self.load(), runtime)
            return self._placed[key]

    def _check_memory(self, runtime: Runtime) -> None:
        """Refuse a net whose weights alone exceed the free memory: the system might kill a process that reads them."""
        if runtime.device.type != "cpu":
            return
        with torch.device("meta"):  # without memory
            num_weights = sum(parameter.numel() for parameter in self.config.build().parameters())
        copied = 2 if runtime.bf16 else 4 if runtime.kernels == "native" else 0  # bytes of a rounded or packed weight
        needed, free = num_weights * (4 + copied), runtime.free_memory()
        if needed > free:
            raise ResourceError(
                f"{self.path} needs at least {size_text(needed)} of memory in each process, and {size_text(free)} are "
                "free: free some, or give a smaller net."
            )

    def with_model(self) -> "Net":
        """Return the net with its model in memory; for a localization net, also with the model of its classifier.

        Raises:
            WeightsError: weights are missing or damaged, or belong to another net.
        """
        if self._model is not None:
            return self
        assert self.outputs is None
        stamps = stamp_files(self.folder)
        model, config = load_model(self.folder)
        # In the memory format of testing, so that preparing it for the CPU copies nothing.
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        classifier = None if config.regression is None else self.classifier.with_model()
        return replace(self, config=config, _model=model, stamps=stamps, _classifier=classifier)

    def with_outputs_for(self, class_names: tuple[str, ...]) -> "Net | None":
        """Return this net with the outputs of these classes, in their order; None if the net lacks one of them.

        If the names are WNIDs, which mean the same everywhere, they may be only a part of the net's classes. Other
        names must be exactly the names of all its classes, in any order.
        """
        config = self.config
        if config.class_names == class_names:
            return self
        places = {name: place for place, name in enumerate(config.class_names)}
        has_all = all(name in places for name in class_names)
        is_known = all(map(WNID.fullmatch, class_names)) or len(class_names) == len(places)
        if config.regression is not None or not has_all or not is_known:
            return None
        outputs = tuple(places[name] for name in class_names)
        words = tuple(config.class_words[place] for place in outputs)
        return replace(self, config=replace(config, class_names=class_names, class_words=words), outputs=outputs)

    def member(self, scales: tuple[int, ...] | None = None) -> "EnsembleMember":
        """Return the net with test scales; by default, those of the paper for its S."""
        return EnsembleMember(self, scales or self.config.test_scales)

    def paper_net(self, width: float = 1.0, fc_width: int = PAPER_FC_WIDTH) -> PaperNet | None:
        """Return the net of the paper that this net corresponds to, in a table of nets with these widths.

        The result is None if the net has different widths or an unknown train scale, or if its training started from
        weights of another system: the paper's nets started from random weights, or from those of net A.
        """
        config = self.config
        if config.provenance.imported_source is not None or config.train_scale is None:
            return None
        if (config.width, config.fc_width) != (width, fc_width):
            return None
        return PaperNet(config.network, TrainScale.parse(config.train_scale), config.fine_tuned, config.regression)

    def matches(self, net: PaperNet, shape: NetShape) -> bool:
        """Whether this net corresponds to a net of the paper and has this shape."""
        same = self.config.class_names == shape.class_names and self.config.crop == shape.crop
        return same and self.paper_net(shape.width, shape.fc_width) == net

    @property
    def classifier(self) -> "Net":
        """The source net of this localization net. It rates the boxes.

        Raises:
            WeightsError: the copy of the source net is missing.
        """
        if self._classifier is not None:
            return self._classifier
        # The best weights of a run share the copy of the last ones.
        copies = [self.folder / CLASSIFIER, RunFolder(self.folder.parent).model / CLASSIFIER]
        return Net.open(next((folder for folder in copies if folder.exists()), copies[0]))

    @property
    def imported(self) -> bool:
        """Whether another system trained it."""
        return self.config.provenance.imported_from is not None

    @property
    def has_imported_weights(self) -> bool:
        """Whether another system trained it or its source net."""
        return self.imported or self.config.provenance.imported_source is not None

    @property
    def ended(self) -> bool:
        """Whether its training has ended; always true if another system trained it."""
        return self.imported or self.config.provenance.converged is not None

    @property
    def converged(self) -> bool:
        """Whether its learning rate dropped as often as planned; assumed if another system trained it."""
        converged = self.config.provenance.converged
        return self.imported if converged is None else converged

    def __str__(self) -> str:
        return str(self.paper_net() or self.path.name)


@dataclass(frozen=True)
class EnsembleMember:
    """A net and its test scales: a member of a protocol, found on disk."""

    net: Net
    scales: tuple[int, ...]


def net_path(source: object) -> Path:
    """Return the path of a net as its user names it, or the name of a published net.

    Raises:
        OptionError: the source is neither a path nor a net, but a classifier, for example.
    """
    if isinstance(source, Net):
        return source.path
    if not isinstance(source, str | PathLike):
        raise OptionError(f"A {type(source).__name__} is not a net: give a run, a weight file or a published net.")
    return Path(source)


def share_weights(model: VGG) -> VGG:
    """Return a second module that shares the weights in memory; moving or reducing it leaves the first unchanged."""
    weights: dict[int, nn.Parameter] = {id(each): nn.Parameter(each.detach()) for each in model.parameters()}
    return copy.deepcopy(model, weights)
