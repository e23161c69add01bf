"""Frames to captions: one request a frame, each answer with its own status, the raw answer kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from curation.answers import Answer, read_answer
from curation.engines import Completion, Failure, TextRequest
from curation.engines.source import TextSource
from curation.records import Caption, Frame, digest
from curation.rejects import Kind, Rejected

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
    completions: dict[str, Completion | Failure] = {}
    answers: dict[str, Answer] = {}
    waiting = list(frames)
    for attempt in range(source.attempts):
        requests = [_request(frame, source, attempt) for frame in waiting]
        completions |= source.ask(requests)
        for frame in waiting:
            completion = completions[frame.frame_id]
            if isinstance(completion, Completion):
                answers[frame.frame_id] = _told_apart(read_answer(completion, source.prompt.output_schema), attempt)
        waiting = [f for f in waiting if f.frame_id in answers and answers[f.frame_id].text is None]
        if not waiting:
            break
    outcome = Captioned()
    for frame in frames:
        completion = completions[frame.frame_id]
        if isinstance(completion, Failure):
            outcome.rejected[frame.frame_id] = _rejected(completion)
        else:
            outcome.captions.append(_caption(frame, source, completion, answers[frame.frame_id]))
    return outcome


def _request(frame: Frame, source: TextSource, attempt: int) -> TextRequest:
    return TextRequest(
        frame.frame_id, source.prompt, {"max_words": MAX_WORDS}, source.sampling_of(attempt), (frame.image,)
    )


def _told_apart(answer: Answer, attempt: int) -> Answer:
    """An answer that only came on asking again is a repaired one."""
    return replace(answer, status="repaired") if attempt and answer.status == "ok" else answer


def _caption(frame: Frame, source: TextSource, completion: Completion, answer: Answer) -> Caption:
    return Caption(
        frame_id=frame.frame_id,
        video_id=frame.video_id,
        time=frame.time,
        text=answer.text,
        raw_text=completion.raw_text,
        status=answer.status,
        **source.lineage,
    )


def _rejected(failure: Failure) -> Rejected:
    return Rejected(Kind.ENGINE if failure.retryable else Kind.UNREADABLE, failure.message)
