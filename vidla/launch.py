"""`vidla-launch`: `vidla curate` as a flex template's launcher starts it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from curation.errors import UsageError
from vidla import cli
from vidla.template import command_line


def main() -> None:
    """Run `vidla curate` for this launch; exit status as ever."""
    with tempfile.TemporaryDirectory(prefix="vidla-launch-") as folder:
        try:
            sys.argv[1:] = command_line(sys.argv[1:], Path(folder))
        except UsageError as error:
            cli.fail(error, error.exit_status)
        cli.main()
