"""A CLIP is read from where people have it: transformers, open_clip, OpenAI, with or without safetensors, a cache.

`open_clip_small.safetensors` is a model of random weights that open_clip_torch 3.3.0 made and saved, with the features
that it gave for some images and texts, in float64.
"""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel

from model.network.architecture import ModelError
from model.network.clip_conversion import ClipError, from_clip
from model.network.clip_reading import read_clip
from model.network.weight_files import read_weights
from model.settings import ModelSettings
from tests.support.small_clip import small_clip

OPEN_CLIP = Path(__file__).parents[2] / "support" / "open_clip_small.safetensors"


def settings(source: Path | str, **changes: Any) -> ModelSettings:
    return ModelSettings(weights=str(source), **{"frames": 1, "levels": 0} | changes)


# --- open_clip ------------------------------------------------------------------------------------------------------


def open_clip_parts() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    """Parameters, expected features, configuration."""
    tensors = load_file(OPEN_CLIP)
    with safe_open(OPEN_CLIP, "pt") as file:
        config = json.loads(file.metadata()["config"])
    expected = {n.removeprefix("expected."): tensors.pop(n) for n in list(tensors) if n.startswith("expected.")}
    return tensors, expected, config


def assert_features(source: Path, expected: dict[str, torch.Tensor]) -> None:
    model = from_clip(settings(source)).double()
    with torch.no_grad():
        images = model.encode_video(expected["images"].double().unsqueeze(1))
        texts = model.encode_text(expected["texts"].long())
    assert (images - expected["image_features"]).abs().max() <= 1e-13
    assert (texts - expected["text_features"]).abs().max() <= 1e-13
    assert model.logit_scale.item() == 3.5
    assert model.config.video.image_mean == (0.4, 0.5, 0.6)


