"""`verydeep push`: publish a net on the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from verydeep.options import NetOption, PathSource, WeightsOption, check_new_folder, refuse_unused
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.results.nets import PushedNet


@command
def push(
    run: NetOption,
    repository: Annotated[str, Option("The repository; created if there is none.", metavar="OWNER/NAME")],
    *,
    private: Annotated[bool, Option("Make the new repository private.")] = False,
    weights: WeightsOption = "last",
    out: Annotated[PathSource | None, Option("Folder to write the files to, without uploading.", metavar="DIR")] = None,
) -> "PushedNet":
    """Publish a net on the Hugging Face Hub, with a card that describes it.

    The card (README.md) states the recipe and the measured errors. It is uploaded with the weights and config.json,
    and replaces an existing README.md. Paths on this machine are shortened to their last part. Log in first, with
    `hf auth login` or HF_TOKEN.

    Try:
        verydeep push runs/photos-D-256-c224-s0 jane/photos-vgg16 --out card
        verydeep push runs/photos-D-256-c224-s0 jane/photos-vgg16

    Raises:
        WeightsError: The net is damaged.
        OptionError: The repository's name is wrong, or the folder exists.
        ResourceError: The Hub cannot be reached, or refuses.
    """
    from verydeep.engine.nets.checks import open_net
    from verydeep.engine.publishing.hub import check_repository, upload
    from verydeep.engine.publishing.publication import prepare_publication
    from verydeep.results.nets import PushedNet

    check_repository(repository)
    folder = None if out is None else Path(out)
    if folder is not None:
        refuse_unused("With `out`, which uploads nothing", {"private": private})
        check_new_folder(folder)
    published = prepare_publication(open_net(run, weights), repository)
    command_name = "predict" if published.configs["."].regression is None else "localize"
    if folder is not None:
        return PushedNet(repository, None, folder, tuple(published.save(folder)), command_name)
    with TemporaryDirectory() as temporary:
        files = published.write_texts(Path(temporary))
        url = upload(files, repository, private=private)
    return PushedNet(repository, url, None, tuple(files), command_name)
