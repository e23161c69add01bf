"""What a model is called in rows, and which one exactly it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curation.engines.vllm.model_identity import WHOLE_BYTES, identity, model_name, resolved_revision
from curation.errors import EngineError
from curation.settings import EngineSettings

COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "89abcdef" * 5


def served(model: Path | str, revision: str | None = None) -> EngineSettings:
    return EngineSettings(kind="vllm", model=str(model), revision=revision)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as transformers saves a model in."""
    folder = tmp_path / "models" / "captioner-7b"
    (folder / "adapter").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(bytes(1000))
    (folder / "adapter" / "weights.bin").write_bytes(b"adapter")
    return folder


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_is_called_by_its_name_and_told_by_its_content(model: Path) -> None:
    assert model_name(served(model)) == "captioner-7b"
    name, _, digest = identity(served(model)).partition("@")
    assert name == "captioner-7b"
    assert resolved_revision(served(model)) == digest
    assert len(digest) == 32
    assert str(model.parent) not in identity(served(model))


def test_a_folder_that_has_moved_is_the_same_model(model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "another disk" / model.name
    before = identity(served(model))
    shutil.move(model, moved)
    assert identity(served(moved)) == before


def test_the_folder_may_be_named_from_here_and_from_home(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model)
    monkeypatch.setenv("HOME", str(model.parent))
    here = {identity(served(name)) for name in (model, ".", "../captioner-7b/", "~/captioner-7b")}
    assert len(here) == 1


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors", "adapter/weights.bin", "tokenizer.json"])
def test_another_file_is_another_model(model: Path, changed: str) -> None:
    before = identity(served(model))
    file = model / changed
    content = file.read_bytes() if file.exists() else b""
    file.write_bytes(bytes([1]) + content[1:])
    assert identity(served(model)) != before


def test_files_that_change_their_names_make_another_model(model: Path) -> None:
    before = identity(served(model))
    (model / "model.safetensors").rename(model / "other.safetensors")
    assert identity(served(model)) != before


@pytest.mark.parametrize("beside", ["README.md", ".git/index", ".cache/huggingface/download.lock"])
def test_what_is_only_read_by_people_does_not_count(model: Path, beside: str) -> None:
    before = identity(served(model))
    (model / beside).parent.mkdir(parents=True, exist_ok=True)
    (model / beside).write_text("anything")
    assert identity(served(model)) == before


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_large_weights_that_are_trained_further(model: Path, share: float) -> None:
    weights, size = model / "model.safetensors", 2 * WHOLE_BYTES
    with weights.open("wb") as file:
        file.truncate(size)
    before = identity(served(model))
    with weights.open("r+b") as file:  # one layer in some dozens
        file.seek(int(share * (size - size // 30)))
        file.write(b"\1" * (size // 30))
    assert identity(served(model)) != before
    with weights.open("wb") as file:
        file.truncate(size + 1)
    assert identity(served(model)) != before


def test_a_cache_of_links_is_its_files(model: Path, tmp_path: Path) -> None:
    linked = tmp_path / "links" / model.name
    for file in filter(Path.is_file, model.rglob("*")):
        link = linked / file.relative_to(model)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    assert identity(served(linked)) == identity(served(model))


def test_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    file = tmp_path / "small.Q4_1.gguf"
    file.write_bytes(b"GGUF")
    assert identity(served(file)).startswith("small.Q4_1.gguf@")


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "~/nothing", "my/models/nothing"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(EngineError, match=r"^there is no folder [^\n]*$"):
        identity(served(name))


# --- hubs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["org/name", "name", "s3://bucket/models/name"])
def test_a_hub_model_counts_by_its_name_and_the_revision_asked_for(name: str) -> None:
    assert model_name(served(name)) == name
    assert identity(served(name)) == f"{name}@"
    assert identity(served(name, "v2")) == f"{name}@v2"


def test_a_commit_is_resolved_already() -> None:
    assert resolved_revision(served("org/name", COMMIT)) == COMMIT


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """A cache as huggingface_hub lays it out: two commits of org/name, at v2 and main; org/pinned was fetched by its
    commit alone."""
    named = ("org--name", {"main": COMMIT, "v2": OTHER}, [COMMIT, OTHER])
    for name, refs, commits in (named, ("org--pinned", {}, [OTHER])):
        folder = tmp_path / "hub" / f"models--{name}"
        (folder / "blobs").mkdir(parents=True)
        (folder / "blobs" / "b10b").write_text("{}")
        (folder / "refs").mkdir()
        for ref, commit in refs.items():
            (folder / "refs" / ref).write_text(commit)
        for commit in commits:
            (folder / "snapshots" / commit).mkdir(parents=True)
            (folder / "snapshots" / commit / "config.json").symlink_to("../../blobs/b10b")
    return tmp_path


def resolved_in(hf_home: Path, model: str, revision: str | None, **environment: str) -> tuple[str, str]:
    """The revision and what is logged, in a process of its own: huggingface_hub reads its environment once."""
    code = """if True:
        import logging, sys
        logging.basicConfig(level=logging.WARNING)
        from curation.settings import EngineSettings
        from curation.engines.vllm.model_identity import resolved_revision
        settings = EngineSettings(kind="vllm", model=sys.argv[1], revision=sys.argv[2] or None)
        sys.stdout.write(resolved_revision(settings))
    """
    ours = {"HF_HOME": str(hf_home), **environment}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    run = subprocess.run(
        [sys.executable, "-c", code, model, revision or ""],
        capture_output=True,
        text=True,
        timeout=360,
        check=True,
        env=kept | ours,
    )
    return run.stdout, run.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "revision", "commit"),
    [
        ("org/name", None, COMMIT),
        ("org/name", "main", COMMIT),
        ("org/name", "v2", OTHER),
        ("org/pinned", None, OTHER),
        ("org/pinned", "v2", "unresolved"),
        ("org/name", "v3", "unresolved"),
        ("org/other", None, "unresolved"),
        ("no name at all!", None, "unresolved"),
    ],
)
def test_without_a_network_the_cache_tells(hub_cache: Path, model: str, revision: str | None, commit: str) -> None:
    resolved, logged = resolved_in(hub_cache, model, revision, HF_HUB_OFFLINE="1")
    assert resolved == commit
    assert bool(logged) == (commit == "unresolved")
    assert len(logged.splitlines()) <= 1


class Hub(BaseHTTPRequestHandler):
    """A stand-in for a hub: it knows one revision of one model."""

    def do_GET(self) -> None:
        known = self.path.partition("?")[0] == "/api/models/org/name/revision/v2"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"id": "org/name", "sha": "f" * 40} if known else {}).encode())


@pytest.mark.slow
def test_a_hub_is_asked_for_what_the_revision_is_now(hub_cache: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{hub.server_port}"
        assert resolved_in(hub_cache, "org/name", "v2", HF_ENDPOINT=endpoint) == ("f" * 40, "")
        assert resolved_in(hub_cache, "org/name", "main", HF_ENDPOINT=endpoint) == (COMMIT, "")
        hub.shutdown()
