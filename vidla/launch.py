"""`vidla-launch`: runs `vidla curate` with the parameters of a flex template."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from curation.errors import UsageError
from vidla import cli
from vidla.template import command_line


def main() -> None:
    """Run `vidla curate` for this launch, with the same exit status as `vidla`."""
    cli.leave(_run())


def _run() -> int:
    with tempfile.TemporaryDirectory(prefix="vidla-launch-") as folder:
        try:
            sys.argv[1:] = command_line(sys.argv[1:], Path(folder))
        except UsageError as error:
            return cli.fail(error, error.exit_status)
        return cli.run()
