"""Exports both towers of a VidLA for transformers: a CLIPModel with its tokenizer, its image processor and a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curation import __version__, clip_tokenizer
from curation.clip_tokenizer import END, START
from curation.errors import UsageError
from curation.local_models import from_transformers
from model.network.architecture import VideoConfig, VidLAConfig
from model.network.initial import check_vocabulary
from model.network.transformers_conversion import IMAGES, to_transformers
from model.network.vidla import VidLA
from model.settings import TrainSettings


def export_model(model: VidLA, settings: TrainSettings, directory: Path) -> None:
    """Write all files that transformers needs, and a card (README.md), into `directory`, which must be new or empty.

    Raises UsageError for another directory, and ModelError for a text tower with another vocabulary than CLIP's.
    """
    check_vocabulary(model, settings.model.weights)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty: name a new folder")
        to_clip(model, directory)
        write_tokenizer(model.config.text.context, directory)
        card = model_card(model.config, settings, directory.resolve().name)
        (directory / "README.md").write_text(card, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {directory}: {error.strerror or error}") from None


def to_clip(model: VidLA, directory: Path) -> None:
    """Write both towers as a CLIPModel (config.json, model.safetensors), and how it takes images."""
    config_class, model_class = from_transformers("CLIPConfig", "CLIPModel")
    state, sizes = to_transformers(model.state_dict(), model.config)
    clip = model_class(config_class(**sizes))
    clip.load_state_dict(state)
    clip.save_pretrained(directory)
    video = model.config.video
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "CLIPProcessor",
        "size": {"shortest_edge": video.image_size},
        "crop_size": {"height": video.image_size, "width": video.image_size},
        "image_mean": video.image_mean,
        "image_std": video.image_std,
    }
    _write_json(directory / IMAGES, processor)


def write_tokenizer(context: int, directory: Path) -> None:
    """Write CLIP's tokenizer for texts of up to `context` tokens, in the files that old and new transformers read."""
    (tokenizer_class,) = from_transformers("CLIPTokenizerFast")
    vocabulary, merges = clip_tokenizer.vocabulary(), list(clip_tokenizer.merges())
    marks = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    tokenizer_class(vocab=vocabulary, merges=merges, model_max_length=context, **marks).save_pretrained(directory)
    _write_json(directory / "vocab.json", vocabulary)
    _write_json(directory / "special_tokens_map.json", marks)
    lines = ["#version: 0.2", *map(" ".join, merges), ""]
    (directory / "merges.txt").write_text("\n".join(lines), encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# --- the card -------------------------------------------------------------------------------------------------------


def model_card(config: VidLAConfig, settings: TrainSettings, name: str) -> str:
    """README.md: what was trained, what the files compute, and how to use them."""
    video, text = config.video, config.text
    rows = {
        "image tower": f"{video.transformer.layers} layers of width {video.transformer.width}, "
        f"{video.image_size} pixels, patches of {video.patch_size}",
        "text tower": f"{text.transformer.layers} layers of width {text.transformer.width}, {text.context} tokens",
        "features": str(config.features),
        "attention over frames": _attention(video),
        "initial weights": _public_name(settings.model.weights),
        "preset": settings.preset,
        "clips per step": f"{settings.batch:,}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""\
---
library_name: transformers
pipeline_tag: zero-shot-image-classification
tags:
- clip
- vidla
- video-text-retrieval
---

# {name}

Both towers of a VidLA (a video encoder and a text tower, after arXiv 2403.14870), trained with vidla {__version__} and
exported as a CLIPModel of transformers.

| | |
|---|---|
{table}

```python
from transformers import CLIPModel, CLIPProcessor

model, processor = CLIPModel.from_pretrained("{name}"), CLIPProcessor.from_pretrained("{name}")
inputs = processor(text=["a dog runs", "a cat sleeps"], images=frames, return_tensors="pt", padding=True)
similarity = model(**inputs).logits_per_image.mean(0)  # of the frames of one clip
```

## What the towers compute

The text tower is exactly the trained one for the same token ids, and so is the temperature.

{_images(video)}

Token ids differ for some texts. In training they were cleaned as OpenAI's tokenizer cleans them, which that of
transformers does not: clean them before, by `html.unescape(html.unescape(ftfy.fix_text(text))).lower()` (curly quotes,
entities, ligatures; Σ at the end of a Greek word). Even so it takes {END} and {START} in a text
as marks, where training took them as text: take them out.

## Licence and data

Add the licence of the model here, which depends on the initial weights and on the videos that it was trained on.
"""


def _attention(video: VideoConfig) -> str:
    hierarchy = f", {video.levels} levels of {video.tokens} [MST] tokens" if video.levels else ""
    return f"{video.attention}, {video.frames} frames{hierarchy}"


def _images(video: VideoConfig) -> str:
    if video.attention == "frame":
        return "The video encoder's features are the mean, over the frames, of the image encoder's."
    return f"""\
The image encoder is **not** the video encoder (attention: {video.attention}, frames: {video.frames}). It lacks the
temporal embedding, the temporal attentions and the [MST] tokens, which transformers has not. The two are equal only for
a video of one frame, with that embedding and the output projections of those attentions zero, without [MST], and with
patches attending to [CLS]. Use it as an image encoder to train further; the video encoder itself runs in vidla, from
the checkpoint that this export was made of."""


def _public_name(weights: str) -> str:
    """A name on the hub as it is; of a path no more than its last part."""
    return weights if not Path(weights).exists() and weights.count("/") == 1 else Path(weights).name
