"""What the pictures of each system of colours look like, in frames to caption and in stored media."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter

from curation.media.single_pass import PassResult, PassTask
from curation.media.single_pass_child import single_pass
from curation.rejects import Kind, Rejected
from curation.settings import Settings
from tests.support import colour_bars as bars
from tests.support import media_files as files
from tests.support.colour_bars import HDR_BARS, SDR_BARS, Code, Triple
from tests.support.dolby_vision import metadata, with_metadata

TOLERANCE = 12  # of 255

PQ_TAGS = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv")
HLG_TAGS = ("-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc", "-color_range", "tv")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-threads", "1")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "lossless=1:bframes=0:log-level=none:pools=none")
VP9 = ("-c:v", "libvpx-vp9", "-lossless", "1", "-deadline", "realtime", "-cpu-used", "8")
AV1 = ("-c:v", "libaom-av1", "-crf", "4", "-usage", "realtime", "-cpu-used", "8", "-threads", "1")
HDR10 = Code("bt2020nc", 10)


def run(source: Path, folder: Path) -> tuple[PassResult, Path]:
    """The single pass, in this process, and the stored media."""
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    task = PassTask(source, (), None, None, Settings(), folder / "stored.mp4", spool)
    return single_pass(TypeAdapter(PassTask).dump_python(task, mode="json")), task.pieces


def seen(picture: np.ndarray, count: int) -> np.ndarray:
    """R, G, B in the middle of each of `count` vertical bars of an RGB picture: [count, 3]."""
    height, width = picture.shape[:2]
    at = [int((i + 0.5) * width / count) for i in range(count)]
    return np.array([picture[height // 4 : height // 2, x - 2 : x + 3].mean((0, 1)) for x in at])


def assert_looks(source: Path, folder: Path, expected: list[Triple]) -> PassResult:
    """Both the frames to caption and stored media, read by its tags, show bars of the `expected` R'G'B'."""
    found, stored = run(source, folder)
    frame = cv2.cvtColor(cv2.imread(found.candidates[0].path), cv2.COLOR_BGR2RGB)
    with av.open(str(stored)) as container:
        video = next(container.decode(video=0))
    assert video.colorspace in (1, 5, 6) and video.color_range == 1
    matrix = "ITU709" if video.colorspace == 1 else "ITU601"
    for picture in (frame, video.to_ndarray(format="rgb24", src_colorspace=matrix)):
        worst = np.abs(seen(picture, len(expected)) - np.array(expected)).max(1)
        assert worst.max() <= TOLERANCE, (worst, seen(picture, len(expected)).round(), np.array(expected).round())
    return found


# --- HDR --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hdr:
    """`brightest` is what the file states of its light, cd/m²; 1000 if it states nothing."""

    name: str
    arguments: tuple[str, ...]
    transfer: str
    brightest: float = 1000.0


_CLL = (*X265[:-1], f"{X265[-1]}:max-cll=450,200")
_MASTERED = (
    *X265[:-1],
    f"{X265[-1]}:master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(40000000,1)",
)
HDR = (
    Hdr("hevc_pq.mp4", (*X265, *PQ_TAGS), "smpte2084"),
    Hdr("hevc_pq_content_light.mkv", (*_CLL, *PQ_TAGS), "smpte2084", 500.0),
    Hdr("hevc_pq_mastered.mp4", (*_MASTERED, *PQ_TAGS), "smpte2084", 4000.0),
    Hdr("hevc_hlg.mov", (*X265, *HLG_TAGS), "arib-std-b67"),
    Hdr("vp9_pq.webm", (*VP9, *PQ_TAGS), "smpte2084"),
    Hdr("vp9_hlg.mp4", (*VP9, *HLG_TAGS), "arib-std-b67"),
    Hdr("av1_hlg.mkv", (*AV1, *HLG_TAGS), "arib-std-b67"),
    Hdr("h264_pq.ts", (*X264, *PQ_TAGS), "smpte2084"),
)


@pytest.mark.parametrize("case", HDR, ids=lambda case: case.name)
def test_hdr_is_shown_as_sdr(case: Hdr, tmp_path: Path) -> None:
    is_pq = case.transfer == "smpte2084"
    signals = [tuple(map(bars.pq, light)) if is_pq else bars.hlg(light) for light in HDR_BARS]
    codes = [HDR10.encode(signal) for signal in signals]  # type: ignore[arg-type]
    decoded = [HDR10.decode(code) for code in codes]
    light = [tuple(map(bars.pq_light, signal)) if is_pq else bars.hlg_light(signal) for signal in decoded]
    expected = [bars.shown_hdr(part, case.brightest) for part in light]  # type: ignore[arg-type]
    source = bars.encoded(tmp_path / case.name, codes, HDR10, *case.arguments)
    found = assert_looks(source, tmp_path, expected)
    assert (found.source_transfer, found.tone_mapping) == (case.transfer, "bt2390")


