"""The manifest of an archive: what all of its descriptors have in common."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from verydeep.engine.descriptors.activations import VERSION
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.nets.digests import open_unchanged_net
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import Net
from verydeep.errors import VerydeepError
from verydeep.files import read_json, write_json
from verydeep.ops.descriptors import Aggregation

MANIFEST = "manifest.json"
MODEL_TYPE, FORMAT = "verydeep-descriptors", 1


@dataclass(frozen=True)
class Manifest:
    """What all descriptors of an archive have in common."""

    net: str
    """Its whole path, or the name of a published net."""
    weights: Weights
    digest: str
    layer: str
    scales: tuple[int, ...]
    aggregation: Aggregation
    precision: str
    fast_decode: bool
    dimensions: int
    images_root: str
    """The folder that the paths in the archive begin at, unless they are whole."""
    num_images: int = 0
    """When the last job ended."""

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """What is written there.

        Raises:
            VerydeepError: there is none, or it is damaged, of something else, or of another version.
        """
        path = folder / MANIFEST
        if not path.exists():
            raise VerydeepError(
                f"{folder} holds no descriptors: write some with verydeep features RUN IMAGES --out DIR and name DIR."
            )
        fields: Any = read_json(path, dict[str, Any])
        if not isinstance(fields, dict) or fields.pop("model_type", None) != MODEL_TYPE:
            raise VerydeepError(f"{path} is not of verydeep features: choose another folder.")
        if (fields.pop("format", None), fields.pop("version", None)) != (FORMAT, VERSION):
            raise VerydeepError(
                f"{path} is of another version of verydeep: describe the images anew in another folder."
            )
        try:
            found = cls(**{**fields, "scales": tuple(map(int, fields["scales"]))})
            texts = (found.net, found.digest, found.layer, found.images_root)
            known = found.weights in get_args(Weights) and found.aggregation in get_args(Aggregation)
            known = known and all(isinstance(text, str) for text in texts)
            if not (known and found.scales and found.dimensions > 0):
                raise ValueError("a value that cannot be")
        except (KeyError, TypeError, ValueError) as error:
            raise VerydeepError(f"{path} is damaged ({error}): describe the images anew in another folder.") from None
        return found

    def write(self, folder: Path) -> None:
        """Write it.

        Raises:
            VerydeepError: the disk is full or does not let us.
        """
        write_json(folder / MANIFEST, {"model_type": MODEL_TYPE, "format": FORMAT, "version": VERSION, **asdict(self)})

    def representation(self, net: Net) -> Representation:
        """How the net, which is that of the archive, describes."""
        return Representation((net,), (self.layer,), self.scales, self.aggregation)

    def find_net(self, folder: Path) -> Net:
        """The net that described the images of the archive in ``folder``.

        Raises:
            VerydeepError: it is not there any more, or is another one now.
        """
        return open_unchanged_net(Path(self.net), self.weights, self.digest, folder / MANIFEST)
