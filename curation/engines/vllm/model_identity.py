"""The name of a model in rows, and its exact identity: a hub's commit or a digest of its files."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path

from curation.errors import EngineError
from curation.ids import digest
from curation.settings import EngineSettings

log = logging.getLogger(__name__)

UNRESOLVED = "unresolved"
HUB_TIMEOUT_S = 20.0
WHOLE_BYTES = 32 << 20
"""Larger files are identified by their size and by blocks of them."""
BLOCKS, BLOCK_BYTES = 64, 1 << 16


def model_path(settings: EngineSettings) -> Path | None:
    """The folder (or GGUF file) that the settings name; None for a model on a hub.

    Raises EngineError if they name a path that does not exist.
    """
    model = settings.model or ""
    path = Path(os.path.abspath(Path(model).expanduser()))  # noqa: PTH100 - a link keeps its own name
    if path.exists():
        return path
    if model.startswith((".", "~", os.sep)) or (model.count("/") > 1 and "://" not in model):
        raise EngineError(f"there is no folder {model}; an engine's model is a folder or the name of a model on a hub")
    return None


def model_name(settings: EngineSettings) -> str:
    """The model's name in rows: its name on the hub, or the last part of its folder's path."""
    path = model_path(settings)
    return path.name if path else settings.model or ""


def identity(settings: EngineSettings) -> str:
    """The part of a model's identity that enters digests. Uses no network: a branch on a hub counts by its name."""
    path = model_path(settings)
    thoughts = "+thoughts" if settings.thoughts else ""
    return f"{model_name(settings)}@{_content(path) if path else settings.revision or ''}{thoughts}"


def resolved_revision(settings: EngineSettings) -> str:
    """The current commit of a hub's model, or a folder's digest; UNRESOLVED, with a warning, if neither the hub nor its
    local cache knows it."""
    path = model_path(settings)
    if path:
        return _content(path)
    name, revision = settings.model or "", settings.revision
    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    try:
        return _commit(name, revision)
    except Exception as error:  # despite any trouble with the hub, a server may be able to load the model
        log.warning("the revision of %s cannot be resolved: %s", name, str(error).strip().partition("\n")[0])
        return UNRESOLVED


def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi, snapshot_download

    try:
        commit = HfApi().model_info(name, revision=revision, timeout=HUB_TIMEOUT_S).sha
        if commit:
            return commit
    except Exception as error:  # no network, or offline mode: the server will load from the cache
        log.info("the hub did not report the revision of %s: %s", name, str(error).strip().partition("\n")[0])
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True)).name
    except FileNotFoundError:
        cached = _cached_commits(name)
        if revision is None and len(cached) == 1:  # it was downloaded by its commit, which leaves no branch name
            return cached[0]
        raise


def _cached_commits(name: str) -> list[str]:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    snapshots = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "snapshots"
    return [folder.name for folder in snapshots.iterdir()] if snapshots.is_dir() else []


def _content(path: Path) -> str:
    """32 hex digits for the content of a model's files, wherever they are; documentation does not count."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and _counts(p, path))
    names = [file.name if file == path else file.relative_to(path).as_posix() for file in files]
    try:
        return digest(*([name, file.stat().st_size, _digest(file)] for name, file in zip(names, files, strict=True)))
    except OSError as error:
        raise EngineError(f"cannot read the model in {path}: {error.strerror}") from None


def _counts(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.suffix.lower() not in (".md", ".png", ".jpg", ".pdf")


def _digest(file: Path) -> str:
    """The digest of a file, or of blocks spread evenly over a large one: training changes weights everywhere."""
    size = file.stat().st_size
    with file.open("rb") as data:
        if size <= WHOLE_BYTES:
            return hashlib.file_digest(data, "blake2b").hexdigest()
        state = hashlib.blake2b()
        for block in range(BLOCKS):
            data.seek(block * (size - BLOCK_BYTES) // (BLOCKS - 1))
            state.update(data.read(BLOCK_BYTES))
        return state.hexdigest()
