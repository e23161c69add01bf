"""Where a run says what it does: results on standard output, the rest on standard error; or events, as JSON lines."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

import typer

from curation.errors import VidlaError
from curation.uris import redact


@dataclass
class RunOutput:
    """`quiet`: errors alone are printed; `verbose`: what is logged is printed too. With `events`, standard output has
    those alone, one JSON object in a line, and what would be there otherwise is on standard error. `metrics` is the
    address that metrics can be read from, instead of the one in the settings."""

    quiet: bool = False
    verbose: bool = False
    events: bool = False
    metrics: str | None = None
    run_id: str | None = field(default=None, init=False)
    _file: TextIO | None = field(default=None, init=False)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Within this context, events are written, the last one too if the run fails."""
        if not self.events:
            yield
            return
        self._file = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            try:
                yield
            except VidlaError as error:
                self.event("run_ended", status=error.exit_status, error=redact(str(error)), books=[], rejects=[])
                raise

    def say(self, line: str) -> None:
        """Print a result."""
        if not self.quiet:
            typer.echo(line)

    def note(self, line: str) -> None:
        """Print what is good to know while the run goes on."""
        if not self.quiet:
            typer.echo(line, err=True)

    def event(self, name: str, **fields: Any) -> None:
        """Write an event, with its time and the run that it belongs to."""
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"event": name, "time": now, "run_id": self.run_id, **fields}, ensure_ascii=False)
        with contextlib.suppress(BrokenPipeError):  # nobody reads on; the run does not end for that
            self._file.write(text + "\n")
            self._file.flush()
