"""What the options of a run say about its output."""

from __future__ import annotations

import pytest

from curation.errors import UsageError
from tests.support.forked_command import ForkedCommand
from vidla.curate_commands import Shown


def test_options_become_an_output() -> None:
    output = Shown(quiet=True, verbose=False, log_format="json", metrics_port=9464).output()
    assert (output.quiet, output.verbose, output.events, output.metrics) == (True, False, True, "127.0.0.1:9464")
    assert Shown(quiet=False, verbose=True, log_format="text", metrics_port=None).output().metrics is None


@pytest.mark.parametrize(
    ("shown", "hint"),
    [
        (Shown(quiet=True, verbose=True, log_format="text", metrics_port=None), "leave out one"),
        (Shown(quiet=False, verbose=False, log_format="xml", metrics_port=None), "there are text, json"),
    ],
)
def test_options_that_contradict_are_misuse(shown: Shown, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        shown.output()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["curate", "segment", "retry"])
def test_every_run_has_these_options(forked_command: ForkedCommand, command: str) -> None:
    printed = forked_command.run("vidla", command, "--help").stdout
    assert not [option for option in ("-q", "-v", "--log-format", "--metrics-port") if option not in printed]