# --- SDR --------------------------------------------------------------------------------------------------------------


def tags(primaries: str, transfer: str, matrix: str, range_: str = "tv") -> tuple[str, ...]:
    return ("-color_primaries", primaries, "-color_trc", transfer, "-colorspace", matrix, "-color_range", range_)


@dataclass(frozen=True)
class Sdr:
    name: str
    code: Code
    arguments: tuple[str, ...]
    size: tuple[int, int] = (bars.WIDTH, bars.HEIGHT)
    shown: Callable[[Triple], Triple] = bars.shown_sdr
    tone_mapping: str | None = None
    transfer: str | None = None


JPEG = ("-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj420p")
HD = (1280, 720)
SDR = (
    Sdr("tagged_709.mp4", Code(), (*X264, *tags("bt709", "bt709", "bt709")), transfer="bt709"),
    Sdr("tagged_601.mp4", Code("smpte170m"), (*X264, *tags(*["smpte170m"] * 3)), transfer="smpte170m"),
    Sdr("tagged_601_hd.mp4", Code("smpte170m"), (*X264, *tags(*["smpte170m"] * 3)), HD, transfer="smpte170m"),
    Sdr("untagged.mp4", Code("smpte170m"), X264),
    Sdr("untagged_hd.mp4", Code(), X264, HD),
    Sdr("untagged_hd_scope.mkv", Code(), X264, (1280, 536)),
    Sdr("untagged_hd_portrait.mp4", Code(), X264, (720, 1280)),
    Sdr("full_range.mp4", Code(full_range=True), (*X264, *tags("bt709", "bt709", "bt709", "pc")), transfer="bt709"),
    Sdr("jpeg.avi", Code("smpte170m", full_range=True), JPEG),
    Sdr("jpeg_hd.mov", Code("smpte170m", full_range=True), JPEG, HD),
    Sdr(
        *("bt2020.mp4", HDR10, (*X265, *tags("bt2020", "bt2020-10", "bt2020nc"))),
        shown=lambda signal: bars.shown_wide(signal, is_p3=False),
        tone_mapping="bt2407",
        transfer="bt2020-10",
    ),
    Sdr(
        *("display_p3.mov", Code(), (*X264, *tags("smpte432", "bt709", "bt709"))),
        shown=lambda signal: bars.shown_wide(signal, is_p3=True),
        tone_mapping="bt2407",
        transfer="bt709",
    ),
)


@pytest.mark.parametrize("case", SDR, ids=lambda case: case.name)
def test_sdr_is_shown_by_its_tags_or_what_stands_for_them(case: Sdr, tmp_path: Path) -> None:
    codes = [case.code.encode(signal) for signal in SDR_BARS]
    expected = [case.shown(case.code.decode(code)) for code in codes]
    source = bars.encoded(tmp_path / case.name, codes, case.code, *case.arguments, size=case.size)
    found = assert_looks(source, tmp_path, expected)
    assert (found.source_transfer, found.tone_mapping) == (case.transfer, case.tone_mapping)


RGB = {
    "lossless_h264.mp4": ("-c:v", "libx264rgb", "-preset", "ultrafast", "-qp", "0"),
    "ffv1.mkv": ("-c:v", "ffv1", "-pix_fmt", "gbrp10le"),
    "animation.mov": ("-c:v", "qtrle"),
}


