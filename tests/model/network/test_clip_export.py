"""What `vidla export-model` writes is what transformers loads: both towers, the tokenizer, a card."""

from __future__ import annotations

import html
import sys
from pathlib import Path

import ftfy
import pytest
import torch
from transformers import AutoTokenizer, CLIPModel, CLIPProcessor

from curation.clip_tokenizer import END, START, clean, encode
from model.data.loader import tokenize
from model.network.clip_conversion import from_clip
from model.network.vidla import VidLA
from model.settings import ModelSettings
from tests.support.small_clip import small_clip
from tests.support.small_training import training_clip
from vidla.cli import run as run_vidla

TEXTS = ["a dog", "A man's hat, in the Rain!", "naïve café 123", "a dog that is long " * 9, "日本語", "😀 ok"]


def export(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["vidla", "export-model", *map(str, arguments)])
    return run_vidla()


@pytest.fixture
def trained(tmp_path: Path) -> VidLA:
    """A model that differs from the CLIP that it began as, saved in `tmp_path`/model."""
    settings = ModelSettings(weights=str(training_clip(tmp_path / "clip")), attention="frame", frames=3)
    model = from_clip(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save(tmp_path / "model")
    return model


def test_transformers_computes_what_the_trained_model_does(
    trained: VidLA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exports" / "clip"
    assert export(monkeypatch, tmp_path / "model", out) == 0
    assert f"both towers are in {out}" in capsys.readouterr().out
    clip, processor = CLIPModel.from_pretrained(out), CLIPProcessor.from_pretrained(out)
    context = trained.config.text.context
    inputs = processor(text=TEXTS, return_tensors="pt", padding="max_length", truncation=True)
    assert inputs.input_ids.shape == (len(TEXTS), context)
    assert torch.equal(inputs.input_ids, tokenize(TEXTS, context))
    assert len({tuple(row) for row in inputs.input_ids.tolist()}) == len(TEXTS)
    shorter = processor(text=TEXTS, return_tensors="pt", padding=True, truncation=True)
    images = processor(images=[torch.randint(256, (3, 40, 50), dtype=torch.uint8)], return_tensors="pt")
    with torch.no_grad():
        wanted = trained.encode_text(tokenize(TEXTS, context))
        for tokens in (inputs, shorter):
            assert (clip.get_text_features(**tokens).pooler_output - wanted).abs().max() <= 1e-5
        of_frame = clip.get_image_features(**images).pooler_output
        assert (
            trained.encode_video(images.pixel_values[:, None].expand(-1, 3, -1, -1, -1)) - of_frame
        ).abs().max() <= 1e-5
    assert clip.logit_scale == trained.logit_scale


def test_the_tokenizer_is_that_of_clip(trained: VidLA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export(monkeypatch, tmp_path / "model", tmp_path / "out") == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("hello world!").input_ids == [49406, 3306, 1002, 256, 49407]
    assert tokenizer(clean("It’s &amp; “so”")).input_ids == encode("It’s &amp; “so”")
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (49406, 49407, 49407)
    assert tokenizer.model_max_length == trained.config.text.context
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (tmp_path / "out" / name).is_file()
    assert tokenizer.decode([320, 1929]) == "a dog"


def test_the_card_says_for_which_texts_the_tokens_differ(
    trained: VidLA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(monkeypatch, tmp_path / "model", tmp_path / "out") == 0
    tokenizer, card = AutoTokenizer.from_pretrained(tmp_path / "out"), (tmp_path / "out" / "README.md").read_text()
    assert "html.unescape(html.unescape(ftfy.fix_text(text))).lower()" in card
    for text in ("İstanbul ΣΑΣ", "ΟΔΟΣ, Σ", "It’s &amp;amp; “so”", "ﬁne", *TEXTS):
        cleaned = html.unescape(html.unescape(ftfy.fix_text(text))).lower()
        assert tokenizer(cleaned).input_ids == encode(text)
    assert tokenizer("ΣΑΣ").input_ids != encode("ΣΑΣ") and "Σ at the end" in card
    for mark in (START, END):
        assert tokenizer(f"a {mark} dog").input_ids != encode(f"a {mark} dog") and mark in card


@pytest.mark.parametrize("attention", ["frame", "hta"])
def test_the_card_says_what_the_image_encoder_is(
    tmp_path: Path, attention: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ModelSettings(weights=str(training_clip(tmp_path / "clip")), attention=attention)  # type: ignore[arg-type]
    from_clip(settings).save(tmp_path / "model")
    assert export(monkeypatch, tmp_path / "model", tmp_path / "out") == 0
    card, said = (tmp_path / "out" / "README.md").read_text(), capsys.readouterr().out
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert ("**not** the video encoder" in card) == ("is not the video encoder" in said) == (attention == "hta")
    assert str(tmp_path) not in card
    assert "| initial weights | model |" in card and f"| attention over frames | {attention}, 12 frames" in card


def test_an_export_is_refused_in_a_line(
    trained: VidLA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(monkeypatch, tmp_path / "model", tmp_path / "model") == 2
    assert f"{tmp_path / 'model'} is not empty: name a new folder" in capsys.readouterr().err
    assert export(monkeypatch, tmp_path / "model", tmp_path / "model" / "config.json") == 2
    assert "cannot write" in capsys.readouterr().err
    small = small_clip(tmp_path / "small")
    assert export(monkeypatch, small, tmp_path / "out") == 2
    assert "texts are tokenized with CLIP's vocabulary of 49408 tokens" in capsys.readouterr().err
    assert export(monkeypatch, tmp_path, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it has neither a config.json nor an open_clip_config.json" in line


def test_an_export_is_a_clip_to_start_from(trained: VidLA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export(monkeypatch, tmp_path / "model", tmp_path / "out") == 0
    again = from_clip(ModelSettings(weights=str(tmp_path / "out"), attention="frame", frames=3))
    assert again.config == trained.config
    pairs = zip(again.state_dict().items(), trained.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for (name, ours), theirs in pairs)
