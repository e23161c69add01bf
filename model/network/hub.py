"""Finds the folder of a model on the Hugging Face hub: downloads it or, without a network, takes it from the cache."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from curation.errors import one_line
from model.network.architecture import ModelError

PREFIX = "hf-hub:"
"""Before a name in open_clip's commands."""
TIMEOUT_S = 10.0
"""For the hub's first answer, before the cache has to do."""


def hub_folder(
    name: str, revision: str | None, configs: Collection[str], choose: Callable[[Path, Collection[str]], list[str]]
) -> Path:
    """Download the `configs` of the model `name`, and the files that `choose` names when it is given the folder with
    the configurations and the names of all files. Without the network: the cached folder, complete or not.

    Raises ModelError with a one-line message.
    """
    name = name.removeprefix(PREFIX)
    try:
        return _download(name, revision, configs, choose)
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises its own errors, those of HTTP, and those of names
        folder = _cached(name, revision, configs)
        if folder is None:
            raise ModelError(
                "there is no such file or directory, and it cannot be had from the Hugging Face hub: "
                f"{one_line(error, 200)}"
            ) from None
        return folder


def _download(
    name: str, revision: str | None, configs: Collection[str], choose: Callable[[Path, Collection[str]], list[str]]
) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    siblings = HfApi().model_info(name, revision=revision, timeout=TIMEOUT_S).siblings or []
    files = [sibling.rfilename for sibling in siblings]
    folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(configs)))
    for _ in range(2):  # an index names further files
        if missing := [file for file in choose(folder, files) if not (folder / file).exists()]:
            snapshot_download(name, revision=revision, allow_patterns=missing)
    return folder


def _cached(name: str, revision: str | None, configs: Collection[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        paths = [try_to_load_from_cache(name, config, revision=revision) for config in configs]
    except HFValidationError:  # no name of a model
        return None
    return next((Path(path).parent for path in paths if isinstance(path, str)), None)


def snapshot_in(folder: Path, revision: str | None) -> Path:
    """The model's own folder, if `folder` is its folder in a cache (models--NAME, with snapshots); else `folder`."""
    if not (folder / "snapshots").is_dir():
        return folder
    ref = folder / "refs" / (revision or "main")
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision or ""
    snapshot = folder / "snapshots" / commit
    if not commit or not snapshot.is_dir():
        raise ModelError(f"the cache has no revision {revision or 'main'}: set model.revision to one of its snapshots")
    return snapshot


def converted_weights(snapshot: Path, name: str) -> Path | None:
    """The file `name` that a cache has from a pull request of the model, beside the `snapshot` of its main branch.

    The hub converts weights to safetensors in such pull requests, and transformers takes them from there.
    """
    for ref in sorted((snapshot.parent.parent / "refs" / "refs" / "pr").glob("*")):
        path = snapshot.parent / ref.read_text(encoding="utf-8").strip() / name
        if path.is_file():
            return path
    return None
