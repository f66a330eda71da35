"""Files of a published net: its model folder without paths of this machine, and its card."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from verydeep.engine.importing.imported import is_name
from verydeep.engine.nets.net import Net
from verydeep.engine.publishing.card import model_card
from verydeep.engine.publishing.results import read_results
from verydeep.files import atomic_folder, atomic_write
from verydeep.models.weights.model_folder import CLASSIFIER, CONFIG, WEIGHTS, ModelConfig, save_config

CARD = "README.md"


@dataclass(frozen=True)
class Publication:
    """The content of a repository."""

    card: str
    configs: Mapping[str, ModelConfig]
    """Configurations by their folders in the repository: ".", and that of the net that rates boxes."""
    weights: Mapping[str, Path]
    """The weight files on this machine, by the same folders."""

    def write_texts(self, folder: Path) -> dict[str, Path]:
        """Write card and configurations into a folder; return all files by their paths in the repository.

        The weights are not copied.

        Raises:
            ResourceError: the folder cannot be written to.
        """
        with atomic_write(folder / CARD) as temporary:
            temporary.write_text(self.card, encoding="utf-8", errors="backslashreplace")
        for place, config in self.configs.items():
            save_config(folder / place, config)
        texts = [CARD, *(str(PurePosixPath(place, CONFIG)) for place in self.configs)]
        weights = {str(PurePosixPath(place, WEIGHTS)): path for place, path in self.weights.items()}
        return {name: folder / name for name in texts} | weights

    def save(self, folder: Path) -> list[str]:
        """Make a folder of all files and return their paths in it.

        Raises:
            ResourceError: the folder cannot be written to.
        """
        with atomic_folder(folder, CARD) as temporary:
            files = self.write_texts(temporary)
            for name, path in files.items():
                if path != temporary / name:
                    shutil.copyfile(path, temporary / name)
        return list(files)


def prepare_publication(net: Net, repository: str) -> Publication:
    """Collect the files of a net, and those of the classification net that rates the boxes of a localization net.

    Raises:
        WeightsError: the net is damaged.
        DataError: an evaluation of the net is damaged.
    """
    nets = {".": net} if net.config.regression is None else {".": net, CLASSIFIER: net.classifier}
    for each in nets.values():
        each.load()  # a damaged net is not published
    configs = {place: remove_paths(each.config) for place, each in nets.items()}
    card = model_card(repository, configs["."], read_results(net.path, net.folder))
    return Publication(card, configs, {place: each.folder / WEIGHTS for place, each in nets.items()})


def remove_paths(config: ModelConfig) -> ModelConfig:
    """Return the configuration with paths shortened to their last part, to publish none of this machine."""
    about, split = config.provenance, config.split
    about = replace(about, data=last_part(about.data), source_net=last_part(about.source_net))
    if split is not None:
        split = replace(split, data=PurePath(split.data).name)
    return replace(config, split=split, provenance=about)


def last_part(path: str | None) -> str | None:
    """Return the last part of a path; the name of a published net stays."""
    return path if path is None or is_name(path) else PurePath(path).name
