"""Reads a CLIP from where people have it: a folder or a file of transformers, open_clip or OpenAI, a cache, the hub.

Nothing in the files is run: they hold numbers, texts and tensors, or are refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from curation.errors import one_line
from model.network import open_clip_conversion as open_clip
from model.network import transformers_conversion as transformers
from model.network.architecture import ModelError
from model.network.clip_towers import ClipTowers
from model.network.hub import converted_weights, hub_folder, snapshot_in
from model.network.weight_files import read_weights, shards

CONFIGS = (transformers.CONFIG, transformers.IMAGES, open_clip.CONFIG)


def read_clip(source: str, revision: str | None = None) -> ClipTowers:
    """The CLIP at `source`: a folder, a file of weights, or a name on the Hugging Face hub.

    A folder is one of transformers (config.json) or of open_clip (open_clip_config.json), each with its weights, or a
    model's folder in a cache of the hub. A file is one that OpenAI published, or has its configuration beside it.
    Raises ModelError with a one-line message.
    """
    path = Path(source)
    if path.is_file():
        return _read_file(path)
    if path.is_dir():
        return _read_folder(snapshot_in(path, revision))
    return _read_folder(hub_folder(source, revision, CONFIGS, needed_files))


def needed_files(folder: Path, names: Collection[str]) -> list[str]:
    """The weights to read, of a model with the files `names`, whose configurations are in `folder`."""
    chosen = _weights(folder, names)
    if chosen is None:
        return []
    shard_names = shards(folder / chosen) if chosen.endswith(".index.json") and (folder / chosen).exists() else []
    return [chosen, *shard_names]


def _read_folder(folder: Path) -> ClipTowers:
    names = {path.name for path in folder.iterdir()}
    chosen = _weights(folder, names)
    if chosen is not None:
        return _read_file(folder / chosen, folder)
    kind = _model_type(folder)
    if kind not in ("clip", None):
        raise ModelError(
            f"it is a model of type {kind!r}: VidLA starts from a CLIPModel of transformers, with both towers and a "
            "class embedding"
        )
    if converted := converted_weights(folder, transformers.WEIGHTS[0]):
        return _read_file(converted, folder)
    if not names & {transformers.CONFIG, open_clip.CONFIG}:
        raise ModelError(
            f"it has neither a {transformers.CONFIG} nor an {open_clip.CONFIG}: name the folder or the file of a model"
        )
    raise ModelError(
        f"{folder} has no weights, such as {transformers.WEIGHTS[0]} or {open_clip.WEIGHTS[2]}: get them with `hf "
        "download` where there is a network"
    )


def _weights(folder: Path, names: Collection[str]) -> str | None:
    """The name of the weights to read: those of transformers if there are any, else those of open_clip."""
    kinds: list[str] = []
    if _model_type(folder) == "clip":
        kinds += transformers.WEIGHTS
    if open_clip.CONFIG in names:
        kinds += open_clip.WEIGHTS
    return next((name for name in kinds if name in names), None)


def _model_type(folder: Path) -> str | None:
    if not (folder / transformers.CONFIG).is_file():
        return None
    model_type = _read_json(folder / transformers.CONFIG).get("model_type")
    return None if model_type is None else str(model_type)


def _read_file(path: Path, configs: Path | None = None) -> ClipTowers:
    """The CLIP in a file of weights; its configuration is in the folder `configs`, else beside it."""
    folder = configs or path.parent
    state = read_weights(path)
    if open_clip.is_openai(state):
        return open_clip.from_openai(state)
    if open_clip.is_open_clip(state):
        return open_clip.from_open_clip(state, _open_clip_config(path, folder))
    if not (folder / transformers.CONFIG).is_file() or _model_type(folder) != "clip":
        raise ModelError(
            f"{path} is not a CLIP of OpenAI or open_clip, and has no {transformers.CONFIG} of a CLIPModel beside it"
        )
    images = folder / transformers.IMAGES
    preprocessing = _read_json(images) if images.is_file() else {}
    return transformers.from_transformers(state, _read_json(folder / transformers.CONFIG), preprocessing)


def _open_clip_config(path: Path, folder: Path) -> dict[str, Any]:
    config = folder / open_clip.CONFIG
    if not config.is_file():
        raise ModelError(
            f"{path} does not say its activation and its heads. With open_clip installed, write {config} (with your "
            "model's name; those of OpenAI's end in -quickgelu): python -c \"import json, open_clip; print(json.dumps("
            f"{{'model_cfg': open_clip.get_model_config('ViT-B-32')}}))\" > {config}"
        )
    return _read_json(config)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {one_line(error)}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object")
    return value
