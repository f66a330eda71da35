"""`demo`: a page in the browser to try nets on photographs."""

from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.options import ComputeOptions, NetSources, PathSource, several
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.results.demonstration import Demonstration


@command
def demo(
    run: Annotated[
        NetSources,
        Option("Nets and classifiers; at most one localization net.", "the newest trained on the generated set", "RUN"),
    ] = (),
    *,
    archive: Annotated[
        PathSource | None, Option("Archive of `verydeep features` to search.", "no search", "DIR")
    ] = None,
    port: Annotated[int, Option("Port; 0 chooses a free one.", metavar="N", smallest=0, largest=65535)] = 7860,
    **options: Unpack[ComputeOptions],
) -> "Demonstration":
    """Serve a page on which you can try nets on photographs in your browser.

    Drop photographs onto the page, or choose an example. The page shows the most probable classes, score maps,
    boxes, similar photographs from an archive, and the time of each prediction. Only this machine can open it.
    Nothing is sent to other machines or loaded from them, and uploaded photographs are deleted at the end. Press
    Ctrl-C to stop. The demonstration needs pip install 'verydeep[demo]'.

    Try:
        verydeep demo
        verydeep demo oxford-vgg16 runs/photos-transfer-oxford-vgg16 --archive photos-described

    Returns:
        The address and the nets of the page. The function returns only when the server has stopped.

    Raises:
        WeightsError: There is no such net, it has no classes, or no net was given and no default one exists.
        OptionError: The port is in use, or two nets predict boxes.
        DataError: The archive or a classifier is damaged.
        ResourceError: gradio is missing.
    """
    from verydeep.demonstration.server import open_port, private_gradio, serve, wait_for_end
    from verydeep.demonstration.subjects import open_subjects, warm_up
    from verydeep.engine.log import Log
    from verydeep.results.demonstration import Demonstration

    with open_port(port) as listening, private_gradio():
        from verydeep.demonstration.examination import MAX_BYTES
        from verydeep.demonstration.page import build_page
        from verydeep.demonstration.texts import SCRIPT, STYLE

        subjects = open_subjects(several(run), archive, dict(options))
        warm_up(subjects)
        with serve(build_page(subjects), listening, MAX_BYTES, STYLE, SCRIPT) as address:
            Log().info(f"Open {address} in a browser. Ctrl-C ends the demonstration.")
            wait_for_end()
    return Demonstration(address, tuple(subjects.predictors))
