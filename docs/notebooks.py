"""Notebooks as pages: their cells are executed when the site is built, and stand with their outputs."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
EXECUTED = ROOT / "docs" / "generated" / "executed"
"""Executed notebooks, so that a second build is quick."""

SECONDS = 600
"""Time for one cell."""


def read_notebook(path: Path) -> str:
    """Return the cells of a notebook with their outputs as Markdown."""
    parts = []
    for cell in execute(path)["cells"]:
        parts += [cell["source"]] if cell["cell_type"] == "markdown" else [f"```python\n{cell['source']}\n```"]
        for output in cell.get("outputs", ()):
            parts += show_output(output)
    return "\n\n".join([*parts, f"[Download the notebook]({path.name})"]) + "\n"


def show_output(output: Any) -> Iterator[str]:
    """Yield what a cell wrote, drew or returned, as Markdown; not what it wrote to the standard error."""
    if output["output_type"] == "stream" and output["name"] == "stdout":
        yield f"```text\n{output['text'].rstrip()}\n```"
    data = output.get("data", {})
    if "text/html" in data:
        if not re.sub(r"<pre[^>]*>|</pre>|\s", "", data["text/html"]):
            return  # what a progress bar leaves
        yield f'````{{raw}} html\n<div class="notebook-output">{data["text/html"]}</div>\n````'
    elif "image/png" in data:
        png = data["image/png"].replace("\n", "")
        yield f'````{{raw}} html\n<img alt="Output of the cell" src="data:image/png;base64,{png}">\n````'
    elif "text/plain" in data:
        yield f"```text\n{data['text/plain']}\n```"


def execute(path: Path) -> Any:
    """Return a notebook with the outputs of its cells, from the last build if neither it nor the package has changed.

    A cell that fails, fails the build.
    """
    import nbclient  # noqa: PLC0415 - only the site needs it
    import nbformat  # noqa: PLC0415 - as above
    from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415 - as above

    package = sorted((ROOT / "src" / "verydeep").rglob("*.py"))
    key = hashlib.sha256(b"".join(each.read_bytes() for each in (path, *package))).hexdigest()
    kept = EXECUTED / f"{path.stem}-{key[:16]}.ipynb"
    if not kept.exists():
        notebook = nbformat.read(path, as_version=4)
        places = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        with tempfile.TemporaryDirectory() as folder:
            # Files in place of open ports; their path is whole, because the kernel works in another folder than we do.
            kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
            resources = {"metadata": {"path": folder}}
            client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources=resources, km=kernel)
            client.execute(env=os.environ | {"PYTHONPATH": places})
        for older in EXECUTED.glob(f"{path.stem}-*.ipynb"):
            older.unlink()
        EXECUTED.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)