def as_safetensors(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


def as_bin(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    return folder


def as_checkpoint(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    state = {f"module.{name}": tensor for name, tensor in state.items()}
    optimizer = {"state": {}, "param_groups": [{"lr": 5e-4, "betas": (0.9, 0.98)}]}
    torch.save({"epoch": 32, "name": "run", "state_dict": state, "optimizer": optimizer}, folder / "epoch_32.pt")
    return folder / "epoch_32.pt"


def as_custom_text(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    here = {n if n.startswith(("visual.", "logit_scale")) else f"text.{n}": t for n, t in state.items()}
    here["logit_scale"] = here["logit_scale"].reshape(1)
    return as_safetensors(folder, here)


@pytest.mark.parametrize("write", [as_safetensors, as_bin, as_checkpoint, as_custom_text])
def test_a_clip_of_open_clip_gives_what_open_clip_gave(tmp_path: Path, write: Callable[..., Path]) -> None:
    state, expected, config = open_clip_parts()
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert_features(write(tmp_path, state), expected)


def test_a_checkpoint_without_its_configuration_says_how_to_write_that(tmp_path: Path) -> None:
    state, _, config = open_clip_parts()
    checkpoint = as_checkpoint(tmp_path, state)
    with pytest.raises(ClipError, match=r"does not say its activation.*get_model_config\('ViT-B-32'\)") as error:
        from_clip(settings(checkpoint))
    assert "\n" not in str(error.value)
    config.pop("preprocess_cfg")  # what the command in the message writes
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    assert read_clip(str(checkpoint)).image_mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


OTHER_MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "another activation": ({"quick_gelu": True}, ""),
    "a timm tower": ({"vision_cfg": {"timm_model_name": "convnext_base"}}, "timm_model_name = 'convnext_base'"),
    "a tower of transformers": ({"text_cfg": {"hf_model_name": "roberta-base"}}, "hf_model_name = 'roberta-base'"),
    "layer scale": ({"vision_cfg": {"ls_init_value": 0.1}}, "ls_init_value = 0.1"),
    "mean pooling": ({"vision_cfg": {"pool_type": "avg"}}, "pool_type = 'avg'"),
    "other cleaning": ({"text_cfg": {"tokenizer_kwargs": {"clean": "canonicalize"}}}, "tokenizer_kwargs"),
    "siglip": ({"init_logit_bias": -10}, "SigLIP or CoCa"),
    "more layers": ({"vision_cfg": {"layers": 3}}, "visual.transformer.resblocks.2.ln_1.weight is missing"),
    "fewer layers": (
        {"vision_cfg": {"layers": 1}},
        "does not account for: visual.transformer.resblocks.1.attn.in_proj_bias and 11 more",
    ),
    "another size": ({"vision_cfg": {"image_size": 24}}, "its position embedding is (5, 16), not (10, 16)"),
    "another width": ({"vision_cfg": {"mlp_ratio": 4}}, "video.layers.0.mlp.fc1.weight is (48, 16), not (64, 16)"),
    "no sizes": ({"vision_cfg": None}, "is not open_clip's"),
    "heads": ({"vision_cfg": {"head_width": 0}}, "is not open_clip's"),
}


@pytest.mark.parametrize("case", OTHER_MODELS)
def test_what_open_clip_varies_is_refused_or_changes_the_features(tmp_path: Path, case: str) -> None:
    state, expected, config = open_clip_parts()
    changes, message = OTHER_MODELS[case]
    for key, value in changes.items():
        config["model_cfg"][key] = {**config["model_cfg"][key], **value} if isinstance(value, dict) else value
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    as_safetensors(tmp_path, state)
    if not message:
        with pytest.raises(AssertionError):
            assert_features(tmp_path, expected)
        return
    with pytest.raises(ClipError) as error:
        from_clip(settings(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", [None, 0, -1, "x", [16, 16], {}, 10**9, 10**30, float("inf"), float("nan")], ids=repr)
def test_a_wrong_size_of_open_clip_is_refused_in_one_line_before_it_is_made(tmp_path: Path, value: object) -> None:
    state, _, config = open_clip_parts()
    as_safetensors(tmp_path, state)
    sizes = ("layers", "width", "heads", "head_width", "mlp_ratio", "patch_size", "image_size", "context_length")
    for section in ("vision_cfg", "text_cfg", None):
        for key in ("embed_dim",) if section is None else (*sizes, "vocab_size"):
            own = config["model_cfg"] if section is None else config["model_cfg"][section]
            if key not in own or own[key] == value:
                continue
            changed = json.loads(json.dumps(config))
            (changed["model_cfg"] if section is None else changed["model_cfg"][section])[key] = value
            (tmp_path / "open_clip_config.json").write_text(json.dumps(changed))
            with pytest.raises(ClipError) as error:
                from_clip(settings(tmp_path))
            assert "\n" not in str(error.value), (section, key)


# --- transformers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return small_clip(tmp_path / "clip")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def sharded(folder: Path) -> None:
    model = CLIPModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1


def pickled_shards(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, files = sorted(state), ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    for number, file in enumerate(files):
        torch.save({name: state[name] for name in names[number::2]}, folder / file)
    index = {"metadata": {}, "weight_map": {name: files[i % 2] for i, name in enumerate(names)}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("change", [pickled, sharded, pickled_shards])
def test_weights_are_the_same_in_every_form(clip: Path, change: Callable[[Path], None]) -> None:
    whole = read_clip(str(clip)).state
    change(clip)
    again = read_clip(str(clip)).state
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_file_has_its_configuration_beside_it(clip: Path, tmp_path: Path) -> None:
    assert read_clip(str(clip / "model.safetensors")).features == 24
    alone = shutil.copy(clip / "model.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(ModelError, match=r"has no config\.json of a CLIPModel beside it"):
        read_clip(str(alone))


def test_an_index_names_files_of_its_own_folder_alone(clip: Path) -> None:
    pickled_shards(clip)
    index = clip / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"logit_scale": "../elsewhere.bin"}}))
    with pytest.raises(ModelError, match="it refers to files elsewhere"):
        read_clip(str(clip))


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_something_is_refused(clip: Path, tmp_path: Path) -> None:
    pickled(clip)
    torch.save({"logit_scale": torch.zeros(()), "bomb": Bomb(tmp_path / "ran")}, clip / "pytorch_model.bin")
    with pytest.raises(ClipError, match=r"holds more than tensors, numbers and texts.*convert it: python -c") as error:
        from_clip(settings(clip))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_compressed_tensors_are_refused_before_they_are_read(clip: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "plain.bin")
    with (
        zipfile.ZipFile(tmp_path / "plain.bin") as plain,
        zipfile.ZipFile(tmp_path / "small.bin", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in plain.namelist():
            small.writestr(name, plain.read(name))
    with pytest.raises(ModelError, match="its tensors are larger than the file"):
        read_weights(tmp_path / "small.bin")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", pickle.dumps([1]), b"not weights"])
def test_a_file_that_holds_no_weights_is_refused_in_one_line(clip: Path, content: bytes) -> None:
    pickled(clip)
    (clip / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(ClipError) as error:
        from_clip(settings(clip))
    assert str(clip) in str(error.value) and "\n" not in str(error.value)


# --- caches of the hub ----------------------------------------------------------------------------------------------

NAME, MAIN, CONVERTED = "some/clip", "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, of a machine without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached(cache: Path, clip: Path) -> Path:
    """Put `clip` into the cache, with blobs and links as the hub's client has them."""
    folder = cache / "models--some--clip"
    for name in ("blobs", "refs", f"snapshots/{MAIN}"):
        (folder / name).mkdir(parents=True)
    (folder / "refs" / "main").write_text(MAIN)
    for number, file in enumerate(clip.iterdir()):
        shutil.copy(file, folder / "blobs" / str(number))
        (folder / "snapshots" / MAIN / file.name).symlink_to(f"../../blobs/{number}")
    return folder


def test_a_cache_is_enough_without_a_network(cache: Path, clip: Path) -> None:
    pickled(clip)
    whole = read_clip(str(clip)).state
    folder = cached(cache, clip)
    for source in (NAME, f"hf-hub:{NAME}", str(folder), str(folder / "snapshots" / MAIN)):
        again = read_clip(source).state
        assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert read_clip(NAME, MAIN).features == read_clip(str(folder), MAIN).features == 24
    with pytest.raises(ModelError, match="the cache has no revision other"):
        read_clip(str(folder), "other")


def test_weights_that_the_hub_converted_are_found_beside_the_main_branch(cache: Path, clip: Path) -> None:
    """transformers takes safetensors from a pull request if the main branch has none."""
    folder = cached(cache, clip)
    converted = folder / "snapshots" / CONVERTED
    converted.mkdir()
    shutil.move(folder / "snapshots" / MAIN / "model.safetensors", converted)
    with pytest.raises(ClipError, match=r"has no weights, such as model\.safetensors.*hf download"):
        from_clip(settings(NAME))
    (folder / "refs" / "refs" / "pr").mkdir(parents=True)
    (folder / "refs" / "refs" / "pr" / "7").write_text(CONVERTED)
    assert read_clip(NAME).features == 24


@pytest.mark.parametrize("source", [NAME, "no/such/thing", "typo", "runs/typo", "a b"])
def test_what_is_nowhere_is_refused_in_one_line(cache: Path, source: str) -> None:
    with pytest.raises(ClipError, match="there is no such file or directory, and it cannot be had") as error:
        from_clip(settings(source))
    assert str(error.value).startswith(f"{source}: ") and "\n" not in str(error.value)


class Hub(BaseHTTPRequestHandler):
    """Answers for one model as the hub does, as far as its client asks."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = [file for file in self.folder.iterdir() if path.startswith(f"/{NAME}/resolve/{MAIN}/{file.name}")]
        if path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in self._all()]
            self._answer(json.dumps(tree).encode())
        elif path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
            siblings = [{"rfilename": file.name} for file in self._all()]
            self._answer(json.dumps({"id": NAME, "sha": MAIN, "siblings": siblings}).encode())
        elif files:
            self._answer(files[0].read_bytes(), ETag=f'"{files[0].name}"')
        else:
            self._answer(b"", 404, **{"X-Error-Code": "RepoNotFound"})

    def _all(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), "X-Repo-Commit": MAIN, **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("change", [pickled, pickled_shards])
def test_a_download_takes_the_weights_that_are_read_and_no_others(
    tmp_path: Path, clip: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_clip(str(clip)).state
    change(clip)
    weights = {f"/{NAME}/resolve/{MAIN}/{file.name}" for file in clip.glob("pytorch_model*")}
    (clip / "tf_model.h5").write_bytes(bytes(100))
    handler = type("Handler", (Hub,), {"folder": clip, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        again = read_clip(NAME).state
        with pytest.raises(ModelError, match="Repository Not Found"):
            read_clip("runs/typo")
        server.shutdown()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert {path for path in handler.asked if "/resolve/" in path} == {*weights, f"/{NAME}/resolve/{MAIN}/config.json"}
    assert all(torch.equal(whole[name], tensor) for name, tensor in read_clip(NAME).state.items())  # from the cache


# --- OpenAI ---------------------------------------------------------------------------------------------------------

WIDTH, TOKENS, CONTEXT, DEPTH = 64, 40, 9, 2


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(0.1 * torch.randn(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(0.1 * torch.randn(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)


class Block(nn.Module):
    attn_mask: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(), Mlp()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn_mask = torch.zeros(2, 2)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block() for _ in range(DEPTH)))


class Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(5, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Transformer()
        self.proj = nn.Parameter(torch.randn(WIDTH, 12))


class OpenAIClip(nn.Module):
    """The modules of a file of OpenAI's, in half precision; all that they do is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.transformer = Visual(), Transformer()
        self.token_embedding, self.ln_final = nn.Embedding(TOKENS, WIDTH), nn.LayerNorm(WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, WIDTH))
        self.text_projection = nn.Parameter(torch.randn(WIDTH, 12))
        self.logit_scale = nn.Parameter(torch.tensor(4.6055))  # a little more than log(100)
        for name, value in (("input_resolution", 16), ("context_length", CONTEXT), ("vocab_size", TOKENS)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def openai(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A TorchScript archive of OpenAI's form, and its parameters."""
    torch.manual_seed(0)
    model = OpenAIClip().half()
    path = tmp_path / "ViT-S-8.pt"
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, dtype=torch.half)), path)
    return path, model.state_dict()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_archive_of_openai_holds_its_parameters(openai: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, state = openai
    read = {name: tensor for name, tensor in read_weights(path).items() if not name.endswith("attn_mask")}
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) and read[name].dtype == state[name].dtype for name in state)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_archive_of_openai_is_what_open_clip_makes_of_it(
    openai: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    path, state = openai
    model = from_clip(settings(path))
    assert (model.config.video.image_size, model.config.video.patch_size, model.config.features) == (16, 8, 12)
    assert (model.config.text.context, model.config.text.vocabulary, model.config.text.eos_token) == (9, 40, 39)
    assert model.logit_scale.exp().item() == pytest.approx(100)  # the highest that training keeps to
    folder = tmp_path / "open_clip"
    folder.mkdir()
    vision = {"image_size": 16, "patch_size": 8, "layers": 2, "width": WIDTH}
    text = {"context_length": CONTEXT, "vocab_size": TOKENS, "width": WIDTH, "heads": 1, "layers": 2}
    config = {"embed_dim": 12, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    sizes = ("input_resolution", "context_length", "vocab_size")
    as_bin(folder, {name: tensor for name, tensor in state.items() if name not in sizes})
    again = from_clip(settings(folder))
    assert again.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True))
    torch.save(state, tmp_path / "state.pt")  # the same as a plain state dict
    assert from_clip(settings(tmp_path / "state.pt")).config == model.config


def test_a_resnet_of_openai_is_refused(tmp_path: Path) -> None:
    state = {name: torch.zeros(1) for name in ("visual.layer1.0.conv1.weight", "input_resolution", "context_length")}
    torch.save(state, tmp_path / "RN50.pt")
    with pytest.raises(ClipError, match="its image tower is a ResNet"):
        from_clip(settings(tmp_path / "RN50.pt"))


def archive_of(path: Path, value: bytes, name: str = "data.pkl", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("clip/constants.pkl", pickle.dumps(()))
        archive.writestr("clip/data/0", bytes(2**20))
        archive.writestr(f"clip/{name}", value)
    return path


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x00\x04\x00tQK\x00%s%s\x89)tR."
)
ARCHIVES: dict[str, tuple[bytes, int, str]] = {
    "a call": (pickle.dumps(Bomb(Path("ran")), protocol=2), zipfile.ZIP_STORED, "which is not needed to build tensors"),
    "an attribute of torch": (b"\x80\x02ctorch.hub\nload\n.", zipfile.ZIP_STORED, "it would call torch.hub.load"),
    "a bomb": (TENSOR % (b"K\x01\x85", b"K\x01\x85"), zipfile.ZIP_DEFLATED, "its tensors are larger than the file"),
    "beyond its memory": (TENSOR % (b"J\xff\xff\xff\x00\x85", b"K\x01\x85"), zipfile.ZIP_STORED, "cannot be read"),
    "a circle": (
        b"\x80\x02c__torch__.M\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.", zipfile.ZIP_STORED, "are not a tree",
    ),
    "no tensor": (b"\x80\x02c__torch__.M\nM\n)\x81}b.", zipfile.ZIP_STORED, "holds no parameters"),
    "not a pickle": (b"?", zipfile.ZIP_STORED, "is damaged, or holds more than tensors"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_of_strangers_runs_nothing(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, compression, message = ARCHIVES[case]
    path = archive_of(tmp_path / "clip.pt", content, compression=compression)
    with pytest.raises(ModelError) as error:
        read_weights(path)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()
