"""The commands that show a dataset as pages: `vidla view` and `vidla report`."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Annotated

import typer

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from vidla.dataset_commands import existing
from vidla.options import DatasetArgument

LOOPBACK = "127.0.0.1"


def view(
    dataset: DatasetArgument,
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 for any free one")] = 0,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="listen for other machines too; they need the token")
    ] = LOOPBACK,
    rater: Annotated[
        str | None, typer.Option("--rater", metavar="NAME", help="whose verdicts are kept [default: the user's name]")
    ] = None,
) -> None:
    """Look at a dataset in the browser: its books, clips with frames, media and texts, and what was rejected.

    Prints the address, which has a token: whoever knows it can read the dataset, and judge its clips. Nothing but
    verdicts is written, and a run may write to the dataset meanwhile. Ctrl-C ends it.

    Example: vidla view data/talks

    Example: vidla view s3://bucket/talks --host 0.0.0.0 --port 8080
    """
    import uvicorn

    from vidla.view.access import new_token
    from vidla.view.application import application

    source = existing(Dataset(dataset, patient=False))
    token = new_token()
    listening = _listen(host, port)
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}/{token}/"
    typer.echo(f"{source.uri} is shown at {address} until Ctrl-C")
    served = application(source, token, [host], rater or getpass.getuser())
    config = uvicorn.Config(served, log_level="warning", server_header=False, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


def report(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="where the page is written")] = Path("report.html"),
    sample: Annotated[int, typer.Option("--sample", metavar="N", min=0, help="clips shown, drawn at random")] = 24,
    seed: Annotated[str, typer.Option("--seed", metavar="S", help="of the draw: the same draws the same")] = "1",
) -> None:
    """Write a dataset's overview, a sample of its clips and its rejects as one page that needs nothing else.

    Example: vidla report data/talks -o report.html
    """
    from vidla.view.report import report as page_of

    source = existing(Dataset(dataset, patient=False))
    out.write_text(page_of(source, sample, seed), encoding="utf-8")
    typer.echo(f"{out} has {out.stat().st_size / 1e6:,.1f} MB")


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another --host or --port"
        ) from None
