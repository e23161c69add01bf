"""Frames to captions: one request a frame, each answer with its own status, the raw answer kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from curation.engines.interface import Failure
from curation.engines.text_source import TextSource
from curation.ids import digest
from curation.records import Caption, Frame
from curation.rejects import Kind, Rejected
from curation.texts.questions import Outcome, Question, ask

MAX_WORDS = 25
"""What a caption is asked to keep to. An answer that is longer stays as it is: short clips keep theirs verbatim."""


@dataclass(frozen=True)
class Captioned:
    """The captions, in the order of their frames; and why some frames have none, by frame_id."""

    captions: list[Caption] = field(default_factory=list)
    rejected: dict[str, Rejected] = field(default_factory=dict)


def caption_digest(image_digest: str, source: TextSource) -> str:
    """Stands for a caption: the frame's image, and everything that `source` makes of it."""
    return digest("caption", image_digest, source.digest)


def caption_frames(frames: Sequence[Frame], source: TextSource) -> Captioned:
    """A caption for each of `frames`, whose ids differ.

    An answer without a usable text is asked for again, `source.attempts` times in all; what then stays refused,
    unparseable or empty is a caption without text. A frame to which the engine gave no answer at all is rejected,
    and costs no other frame anything. Raises EngineError where the engine as a whole cannot work.
    """
    outcome = Captioned()
    told = ask_captions(frames, source)
    for frame in frames:
        answer = told[frame.frame_id]
        if isinstance(answer, Failure):
            outcome.rejected[frame.frame_id] = _rejected(answer)
        else:
            outcome.captions.append(_caption(frame, source, answer))
    return outcome


def ask_captions(frames: Sequence[Frame], source: TextSource) -> dict[str, Outcome | Failure]:
    """What came of asking for a caption of each frame, by frame_id. Any text will do."""
    questions = [Question(f.frame_id, lambda _: {"max_words": MAX_WORDS}, (f.image,)) for f in frames]
    return ask(questions, source, lambda *_: None)


def _caption(frame: Frame, source: TextSource, told: Outcome) -> Caption:
    return Caption(
        frame_id=frame.frame_id,
        video_id=frame.video_id,
        time=frame.time,
        text=told.answer.text,
        raw_text=told.raw_text,
        status=told.answer.status,
        **source.lineage,
    )


def _rejected(failure: Failure) -> Rejected:
    return Rejected(Kind.ENGINE if failure.retryable else Kind.UNREADABLE, failure.message)
