"""The odds that a sentence ends after each word, by a language model or a token-classification model."""

from __future__ import annotations

import functools
import itertools
import re
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from curation.errors import ConfigError
from curation.local_models import from_transformers, load_torch, smollm2

STYLE = "Hello, everyone. This is a talk. It is written down here.\n\n"  # this prefix shows the model how to write
CONTEXT = 60  # preceding words that the model sees, split into the sentences found so far
STEP = 20  # words that are judged together; the model does not yet see the ends among them
AHEAD = 2  # words after a possible end that are judged with it
LONGEST_WORD = 40  # characters of a word that a model sees
MOST_TOKENS = 16  # of a word; their number bounds the memory that a model needs
HOPELESS = -6.0  # below this log-probability of a full stop, the place is not examined further

_lock = threading.Lock()  # the models are shared by all threads of a worker


def log_odds(words: Sequence[str]) -> np.ndarray:
    """Log-odds of a sentence end after each English word but the last, in nats, by SmolLM2-135M.

    For each place the model compares ". Next words" with " next words" and ", next words" (`_compare`). It sees the
    preceding text split into the sentences found so far, so a word's odds depend on the text before it and on AHEAD
    words after it.
    """
    words = [re.sub(r"^i(?=$|')", "I", word[:LONGEST_WORD]) for word in words]
    odds = np.zeros(max(0, len(words) - 1))
    ends: set[int] = set()  # indices of the words that end a sentence
    for first in range(0, len(odds), STEP):
        last = min(len(odds), first + STEP)
        with _lock:  # between two steps, other videos get their turn
            odds[first:last] = _compare(words, ends, first, last)
        ends.update(i for i in range(first, last) if odds[i] > 0)
    return odds


def _compare(words: Sequence[str], ends: set[int], first: int, last: int) -> np.ndarray:
    """Log-odds for the places after words `first` to `last` - 1.

    The unpunctuated words are the trunk, read once. Where the model considers a full stop possible at all, two branches
    leave it: ". Next words" and ", next words". All branches are read together in a second pass. A branch attends to
    the trunk up to its root and to itself, and its positions continue from the root, as if it were alone:

        trunk     the  tram  leaves  at   nine  we   wait
        branch                                . We   wait
        branch                                , we   wait
    """
    torch = load_torch()
    tokenizer, model = smollm2()
    encode = functools.partial(_encode, tokenizer)
    lowest, highest = max(0, first - CONTEXT), min(len(words), last + AHEAD)
    stops, comma = [encode(mark)[0] for mark in ".?!"], encode(",")[0]

    trunk = list(tokenizer(STYLE, add_special_tokens=False)["input_ids"])
    tips: dict[int, int] = {}  # index in the trunk of each word's last token
    for i in range(lowest, highest):
        begins = i == lowest or i - 1 in ends
        trunk += encode(("" if i == lowest else " ") + (_capital(words[i]) if begins else words[i]))
        tips[i] = len(trunk) - 1
        if i in ends:
            trunk.append(stops[0])
    with torch.inference_mode():
        read = model.model(input_ids=torch.tensor([trunk]), use_cache=True)
        rows = torch.log_softmax(model.lm_head(read.last_hidden_state[0, tips[first] :]), dim=-1).numpy()
    log_probs = dict(zip(range(tips[first], len(trunk)), rows, strict=True))  # by index in the trunk

    odds = np.full(last - first, HOPELESS)
    places = [i for i in range(first, last) if np.logaddexp.reduce(log_probs[tips[i]][stops]) > HOPELESS]
    branches: list[tuple[int, list[int]]] = []  # index in the trunk of its root, and its tokens
    for i in places:
        following, rest = words[i + 1], [t for w in words[i + 2 : i + 1 + AHEAD] for t in encode(" " + w)]
        branches.append((tips[i], [stops[0], *encode(" " + _capital(following)), *rest]))
        branches.append((tips[i], [comma, *encode(" " + following), *rest]))
    tails = _tails(model, read.past_key_values, len(trunk), branches) if branches else []
    for n, i in enumerate(places):
        here = log_probs[tips[i]]
        until = tips[min(i + AHEAD, highest - 1)]
        plain = sum(log_probs[j - 1][trunk[j]] for j in range(tips[i] + 1, until + 1))
        ending = np.logaddexp.reduce(here[stops]) + tails[2 * n]
        odds[i - first] = ending - np.logaddexp(plain, here[comma] + tails[2 * n + 1])
    return odds


