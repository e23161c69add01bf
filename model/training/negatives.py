"""Which clips of a batch are not to be told apart: negatives that are not negative.

Every other clip of a batch is a negative of a contrastive loss. That is wrong where the texts of two clips are equal,
so that each text is right for both clips, and often where both are cut from one video, or one clip lies in the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.data.loader import Batch

_SEED = 20240322  # any number; the same in all processes


def groups_of(batch: Batch, equal_texts: bool, same_video: bool) -> Tensor:
    """(B, 2, K), int64: for each clip and each of its texts, subtitle and caption, the groups that it is in.

    Two clips that share one of the K groups of a text are not each other's negatives in the loss of that text. There is
    a group for each text if `equal_texts`, and one for each video if `same_video`.
    """
    texts = torch.stack([text_ids(batch.subtitle), text_ids(batch.caption)], dim=1)
    videos = batch.video[:, None].expand(-1, 2)
    groups = [ids for ids, wanted in ((texts, equal_texts), (videos, same_video)) if wanted]
    return torch.stack(groups, dim=-1) if groups else texts.new_empty(*texts.shape, 0)


def text_ids(tokens: Tensor) -> Tensor:
    """(B,), int64, from tokens (B, L): equal for equal rows, and (but for one pair in 2^48) only for these.

    A hash of the tokens, since texts with the same tokens have the same features: case, spaces and what is cut off make
    no difference.

    >>> ids = text_ids(torch.tensor([[1, 2, 3], [1, 2, 4], [1, 2, 3]]))
    >>> bool(ids[0] == ids[2]), bool(ids[0] == ids[1])
    (True, False)
    """
    generator = torch.Generator().manual_seed(_SEED)
    factors = torch.randint(-(2**63), 2**63 - 1, (tokens.shape[1],), generator=generator)
    return (tokens * factors.to(tokens.device)).sum(dim=1)  # modulo 2^64
