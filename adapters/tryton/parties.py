"""Clues about somebody: how Tryton is asked, and what counts as found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from middleware.contract.canonical import Account, Contact, Handle
from middleware.contract.capabilities import Clue


def domain(clue: Clue) -> list[Any]:
    """Tryton's domain for parties that may bear any part of the clue; empty for no clue.

    It finds too many where letters differ in case; `bears` decides.
    """
    either: list[Any] = [
        _mechanism("email", ["value", "ilike", _quoted(email)]) for email in _plain(clue.emails)
    ]
    # Tryton makes value_compact E.164 where phonenumbers is installed beside it.
    either += [[["contact_mechanisms.value_compact", "=", phone]] for phone in _plain(clue.phones)]
    for handle in clue.handles:
        spelt = [_quoted(_bare(name)) for name in _plain((handle.handle,))]
        either += [_mechanism("other", ["value", "ilike", name]) for name in spelt]
        either += [_mechanism("other", ["value", "ilike", f"@{name}"]) for name in spelt]
        either += [
            _mechanism("other", ["comment", "=", id_]) for id_ in _plain((handle.native_id,))
        ]
    for known in _plain(clue.external_ids.values()):
        either += [[["code", "=", known]], [["identifiers.code", "=", known]]]
    names = [" ".join(name.split()) for name in _plain((clue.name,))]
    either += [[["name", "ilike", _quoted(name)]] for name in names]
    return ["OR", *either] if either else []


def bears(record: Contact | Account, clue: Clue) -> bool:
    """Whether the record has any part of the clue, compared whole."""
    emails = {email.casefold() for email in record.emails}
    name = record.display_name if isinstance(record, Contact) else record.name
    ids = dict(record.external_ids)
    if isinstance(record, Account) and record.number is not None:
        ids.setdefault("customer_number", record.number)
    return (
        any(email.casefold() in emails for email in clue.emails)
        or any(phone in record.phones for phone in clue.phones)
        or any(ids.get(system) == known for system, known in clue.external_ids.items())
        or (bool(name) and bool(clue.name) and _same(name, clue.name))
        or (
            isinstance(record, Contact)
            and any(_is(theirs, ours) for theirs in record.handles for ours in clue.handles)
        )
    )


def _is(theirs: Handle, ours: Handle) -> bool:
    """Where both have a native id, it decides: handles change hands."""
    if theirs.network.casefold() != ours.network.casefold():
        return False
    if theirs.native_id and ours.native_id:
        return theirs.native_id == ours.native_id
    return bool(theirs.handle and ours.handle) and _same(_bare(theirs.handle), _bare(ours.handle))


def _same(one: str | None, other: str | None) -> bool:
    return " ".join((one or "").split()).casefold() == " ".join((other or "").split()).casefold()


def _bare(handle: str | None) -> str:
    return (handle or "").strip().removeprefix("@")


def _plain(parts: Iterable[str | None]) -> list[str]:
    """What a field of Tryton's can hold: not empty, and without control characters."""
    return [part for part in parts if part and part.strip() and part.isprintable()]


def _quoted(text: str) -> str:
    """For `ilike`, which compares without case and takes % and _ for wildcards."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _mechanism(kind: str, clause: list[str]) -> list[Any]:
    return [["contact_mechanisms", "where", [["type", "=", kind], clause]]]