def _tails(model: Any, cache: Any, trunk: int, branches: Sequence[tuple[int, list[int]]]) -> list[float]:
    """The log-probability of each branch, given its first token."""
    torch = load_torch()
    tokens = [t for _, branch in branches for t in branch]
    roots = np.repeat([root for root, _ in branches], [len(branch) for _, branch in branches])
    owners = np.repeat(np.arange(len(branches)), [len(branch) for _, branch in branches])
    steps = np.concatenate([np.arange(len(branch)) for _, branch in branches])
    index = np.arange(len(tokens))
    sees_trunk = np.arange(trunk) <= roots[:, None]
    sees_branch = (owners[:, None] == owners) & (index[:, None] >= index)
    visible = torch.from_numpy(np.hstack([sees_trunk, sees_branch]))  # (tokens, trunk + tokens)
    with torch.inference_mode():
        hidden = model.model(
            input_ids=torch.tensor([tokens]),
            attention_mask=torch.where(visible, 0.0, torch.finfo(torch.float32).min)[None, None],
            position_ids=torch.from_numpy(roots + 1 + steps)[None],
            past_key_values=cache,
        ).last_hidden_state[0]
        log_probs = torch.log_softmax(model.lm_head(hidden[:-1]), dim=-1)
        chances = log_probs[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].numpy()
    inside = owners[1:] == owners[:-1]  # not from the last token of a branch to the first of the next
    return [float(t) for t in np.bincount(owners[1:], chances * inside, len(branches))]


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


@functools.lru_cache(maxsize=50_000)
def _encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"][:MOST_TOKENS])


# --- a token-classification model -----------------------------------------------------------------------------------

_END_LABEL = re.compile(r"[.?!。]|period|question|exclam|full_?stop", re.IGNORECASE)
WINDOW = 200  # words judged together by a token-classification model
MARGIN = 40  # further words on either side that it sees


def classified_log_odds(words: Sequence[str], name: str) -> np.ndarray:
    """Log-odds of a sentence end after each word but the last, by the token-classification model `name` (folder or hub
    name).

    Labels with a full stop, a question mark or an exclamation mark, or named after one, count as ends. Raises
    ConfigError.
    """
    torch = load_torch()
    with _lock:
        tokenizer, model, ends = _classifier(name)
    odds = np.zeros(max(0, len(words) - 1))
    for first in range(0, len(odds), WINDOW):
        lowest, last = max(0, first - MARGIN), min(len(odds), first + WINDOW)
        shown = [word[:LONGEST_WORD] for word in words[lowest : last + MARGIN]]
        with _lock:
            encoded = tokenizer(shown, is_split_into_words=True, return_tensors="pt", truncation=True)
            with torch.inference_mode():
                chances = torch.softmax(model(**encoded).logits[0].float(), dim=-1)[:, ends].sum(-1).numpy()
        for token, word in enumerate(encoded.word_ids()):  # the last token of a word decides
            if word is not None and first <= lowest + word < last:
                chance = float(np.clip(chances[token], 1e-6, 1 - 1e-6))
                odds[lowest + word] = np.log(chance / (1 - chance))
    return odds


@functools.cache
def _classifier(name: str) -> tuple[Any, Any, list[int]]:
    tokenizers, models = from_transformers("AutoTokenizer", "AutoModelForTokenClassification")
    try:
        tokenizer = tokenizers.from_pretrained(name)
        model = models.from_pretrained(name, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"subtitles.sentence_model: '{name}' cannot be loaded: {str(error).splitlines()[0]}"
        ) from None
    ends = [int(i) for i, label in model.config.id2label.items() if _END_LABEL.search(str(label))]
    if not ends or not tokenizer.is_fast:
        labels = ", ".join(itertools.islice(map(str, model.config.id2label.values()), 12))
        raise ConfigError(f"subtitles.sentence_model: '{name}' has no label for a sentence end among: {labels}")
    return tokenizer, model, ends
