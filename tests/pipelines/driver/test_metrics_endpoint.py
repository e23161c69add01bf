"""The load of the model servers as metrics: what a scaler reads, while a run goes on and not after it."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from curation.engines.load import load
from curation.errors import UsageError
from pipelines.driver.metrics_endpoint import metrics_at
from tests.support.watching import free_port


def read(address: str, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return str(answer.read().decode())


def test_pending_requests_are_read_over_http_while_a_run_lasts() -> None:
    address = f"127.0.0.1:{free_port()}"
    with metrics_at(address):
        load.asked(7)
        try:
            assert "\nvidla_requests_pending 7\n" in read(address)
        finally:
            load.asked(-7)
        assert "# TYPE vidla_requests_pending gauge" in read(address)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(address, "/")
        with pytest.raises(UsageError, match=rf"run\.metrics: cannot listen at {address}"), metrics_at(address):
            pass
    with pytest.raises(urllib.error.URLError):
        read(address)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no.such.host.invalid:80", "nonsense"])
def test_an_address_that_cannot_be_is_told_in_a_line(address: str) -> None:
    with pytest.raises(UsageError, match=r"run\.metrics: cannot listen at"), metrics_at(address):
        pass
