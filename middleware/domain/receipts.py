"""Receipts of syncs: what a run saw, what it may have missed, and a chain that shows tampering."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

USUAL = 3
"""So many runs in a row must have seen records of a kind before seeing none is worth an alarm."""


@dataclass(frozen=True)
class Sealed:
    """A receipt as it is kept."""

    number: int
    body: Mapping[str, Any]
    digest: str
    previous: str | None
    signature: str


def digest_of(body: Mapping[str, Any]) -> str:
    """SHA-256 of a body as JSON with sorted keys and no blanks, in hexadecimal."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def chained(before: str, part: str) -> str:
    """The hash of what was hashed so far and one part more, in hexadecimal."""
    return hashlib.sha256(f"{before}:{part}".encode()).hexdigest()


def gaps_of(
    kinds: Iterable[str],
    windows: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, str | None],
    counts: Mapping[str, Mapping[str, int]],
) -> list[dict[str, Any]]:
    """What a run may have missed; empty proves that it read on from where the last one stopped.

    `windows` holds per kind `from` and `to`, the hashes of the cursors it began and ended at, and
    `complete`; `before` holds per kind where the latest receipt that read it ended.
    """
    gaps: list[dict[str, Any]] = []
    for kind in kinds:
        window = windows.get(kind)
        if window is None:
            gaps.append({"kind": kind, "why": "not_read"})
            continue
        if kind in before and window["from"] != before[kind]:
            why = "read_anew" if window["from"] is None else "not_where_the_last_ended"
            gaps.append({"kind": kind, "why": why})
        if not window["complete"]:
            gaps.append({"kind": kind, "why": "not_to_the_end"})
        kept = counts.get(kind, {}).get("quarantined", 0)
        if kept:
            gaps.append({"kind": kind, "why": "quarantined", "count": kept})
    return gaps


def refused_sweeps(progress: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The sweeps that deleted nothing since they would have deleted too much."""
    return [
        {"kind": kind, "why": "sweep_refused", "count": state["refused"]["count"]}
        for kind, state in progress.items()
        if state.get("refused")
    ]


def compared(
    *, count: int, digest: str | None, held: int, kept_aside: int, held_digest: str | None
) -> dict[str, Any]:
    """What a source says that it has beside what is stored; `kept_aside` lies in quarantine.

    `differs` is how many more the source has than we; a digest is compared only where nothing was
    kept aside, since that is not among the stored ids.
    """
    differs = count - held - kept_aside
    same = held_digest == digest if digest is not None and not kept_aside else None
    return {
        "count": count,
        "digest": digest,
        "held": held,
        "kept_aside": kept_aside,
        "differs": differs,
        "agrees": differs == 0 and same is not False,
    }


def lasting_differences(
    source: Mapping[str, Mapping[str, Any]], before: Iterable[Mapping[str, Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """The kinds of which source and store differ in this run and in the one counted before it.

    Once is no gap: a source that is worked in while we count has records that we shall read next.
    """
    earlier = list(before)
    gaps: list[dict[str, Any]] = []
    for kind, said in source.items():
        last = next((one[kind] for one in earlier if "agrees" in one.get(kind, {})), None)
        if said.get("agrees") is not False or last is None or last["agrees"]:
            continue
        why = "fewer_than_the_source" if said["differs"] > 0 else "more_than_the_source"
        why = why if said["differs"] else "other_records_than_the_source"
        gaps.append({"kind": kind, "why": why, "count": abs(said["differs"])})
    return gaps


def unusually_empty(
    counts: Mapping[str, Mapping[str, int]], before: Iterable[Mapping[str, Mapping[str, int]]]
) -> list[str]:
    """The kinds of which a run saw nothing, while each of the `USUAL` runs before it saw some."""
    earlier = list(before)[:USUAL]
    if len(earlier) < USUAL:
        return []
    return [
        kind
        for kind, seen in counts.items()
        if seen["seen"] == 0 and all(one.get(kind, {}).get("seen", 0) > 0 for one in earlier)
    ]


def broken(chain: Iterable[Sealed], signed: Callable[[str, str], bool]) -> str | None:
    """Where a connection's chain of receipts, oldest first, is not what was written; None if it is.

    `signed` says whether a signature is the hub's own for a digest.
    """
    last: str | None = None
    for expected, receipt in enumerate(chain, start=1):
        where = f"receipt {receipt.number} of run {receipt.body.get('run')}"
        if receipt.number != expected:
            return f"receipt {expected} is missing before {where}"
        if digest_of(receipt.body) != receipt.digest:
            return f"{where} was changed: its hash does not fit"
        if not signed(receipt.digest, receipt.signature):
            return f"{where} was not signed by this hub, or its signing key has changed"
        named = receipt.body.get("previous")
        if receipt.previous != last or named != last or receipt.body.get("number") != expected:
            return f"{where} does not follow the one before it"
        last = receipt.digest
    return None
