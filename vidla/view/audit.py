"""A blind audit: people rate a random sample of texts without knowing what made them, and what that says of all.

An audit is its URL: the versions, the texts, the strata, the wished half-width and the seed say which texts are in it,
so that everybody with the address rates the same ones. Each rating is a verdict (curation/dataset/verdicts.py).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from curation.dataset.database import literal
from curation.dataset.verdicts import Judged
from curation.errors import UsageError
from curation.labels import RATINGS, TEXTS
from curation.shares import CONFIDENT, interval
from vidla.view.choice import quoted
from vidla.view.columns import columns
from vidla.view.compare import asked, at_version, frozen
from vidla.view.tables import LiveTables, Row

WIDEST, NARROWEST = 0.25, 0.005


@dataclass(frozen=True)
class Audit:
    """The texts of version `a`, and those of `b` for the same clips if it is given, hidden behind A and B.

    The share of right texts in each version is wanted to `half_width`, with 95 % confidence. Strata are the values of
    the column `by`; each has its share of the sample.
    """

    a: str
    b: str = ""
    text: str = "caption"
    by: str = ""
    half_width: float = 0.05
    seed: str = "1"

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Audit:
        """That of a URL. Raises UsageError."""
        try:
            half_width = float(query.get("half", "0.05"))
        except ValueError:
            half_width = 0.0
        found = cls(
            query.get("a", ""), query.get("b", ""), query.get("text", "caption"), query.get("by", ""), half_width,
            query.get("seed", "1"),
        )  # fmt: skip
        if not NARROWEST <= half_width <= WIDEST:
            raise UsageError(f"the half-width is a share from {NARROWEST} to {WIDEST}")
        if found.text not in TEXTS:
            raise UsageError(f"the texts are one of {', '.join(TEXTS)}")
        if found.by and (found.by not in columns() or columns()[found.by].table != "clips" or columns()[found.by].sql):
            raise UsageError(f"clips have no column '{found.by}'")
        return found

    @property
    def query(self) -> str:
        """The query of its page, and its name in labels."""
        given = {"a": self.a, "b": self.b, "text": self.text, "by": self.by, "half": f"{self.half_width:g}"}
        return urlencode({name: value for name, value in (given | {"seed": self.seed}).items() if value})

    def frozen(self, tables: LiveTables) -> Audit:
        """The same with versions that stay: "now" is the last commit."""
        return replace(self, a=frozen(tables, self.a or "now"), b=frozen(tables, self.b) if self.b else "")


@dataclass(frozen=True)
class Item:
    """A clip whose text is rated: that of each version, hidden behind the letters of `hidden` in this order."""

    clip_id: str
    video_id: str
    stratum: str
    texts: Mapping[str, str]
    """by version, a or b"""

    def hidden(self, seed: str) -> list[tuple[str, tuple[str, ...], str]]:
        """Letter, the versions with this text, and the text. Equal texts are shown once."""
        order = sorted(self.texts, reverse=_draw(self.clip_id, seed)[0] % 2 == 1)
        by_text: dict[str, list[str]] = {}
        for version in order:
            by_text.setdefault(self.texts[version], []).append(version)
        return [
            (letter, tuple(versions), text) for letter, (text, versions) in zip("AB", by_text.items(), strict=False)
        ]


def sample_size(half_width: float, population: int) -> int:
    """How many texts of so many tell the share of right ones to `half_width` with 95 % confidence, whatever it is.

    n = n0 / (1 + (n0 - 1) / N) with n0 = z² / (4 h²): Cochran, Sampling Techniques (1977), 4.4.

    >>> sample_size(0.05, 10**9), sample_size(0.05, 100), sample_size(0.05, 0)
    (385, 80, 0)
    """
    infinite = CONFIDENT**2 * 0.25 / half_width**2
    return min(population, math.ceil(infinite / (1 + (infinite - 1) / population))) if population else 0


def items(tables: LiveTables, audit: Audit) -> list[Item]:
    """The sample, in the order in which everybody sees it. Raises UsageError, DatasetError."""
    a, b = at_version(tables, audit.a), at_version(tables, audit.b or audit.a)
    text, stratum = f"{audit.text}_text", quoted(audit.by) if audit.by else "null"
    both = f"""
        (select clip_id, video_id, {stratum}::varchar as stratum, a.{text} as a, b.{text} as b
        from a join (select clip_id, {text} from b) as b using (clip_id)
        where a.{text} is not null and b.{text} is not null)"""
    ((counted,),) = asked(a, b, f"select count(*) as clips from {both}")
    size = sample_size(audit.half_width, counted["clips"])
    drawn = f"md5(clip_id || {literal(audit.seed)})"
    (rows,) = asked(
        a,
        b,
        f"""select * from (
            select *, row_number() over (partition by stratum order by {drawn}, clip_id) as place,
                count(*) over (partition by stratum) as all_of_it
            from {both})
        where place <= greatest(1, round({size} * all_of_it / {max(1, counted["clips"])})) order by {drawn}, clip_id""",
    )
    versions = ("a", "b") if audit.b else ("a",)
    return [
        Item(row["clip_id"], row["video_id"], row["stratum"] or "", {version: row[version] for version in versions})
        for row in rows
    ]


def ratings(tables: LiveTables, audit: Audit) -> dict[tuple[str, str], dict[str, str]]:
    """The last rating of every person, by clip and version."""
    rows = tables.rows(
        f"select clip_id, version, rater, arg_max(verdict, (judged_at, label_id)) as verdict from labels "
        f"where audit = {literal(audit.query)} and text = {literal(audit.text)} group by all"
    )
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row["verdict"] in RATINGS:
            found[row["clip_id"], row["version"]][row["rater"]] = row["verdict"]
    return found


def audit_page(tables: LiveTables, audit: Audit, rater: str) -> Mapping[str, Any]:
    """What the page of the next text shows to this person."""
    sample, rated = items(tables, audit), ratings(tables, audit)
    left = [item for item in sample if any(rater not in rated.get((item.clip_id, v), {}) for v in item.texts)]
    shown = left[0] if left else None
    rows = tables.rows(f"select * from clips where clip_id = {literal(shown.clip_id)}") if shown else []
    return {
        "audit": audit,
        "item": shown,
        "hidden": shown.hidden(audit.seed) if shown else [],
        "clip": rows[0] if rows else None,
        "done": len(sample) - len(left),
        "size": len(sample),
        "rater": rater,
        "ratings": RATINGS,
    }


def rated(tables: LiveTables, audit: Audit, clip_id: str, form: Mapping[str, str]) -> Iterator[tuple[Judged, str]]:
    """What a form says of the texts of a clip of the audit: a rating for each letter. Raises UsageError."""
    item = next((item for item in items(tables, audit) if item.clip_id == clip_id), None)
    if item is None:
        raise UsageError("this clip is not in the audit")
    for letter, versions, text in item.hidden(audit.seed):
        for version in versions:
            yield (
                Judged(item.clip_id, item.video_id, audit.text, text, audit.query, version),
                form.get(f"rating-{letter}", ""),
            )


# --- the result -----------------------------------------------------------------------------------------------------


def result(tables: LiveTables, audit: Audit) -> Mapping[str, Any]:
    """What the ratings so far say of all texts: by version and stratum, and how far people agree."""
    sample, rated = items(tables, audit), ratings(tables, audit)
    versions = ("a", "b") if audit.b else ("a",)
    strata = sorted({item.stratum for item in sample}) if audit.by else []
    lines = []
    for version in versions:
        for stratum in (None, *strata):
            of_it = [item for item in sample if stratum is None or item.stratum == stratum]
            verdicts = [by for item in of_it if (by := rated.get((item.clip_id, version)))]
            lines.append({"version": version, "stratum": stratum, "sample": len(of_it), **shares(verdicts)})
    return {"audit": audit.query, "shares": lines, "agreement": list(agreement(rated.values()))}


def shares(verdicts: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The share of each rating among texts rated by one or more people, and the 95 % interval of right ones.

    A text that people disagree on counts in parts.

    >>> found = shares([{"ada": "right"}, {"ada": "right", "bob": "minor"}])
    >>> found["rated"], found["right"], found["minor"]
    (2, 0.75, 0.25)
    """
    counts: dict[str, float] = defaultdict(float)
    for by_rater in verdicts:
        for verdict in by_rater.values():
            counts[verdict] += 1 / len(by_rater)
    rated = len(verdicts)
    found = {rating: counts[rating] / rated if rated else 0.0 for rating in RATINGS}
    low, high = interval(counts["right"], rated)
    return {"rated": rated, **found, "low": low, "high": high}


def agreement(rated: Iterable[Mapping[str, str]]) -> Iterator[Row]:
    """For each two people: how many texts both have rated, the share with the same rating, and Cohen's kappa.

    Kappa (Cohen, 1960) is 1 for full agreement, and 0 for what chance gives; null if both gave one rating alone.
    """
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for by_rater in rated:
        for one, other in itertools.combinations(sorted(by_rater), 2):
            pairs[one, other].append((by_rater[one], by_rater[other]))
    for (one, other), both in sorted(pairs.items()):
        same = sum(a == b for a, b in both) / len(both)
        of_one, of_other = Counter(a for a, _ in both), Counter(b for _, b in both)
        chance = sum(of_one[rating] * of_other[rating] for rating in RATINGS) / len(both) ** 2
        kappa = (same - chance) / (1 - chance) if chance < 1 else None
        yield {"raters": [one, other], "texts": len(both), "same": same, "kappa": kappa}


def _draw(clip_id: str, seed: str) -> bytes:
    return hashlib.blake2b(f"{seed} {clip_id}".encode(), digest_size=8).digest()
