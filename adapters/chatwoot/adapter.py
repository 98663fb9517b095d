"""Chatwoot: private notes on conversations, and contacts by what they are known by."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Values
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel

from adapters.chatwoot.client import SYSTEM, Wire
from adapters.chatwoot.settings import MOST_CHARACTERS, ChatwootSettings, Secrets
from adapters.chatwoot.text import key_of, marker, shortened
from middleware.contract.actions import (
    PREVIEW_KEY,
    Effect,
    NoteRequest,
    Operation,
    Preview,
    Receipt,
)
from middleware.contract.canonical import Contact, Frozen, Kind, Ref
from middleware.contract.capabilities import (
    Adapter,
    CheckReport,
    Clue,
    Connection,
    Description,
    FieldInfo,
    Finding,
    FindsContacts,
    KeyTraits,
    NamesItsRemote,
    ObjectInfo,
    PreviewsActions,
    WritesNotes,
)
from middleware.contract.errors import (
    Duplicated,
    Missing,
    NotOffered,
    Permanent,
    Rejected,
    RemoteError,
    Transient,
)
from middleware.contract.mapping import AnswerUnreadable, Mapping, MappingError, to_record
from middleware.contract.mapping.preview import masked

_SEARCH_PAGES = 20
"""Pages of a contact search that are read for one term. An address or a number fills one."""

_MAY_WRITE = frozenset(
    {
        "administrator",
        "agent",
        "conversation_manage",
        "conversation_unassigned_manage",
        "conversation_participating_manage",
    }
)
"""Permissions of an account user that let them write in conversations (app/models/custom_role)."""


class ChatwootAdapter(Adapter, NamesItsRemote, FindsContacts, WritesNotes, PreviewsActions):
    """Speaks Chatwoot's application API as a user of one account."""

    system: ClassVar[str] = SYSTEM
    Settings: ClassVar[type[BaseModel]] = ChatwootSettings

    def __init__(
        self, connection: Connection, settings: ChatwootSettings, secrets: Secrets
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._account = f"/api/v1/accounts/{settings.account_id}"
        self._wire = Wire(
            settings.url,
            secrets.token.get_secret_value(),
            settings.limits,
            ca_file=settings.ca_file,
        )

    @classmethod
    def open(cls, connection: Connection) -> Self:
        settings = connection.settings_as(ChatwootSettings)
        secrets = Secrets.model_validate(dict(connection.secrets))
        return cls(connection, settings, secrets)

    def close(self) -> None:
        self._wire.close()

    def remote_identity(self) -> str | None:
        """Address and account: an installation of Chatwoot tells an agent's token no number."""
        address = urlsplit(self._settings.url)
        return f"{address.netloc.lower()}{address.path}, account {self._settings.account_id}"

    # Notes.

    def key_traits(self, operation: Operation) -> KeyTraits:
        """A note's key is text among text: Chatwoot neither knows nor guards it."""
        if operation is not Operation.NOTE:
            raise NotOffered(
                f"Chatwoot takes no {operation}", system=SYSTEM, operation=str(operation)
            )
        return KeyTraits(native=False, settle=self._settings.settle)

    def preview(self, operation: Operation, request: Frozen) -> Preview:
        """The message that would be written; Chatwoot itself simulates nothing."""
        if not isinstance(request, NoteRequest):
            raise NotOffered(f"Chatwoot takes no {operation}", system=SYSTEM, operation="preview")
        conversation = self._conversation(request, "preview")
        self._wire.get(f"{self._account}/conversations/{conversation}", {}, operation="preview")
        mapping, body = self._body(request, PREVIEW_KEY, "preview")
        effect = Effect(what=f"write a private note on conversation {conversation}")
        return Preview(effects=(effect,), payload=masked(mapping, body))

    def create_note(self, request: NoteRequest, *, key: str) -> Receipt:
        conversation = self._conversation(request, "create_note")
        mapping, body = self._body(request, key, "create_note")
        answer = self._wire.post(
            f"{self._account}/conversations/{conversation}/messages",
            body,
            operation="create_note",
        )
        return self._receipt(mapping.read_answer(answer), conversation, key, existed=False)

    def _body(
        self, request: NoteRequest, key: str, operation: str
    ) -> tuple[Mapping, dict[str, Any]]:
        """The mapping and the message that it makes of a note, which must end with the key."""
        mapping = self._connection.mappings.push("note")
        room = self._settings.longest_note - len(marker(key)) - 2
        ours = request.model_dump(mode="python") | {
            "key": key,
            "text": shortened(request.text, room),
        }
        body = mapping.write(ours)
        if key_of(_stamped(mapping, body)) != key:
            raise Permanent(
                f"{mapping.path.name} does not put {marker('{key}')} at the end of the field that "
                "its idempotency names; without it a note could not be found again",
                system=SYSTEM,
                operation=operation,
            )
        return mapping, body

    def find_note(self, request: NoteRequest, *, key: str) -> Receipt | None:
        """The private message of the conversation that ends with the key's marker.

        Reads the whole conversation, newest messages first: Chatwoot's search over messages is an
        index of its own, and what is not in it yet would pass for not written.
        """
        conversation = self._conversation(request, "find_note")
        mapping = self._connection.mappings.push("note")
        found: list[dict[str, Any]] = []
        for message in self._messages(conversation):
            try:
                note = mapping.read_answer(message)
            except AnswerUnreadable as unreadable:
                raise Transient(unreadable.message, system=SYSTEM, operation="find_note") from None
            # A customer may write whatever they like; only our own staff writes private ones.
            if note.get("private") is True and key_of(_stamped(mapping, message)) == key:
                found.append(note)
        if len(found) > 1:
            raise Duplicated(
                f"{len(found)} notes of the conversation bear our key",
                system=SYSTEM,
                operation="find_note",
            )
        if not found:
            return None
        return self._receipt(found[0], conversation, key, existed=True)

    def _conversation(self, request: NoteRequest, operation: str) -> str:
        """The conversation's display id, which is what Chatwoot's addresses name it by."""
        on = request.on
        if on.connection != self._connection.name or on.kind is not Kind.CONVERSATION:
            raise Rejected(
                f"notes of this connection go on its own conversations, not on a {on.kind} of "
                f"{on.connection}",
                system=SYSTEM,
                operation=operation,
                field="on",
            )
        if not (on.id.isascii() and on.id.isdecimal()):
            raise Missing(
                "a Chatwoot conversation has a number", system=SYSTEM, operation=operation
            )
        return on.id

    def _messages(self, conversation: str) -> Iterator[dict[str, Any]]:
        """Every message of a conversation once, 20 a request.

        Pages are cut by id and sorted by time. Two messages made in the same moment by two of
        Chatwoot's processes may have swapped, so pages overlap by two.
        """
        path = f"{self._account}/conversations/{conversation}/messages"
        seen: set[int] = set()
        query: dict[str, int] = {}
        while True:
            page = _payload(self._wire.get(path, query, operation="find_note"), "find_note")
            ids = sorted(_id_of(message, "find_note") for message in page)
            new = [message for message in page if message["id"] not in seen]
            seen.update(ids)
            yield from new
            if not ids:
                return
            before = ids[2] if new and len(ids) > 3 else ids[0]
            if before >= query.get("before", before + 1):
                raise Transient("the pages do not advance", system=SYSTEM, operation="find_note")
            query = {"before": before}

    def _receipt(
        self, note: dict[str, Any], conversation: str, key: str, *, existed: bool
    ) -> Receipt:
        id_ = str(note["id"])
        return Receipt(
            ref=Ref(connection=self._connection.name, kind=Kind.NOTE, id=id_),
            key=key,
            already_existed=existed,
            at=note.get("at"),
            url=(
                f"{self._settings.url}/app/accounts/{self._settings.account_id}"
                f"/conversations/{conversation}?messageId={id_}"
            ),
        )

    # Contacts.

    def find_contacts(self, clue: Clue, *, limit: int = 10) -> tuple[Contact, ...]:
        """Contacts with one of the clue's addresses, numbers or ids.

        Chatwoot searches for parts of a text, so what it finds is compared here. It does not
        search handles, and a name is no key: the hub compares those on what others find.
        """
        mapping = self._connection.mappings.pull("contact")
        terms = dict.fromkeys((*clue.emails, *clue.phones, *clue.external_ids.values()))
        found: dict[str, Contact] = {}
        for term in terms:
            for row in self._search(term):
                contact = self._contact(mapping, row)
                if contact is not None and _bears(contact, clue):
                    found.setdefault(contact.ref.id, contact)
            if len(found) >= limit:
                break
        return tuple(found.values())[:limit]

    def _search(self, term: str) -> Iterator[dict[str, Any]]:
        for page in range(1, _SEARCH_PAGES + 1):
            query: dict[str, str | int] = {
                "q": term,
                "page": page,
                "sort": "name",  # without an order, pages of a search may overlap and skip
                "include_contact_inboxes": "false",
            }
            answer = self._wire.get(
                f"{self._account}/contacts/search", query, operation="find_contacts"
            )
            rows = _payload(answer, "find_contacts")
            yield from rows
            meta = answer.get("meta")
            more = meta.get("has_more") if isinstance(meta, dict) else None
            if not rows or more is False:
                return

    def _contact(self, mapping: Mapping, row: dict[str, Any]) -> Contact | None:
        """The row as a contact; None for one that the mapping refuses, which nobody can be."""
        try:
            values = mapping.read(row)
            record = to_record(
                Kind.CONTACT,
                connection=self._connection.name,
                id=str(_id_of(row, "find_contacts")),
                values=values,
            )
        except MappingError:
            return None
        assert isinstance(record, Contact)
        return record

    # What is there.

    def check(self) -> CheckReport:
        """Proves address, token, membership and permissions by reading."""
        # Reads would follow a redirect from http to https, writes would not.
        api, failed = self._try("/api", follow=False)
        if api is None:
            return CheckReport(findings=(failed,) if failed else ())
        findings = [
            Finding(name="address", ok=True, detail=f"Chatwoot {api.get('version', '')}".strip())
        ]
        profile, failed = self._try(
            "/api/v1/profile",
            name="token",
            remedy="Take the access token from the profile of a user of the account.",
        )
        if failed:
            findings.append(failed)
        if profile is None:
            return CheckReport(findings=tuple(findings))
        findings.append(Finding(name="token", ok=True, detail="the token is valid"))
        findings += self._membership(profile)
        if any(finding.name == "account" and finding.ok for finding in findings):
            for name, path, query in (
                ("read conversations", f"{self._account}/conversations", {"status": "all"}),
                ("search contacts", f"{self._account}/contacts/search", {"q": "check@example.com"}),
            ):
                remedy = f"Give the token's user the permission to {name}."
                _, failed = self._try(path, query, name=name, remedy=remedy)
                findings.append(failed or Finding(name=name, ok=True))
        return CheckReport(findings=tuple(findings))

    def _membership(self, profile: dict[str, Any]) -> Iterator[Finding]:
        accounts = profile.get("accounts")
        wanted = self._settings.account_id
        mine = next(
            (
                account
                for account in (accounts if isinstance(accounts, list) else ())
                if isinstance(account, dict) and account.get("id") == wanted
            ),
            None,
        )
        if mine is None:
            yield Finding(
                name="account",
                ok=False,
                detail=f"the token's user is not a member of account {wanted}",
                remedy="Invite the user to the account, or correct account_id.",
            )
            return
        active = mine.get("status", "active") == "active"
        yield Finding(
            name="account",
            ok=active,
            detail=f"member of account {wanted}" if active else f"account {wanted} is suspended",
            remedy="" if active else "Have the account activated.",
        )
        permissions = {str(mine.get("role")), *map(str, mine.get("permissions") or ())}
        may = bool(permissions & _MAY_WRITE)
        yield Finding(
            name="write notes",
            ok=may,
            detail="" if may else "the user's role may not write in conversations",
            remedy="" if may else "Give the role one of: " + ", ".join(sorted(_MAY_WRITE)) + ".",
        )

    def _try(
        self,
        path: str,
        query: Values[str, str] | None = None,
        *,
        name: str = "address",
        remedy: str = "",
        follow: bool = True,
    ) -> tuple[dict[str, Any] | None, Finding | None]:
        try:
            return self._wire.get(path, query, operation="check", follow=follow), None
        except RemoteError as error:
            remedy = remedy or "Correct url, or mend the network between here and Chatwoot."
            return None, Finding(name=name, ok=False, detail=error.message, remedy=remedy)

    def describe(self) -> Description:
        """The version, and the two objects that this adapter touches, from Chatwoot's source."""
        version = str(self._wire.get("/api", operation="describe").get("version") or "")
        return Description(system=SYSTEM, version=version, objects=_OBJECTS)


_OBJECTS = (
    ObjectInfo(
        name="create_message",
        fields=(
            FieldInfo(name="content", label="Content", required=True, max_length=MOST_CHARACTERS),
            FieldInfo(
                name="message_type",
                label="Message type",
                values=("outgoing", "incoming"),
            ),
            FieldInfo(name="private", type="boolean", label="Private note"),
            FieldInfo(name="content_type", label="Content type"),
            FieldInfo(name="content_attributes", type="object", label="Content attributes"),
        ),
    ),
    ObjectInfo(
        name="contact",
        fields=(
            FieldInfo(name="id", type="integer", writable=False, unique=True),
            FieldInfo(name="name", label="Name"),
            FieldInfo(name="email", type="email", label="E-mail", unique=True),
            FieldInfo(name="phone_number", type="phone", label="Phone number", unique=True),
            FieldInfo(name="identifier", label="Identifier", unique=True),
            FieldInfo(name="blocked", type="boolean", label="Blocked"),
            FieldInfo(name="thumbnail", writable=False, label="Avatar"),
            FieldInfo(name="availability_status", writable=False, label="Availability"),
            FieldInfo(name="additional_attributes", type="object", label="Attributes"),
            FieldInfo(name="custom_attributes", type="object", label="Custom attributes"),
            FieldInfo(name="contact_inboxes", type="array", writable=False, label="Inboxes"),
            FieldInfo(name="created_at", type="datetime", writable=False, label="Created"),
            FieldInfo(name="last_activity_at", type="datetime", writable=False, label="Last seen"),
        ),
    ),
)


def _stamped(mapping: Mapping, message: dict[str, Any]) -> str | None:
    """The text of a message in the field that bears our key."""
    assert mapping.idempotency is not None  # a mapping of a write is not loaded without
    value = message.get(mapping.idempotency.field)
    return value if isinstance(value, str) else None


def _payload(answer: dict[str, Any], operation: str) -> list[dict[str, Any]]:
    rows = answer.get("payload")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Transient("the answer holds no list", system=SYSTEM, operation=operation)
    return rows


def _id_of(row: dict[str, Any], operation: str) -> int:
    id_ = row.get("id")
    if not isinstance(id_, int):
        raise Transient("a row of the answer has no id", system=SYSTEM, operation=operation)
    return id_


def _bears(contact: Contact, clue: Clue) -> bool:
    """Whether the contact has one of the clue's exact parts."""
    return bool(
        {email.casefold() for email in contact.emails} & {e.casefold() for e in clue.emails}
        or set(contact.phones) & set(clue.phones)
        or contact.external_ids.items() & dict(clue.external_ids).items()
    )
