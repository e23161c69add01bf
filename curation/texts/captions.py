"""Frames to captions: one request per frame, each answer with a status, the raw answer kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from curation.engines.interface import Failure
from curation.engines.text_source import TextSource
from curation.ids import digest
from curation.records import Caption, Frame, Row
from curation.rejects import Kind, Rejected
from curation.texts.questions import Outcome, Question, ask

MAX_WORDS = 25
"""The length that the prompt asks for. Longer captions are kept as they are: short clips use them verbatim."""


@dataclass(frozen=True)
class Captioned:
    """The captions, in the order of their frames, and the rejects of frames without one, by frame_id."""

    captions: list[Caption] = field(default_factory=list)
    rejected: dict[str, Rejected] = field(default_factory=dict)


def caption_digest(image_digest: str, source: TextSource) -> str:
    """The digest of a caption: of the frame's image and of everything about `source` that changes the text."""
    return digest("caption", image_digest, source.digest)


def is_caption_of(row: Row[Caption], image_digest: str | None) -> bool:
    """Whether a caption is of this image, whichever source made it; False where it does not name its maker."""
    return row.record.maker is not None and row.digest == digest("caption", image_digest, row.record.maker)


def caption_frames(frames: Sequence[Frame], source: TextSource) -> Captioned:
    """A caption for each of `frames`, whose ids must differ.

    An answer without a usable text is asked for again, `source.attempts` times in all; if it stays refused, unparseable
    or empty, the caption has no text. Neither has it one if nothing is recognised in the frame. A frame without any
    answer is rejected, which affects no other frame. Raises EngineError if the engine as a whole cannot work.
    """
    captioned = Captioned()
    outcomes = ask_captions(frames, source)
    for frame in frames:
        answer = outcomes[frame.frame_id]
        if isinstance(answer, Failure):
            captioned.rejected[frame.frame_id] = _rejected(answer)
        else:
            captioned.captions.append(_caption(frame, source, answer))
    return captioned


def ask_captions(frames: Sequence[Frame], source: TextSource) -> dict[str, Outcome | Failure]:
    """Ask for a caption of each frame; the outcomes by frame_id. Any text is acceptable."""
    questions = [Question(f.frame_id, lambda _: {"max_words": MAX_WORDS}, (f.image,)) for f in frames]
    return ask(questions, source, lambda *_: None)


def _caption(frame: Frame, source: TextSource, outcome: Outcome) -> Caption:
    return Caption(
        frame_id=frame.frame_id,
        video_id=frame.video_id,
        time=frame.time,
        text=outcome.answer.text,
        raw_text=outcome.raw_text,
        status=outcome.answer.status,
        maker=source.digest,
        **source.lineage,
    )


def _rejected(failure: Failure) -> Rejected:
    return Rejected(Kind.ENGINE if failure.retryable else Kind.UNREADABLE, failure.message)
