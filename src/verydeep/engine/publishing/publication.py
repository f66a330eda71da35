"""What of a net is published: its model folder without the paths of this machine, and a card."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from verydeep.engine.importing.imported import is_name
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import Net
from verydeep.engine.publishing.card import model_card
from verydeep.engine.publishing.results import read_results
from verydeep.files import atomic_write
from verydeep.models.weights.native import CLASSIFIER, CONFIG, WEIGHTS, ModelConfig, save_config

CARD = "README.md"


@dataclass(frozen=True)
class Publication:
    """The files of a repository."""

    card: str
    configs: Mapping[str, ModelConfig]
    """By the folder in the repository: ".", and that of the net that rates boxes."""
    weights: Mapping[str, Path]
    """The files on this machine, by the same folders."""

    def lay_out(self, folder: Path) -> dict[str, Path]:
        """Write what is small into a folder; all files by their paths in the repository, weights where they lie.

        Raises:
            VerydeepError: the folder cannot be written to.
        """
        with atomic_write(folder / CARD) as temporary:
            temporary.write_text(self.card, encoding="utf-8")
        for place, config in self.configs.items():
            save_config(folder / place, config)
        texts = [CARD, *(str(PurePosixPath(place, CONFIG)) for place in self.configs)]
        weights = {str(PurePosixPath(place, WEIGHTS)): path for place, path in self.weights.items()}
        return {name: folder / name for name in texts} | weights

    def save(self, folder: Path) -> list[str]:
        """Write all of it into a folder; the paths in it.

        Raises:
            VerydeepError: it cannot be written.
        """
        files = self.lay_out(folder)
        for name, path in files.items():
            if path != folder / name:
                with atomic_write(folder / name) as temporary:
                    shutil.copyfile(path, temporary)
        return list(files)


def publication(run: Path, weights: Weights, repository: str) -> Publication:
    """What is published of a net, and of the classification net that rates its boxes if it is a localization net.

    Args:
        run: as the command line names the net.
        weights: of a run, which.
        repository: OWNER/NAME.

    Raises:
        VerydeepError: the net, or an evaluation of it, is damaged.
    """
    net = Net.open(run, weights)
    nets = {".": net} if net.config.regression is None else {".": net, CLASSIFIER: net.classifier}
    for each in nets.values():
        each.load()  # what is damaged is not published
    configs = {place: without_paths(each.config) for place, each in nets.items()}
    card = model_card(repository, configs["."], read_results(run, net.folder))
    return Publication(card, configs, {place: each.folder / WEIGHTS for place, each in nets.items()})


def without_paths(config: ModelConfig) -> ModelConfig:
    """Return the configuration with names in place of paths, which tell about this machine."""
    about, split = config.provenance, dict(config.split)
    if "data" in split:
        split["data"] = without_folders(str(split["data"]))
    about = replace(about, data=without_folders(about.data), source_net=without_folders(about.source_net))
    return replace(config, split=split, provenance=about)


def without_folders(path: str | None) -> str | None:
    """Return the last part of a path; names of published nets stay."""
    return path if path is None or is_name(path) else PurePath(path).name