@pytest.mark.parametrize("name", RGB)
def test_rgb_is_stored_as_tagged_bt709(name: str, tmp_path: Path) -> None:
    picture = np.rint(255 * np.repeat(np.array(SDR_BARS), bars.WIDTH // 8, 0)).astype(np.uint8)
    (tmp_path / "raw").write_bytes(picture[None].repeat(5 * bars.HEIGHT, 0).tobytes())
    form = ("-f", "rawvideo", "-s", f"{bars.WIDTH}x{bars.HEIGHT}", "-r", "5", "-pix_fmt", "rgb24")
    files.ffmpeg(*form, "-i", tmp_path / "raw", *RGB[name], tmp_path / name)
    assert_looks(tmp_path / name, tmp_path, [bars.shown_sdr(bar) for bar in SDR_BARS])
    assert colours_stored(tmp_path) == (1, 1, 1, 1)


def colours_stored(folder: Path) -> tuple[int, int, int, int]:
    """Matrix, range, primaries and transfer, as the file of the stored media states them."""
    with av.open(str(folder / "stored.mp4.part")) as container:
        context = container.streams.video[0].codec_context
        return context.colorspace, context.color_range, context.color_primaries, context.color_trc


def test_interlaced_pictures_keep_their_colours(tmp_path: Path) -> None:
    codes = [Code().encode(signal) for signal in SDR_BARS]
    mpeg2 = ("-c:v", "mpeg2video", "-q:v", "1", "-flags", "+ilme+ildct", "-vf", "setfield=tff", "-r", "25")
    source = bars.encoded(tmp_path / "a.ts", codes, Code(), *mpeg2, *tags("bt709", "bt709", "bt709"))
    assert_looks(source, tmp_path, [bars.shown_sdr(Code().decode(code)) for code in codes])


@pytest.mark.parametrize("first", ["sdr", "hdr"])
def test_colours_may_change_within_a_stream(first: str, tmp_path: Path) -> None:
    """SDR in BT.601, then HDR, or the other way round: all of it is stored in the colours of the first frame."""
    grey = {"sdr": (0.75, 0.75, 0.75), "hdr": (bars.pq(101.8),) * 3}
    blue = {"sdr": (0.35, 0.6, 0.8), "hdr": (bars.pq(35.0), bars.pq(60.0), bars.pq(100.0))}
    codes = {"sdr": Code("smpte170m", 10), "hdr": HDR10}
    stated = {"sdr": tags(*["smpte170m"] * 3), "hdr": PQ_TAGS}
    expected, parts = [], []
    for name in (first, "hdr" if first == "sdr" else "sdr"):
        coded = [codes[name].encode(bar) for bar in (grey[name], blue[name])]
        light = [tuple(map(bars.pq_light, HDR10.decode(code))) for code in coded]
        shown = [bars.shown_sdr(codes[name].decode(code)) for code in coded]
        expected.append([bars.shown_hdr(part) for part in light] if name == "hdr" else shown)  # type: ignore[arg-type]
        later = ("-output_ts_offset", str(2 * len(parts)))
        parts.append(bars.encoded(tmp_path / f"{name}.ts", coded, codes[name], *X265, *stated[name], *later))
    found, stored = run(files.joined(tmp_path, "both.ts", *parts), tmp_path)
    assert found.tone_mapping == "bt2390"
    with av.open(str(stored)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 10
    for picture, wanted in zip((pictures[1], pictures[-2]), expected, strict=True):
        assert np.abs(seen(picture, 2) - np.array(wanted)).max() <= TOLERANCE


# --- what nothing converts --------------------------------------------------------------------------------------------


def rejection(source: Path, folder: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        run(source, folder)
    return caught.value


def test_a_matrix_that_nothing_converts_is_named(tmp_path: Path) -> None:
    codes = [Code().encode(signal) for signal in SDR_BARS]
    source = bars.encoded(tmp_path / "a.mp4", codes, Code(), *X264, *tags("bt709", "bt709", "ycgco"))
    rejected = rejection(source, tmp_path)
    assert rejected.kind is Kind.UNSUPPORTED and "YCgCo" in str(rejected)


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_dolby_vision_is_read_where_its_pictures_are_colours(container: str, tmp_path: Path) -> None:
    """Profile 8 is HDR with metadata that may be left out. Profile 5 is nothing without its metadata, and says so."""
    signals = [tuple(map(bars.pq, light)) for light in HDR_BARS]
    codes = [HDR10.encode(signal) for signal in signals]  # type: ignore[arg-type]
    plain = bars.encoded(tmp_path / "plain.mp4", codes, HDR10, *X265, *PQ_TAGS)
    eight = with_metadata(plain, metadata(1, is_full_range=False), tmp_path / f"eight.{container}")
    assert run(eight, tmp_path)[0].tone_mapping == "bt2390"
    five = with_metadata(plain, metadata(0, is_full_range=True), tmp_path / f"five.{container}")
    rejected = rejection(five, tmp_path)
    assert rejected.kind is Kind.UNSUPPORTED and "Dolby Vision profile 5" in str(rejected)
