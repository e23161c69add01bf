"""Whether the streams of media are encrypted: a decoder calls such media damaged, or shows noise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import BinaryIO

import av

from curation.media.containers import format_of
from curation.media.mp4_boxes import ENCRYPTED, sample_entries

_MATROSKA_KEY = "enc_key_id"  # FFmpeg's name for the key of a track
# Objects in the header: Advanced Systems Format specification, sections 3.14 and 3.15.
_ASF_OBJECTS = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)
_HEADER_BYTES = 64 << 10
_TS_BYTES = 1 << 20
_TS_PACKET, _TS_SYNC = 188, 0x47


def is_encrypted(path: Path, container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Whether `stream` of the container at `path` is encrypted."""
    name = format_of(container)
    with path.open("rb") as file:
        if name == "mov":
            return any(entry in ENCRYPTED.get(stream.type, ()) for entry in sample_entries(file))
        if name == "mpegts":
            return _is_scrambled(file, stream.id)
        if name == "asf":
            header = file.read(_HEADER_BYTES)
            return any(guid in header for guid in _ASF_OBJECTS)
    return _MATROSKA_KEY in stream.metadata


def _is_scrambled(file: BinaryIO, pid: int) -> bool:
    """Whether most packets of a transport stream with that PID are scrambled (ISO/IEC 13818-1, section 2.4.3.2)."""
    data = file.read(_TS_BYTES)
    at = 0
    packets: Counter[bool] = Counter()
    while at + 4 <= len(data):
        if data[at] != _TS_SYNC:
            at += 1
            continue
        if int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF == pid:
            packets[bool(data[at + 3] & 0xC0)] += 1
        at += _TS_PACKET
    return packets[True] > packets[False]
