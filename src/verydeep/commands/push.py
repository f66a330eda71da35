"""``verydeep push``: a net for everybody, on the Hugging Face Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from tyro.conf import Positional, arg

from verydeep.errors import VerydeepError
from verydeep.options import Run, Weights, option


def push(
    run: Run,
    repository: Annotated[str, Positional, arg(metavar="OWNER/NAME", help="Of the repository; made if there is none.")],
    /,
    *,
    private: Annotated[bool, arg(help="For the owner's eyes only.")] = False,
    weights: Weights = "last",
    out: Annotated[
        Path | None, option("Write what would be uploaded into a folder to look at, and upload nothing.", metavar="DIR")
    ] = None,
) -> None:
    """Publish a net on the Hugging Face Hub, with a card that states its recipe and its measured errors.

    Uploaded are the weights, config.json (of paths on this machine the last part alone) and README.md, the card, which
    takes the place of one that is there. The Hub knows you by `hf auth login` or HF_TOKEN.

    Try:
        verydeep push runs/photos-D-256-c224-s0 jane/photos-vgg16 --out card
        verydeep push runs/photos-D-256-c224-s0 jane/photos-vgg16
    """
    from verydeep.engine.publishing.hub import check_repository, upload
    from verydeep.engine.publishing.publication import publication

    check_repository(repository)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VerydeepError(f"{out} already exists: choose another --out, or remove it.")
    published = publication(run, weights, repository)
    if out is not None:
        names = published.save(out)
        print(f"Written: {out}/ ({', '.join(names)}); nothing was uploaded.")
        return
    with TemporaryDirectory() as folder:
        files = published.lay_out(Path(folder))
        address = upload(files, repository, private=private)
    print(f"Uploaded: {address} ({', '.join(files)})")
    command = "predict" if published.configs["."].regression is None else "localize"
    print(f"Try:  verydeep {command} hf-hub:{repository} photo.jpg")
