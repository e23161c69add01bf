"""Secrets by type: what prints, records or pickles them shows nothing."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from typing import Any, get_args

import pytest

from curation.config import Operational, Section
from curation.download_settings import DownloadSettings
from curation.errors import ConfigError
from curation.secret import MASK, Secret
from curation.settings import EngineSettings, Settings, VllmSettings, resolve
from tests.support.secret_urls import CANARY

pytestmark = pytest.mark.hostile("secrets")
PROXY = f"http://me:{CANARY}@proxy.example:3128"


def shown(value: object) -> str:
    """Everything by which a value may end up in a file or on a screen."""
    return f"{value} {value!r} {[value]} %s %r" % (value, value)


def test_a_secret_shows_nothing() -> None:
    secret = Secret(CANARY)
    assert CANARY not in shown(secret) and secret.reveal() == CANARY
    assert secret == Secret(CANARY) != Secret("other") and len({secret, Secret(CANARY)}) == 1


def test_settings_show_none_of_theirs() -> None:
    settings = resolve(None, [f"download.proxy={PROXY}", f'captions.engine.base_urls=["{PROXY}"]'])
    for text in (shown(settings), str(settings.model_dump()), settings.model_dump_json(), str(settings.shown())):
        assert CANARY not in text
    assert settings.shown()["download"]["proxy"] == MASK
    assert settings.revealed()["download"]["proxy"] == PROXY
    assert type(settings).model_validate(settings.revealed()) == settings


def test_a_text_that_holds_a_secret_by_mistake_is_redacted_in_records() -> None:
    settings = resolve(None, [f"download.user_agent=vidla (https://me:{CANARY}@host.example)"])
    assert CANARY not in str(settings.shown())


@pytest.mark.parametrize(
    "assignment",
    [
        f"captions.engine.api_key_env=sk-{CANARY}",
        f'captions.engine.vllm.extra_args=["--hf-token", "{CANARY}"]',
        f'captions.engine.vllm.extra_args=["--hf-token={CANARY}"]',
        f"download.proxy=[{{'u' = '{CANARY}'}}]",
        f'summaries.engine.base_urls=["http://me:{CANARY}@a.example", 7]',
    ],
)
def test_a_refused_setting_is_not_quoted(assignment: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve(None, [assignment])
    assert CANARY not in str(raised.value) and "\n" not in str(raised.value)


def test_options_that_only_sound_like_secrets_are_passed_on() -> None:
    arguments = ("--max-num-batched-tokens", "4096", "--tokenizer", "other", "--skip-tokenizer-init")
    assert [argument.reveal() for argument in VllmSettings(extra_args=arguments).extra_args] == list(arguments)


def secrets_in(section: type[Section]) -> list[tuple[str, Any]]:
    """The secret fields of a section and of those in it."""
    found: list[tuple[str, Any]] = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += secrets_in(field.annotation)
        elif Secret in (field.annotation, *get_args(field.annotation)):
            found.append((name, field))
    return found


def test_a_secret_decides_no_digest() -> None:
    found = secrets_in(Settings)
    assert {name for name, _ in found} == {"proxy", "base_urls", "extra_args", "extractor_args"}
    assert all(Operational in field.metadata for _, field in found)
    engine = EngineSettings(kind="openai", model="m", base_urls=("http://a/v1",))
    assert engine.digest() == EngineSettings(kind="openai", model="m", base_urls=(PROXY,)).digest()
    assert DownloadSettings().digest() == DownloadSettings(proxy=PROXY).digest()


# --- pickles ----------------------------------------------------------------------------------------------------------

READ = """
import pickle, sys
from curation.secret import keys
key, data = bytes.fromhex(sys.argv[1]), bytes.fromhex(sys.argv[2])
settings = pickle.loads(data)
data = pickle.dumps(settings)  # passed on without the key
if key:
    keys.add(key)
print(pickle.loads(data).proxy.reveal())
"""


def read_elsewhere(key: bytes, data: bytes) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", READ, key.hex(), data.hex()], capture_output=True, text=True)


def test_a_pickle_is_read_with_its_key_alone() -> None:
    from curation.secret import keys

    data = pickle.dumps(DownloadSettings(proxy=PROXY))
    assert pickle.loads(data).proxy.reveal() == PROXY, "in this process"
    for form in (CANARY, base64.b64encode(PROXY.encode()).decode()[4:-4]):
        assert form.encode() not in data
    assert read_elsewhere(keys.own, data).stdout.strip() == PROXY
    without = read_elsewhere(b"", data)
    assert without.returncode != 0 and "the key to this job's secrets is gone" in without.stderr
