"""A helpdesk that speaks Chatwoot's REST wire and sends its signed account webhooks.

It holds what the adapter and the inlet use of Chatwoot: the profile, conversations, messages with
private notes, and contacts, under `/api/v1/accounts/<id>/`, with Chatwoot's page sizes, limits and
error bodies. Whoever writes in a conversation (`POST /_sandbox/write`) makes it post a
`message_created` webhook; so does a note made through the API, as Chatwoot's own do.

Where Chatwoot has surprises, this has them too, from its source (chatwoot/chatwoot, `develop`):

- `app/finders/message_finder.rb`: 20 messages a page before an id, 100 after one;
- `app/models/message.rb`: at most 150,000 characters; at most 200 messages a minute in one
  conversation, refused as a validation error with status 422;
- `app/models/concerns/liquidable.rb`: the text of an outgoing message, private or not, is a Liquid
  template, and what it renders to is what is stored;
- `app/controllers/api/v1/accounts/conversations/messages_controller.rb`: every exception while a
  message is made answers 422, also one that comes after the message was committed;
- `app/controllers/api/v1/accounts/contacts_controller.rb`: search is `ILIKE '%q%'` without
  escaping, 15 a page;
- `lib/webhooks/trigger.rb`: the signature covers timestamp, dot and body, and is made anew for
  every attempt, while the delivery id stays; 5 seconds to answer; account webhooks are not retried.
"""

# ruff: noqa: S608 - what is put into statements here are this file's own names, never a value

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import queue
import re
import sqlite3
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ACCOUNT = 1
"""The id of the one account."""
TOKEN = "desk-sandbox-token"
"""The access token of the agent bot user who is a member of the account."""
OUTSIDER_TOKEN = "desk-outsider-token"
"""The access token of a user who is a member of no account."""
SECRET = "desk-webhook-secret"
"""What webhooks are signed with unless another secret is given."""
VERSION = "4.13.0"

MASKED = "sandbox.masked"
"""Where the server leaves the variant of a masked fault; see `_masked`."""

MESSAGES_BEFORE = 20
MESSAGES_AFTER = 100
MESSAGES_BETWEEN = 1000
CONTACTS_A_PAGE = 15
CONVERSATIONS_A_PAGE = 25
LONGEST_CONTENT = 150_000
MESSAGES_A_MINUTE = 200
WEBHOOK_TIMEOUT_S = 5.0

_TYPES = {"incoming": 0, "outgoing": 1, "activity": 2, "template": 3}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}
_CHANNELS = {
    "x": "Channel::TwitterProfile",
    "twitter": "Channel::TwitterProfile",
    "instagram": "Channel::Instagram",
    "facebook": "Channel::FacebookPage",
    "whatsapp": "Channel::Whatsapp",
    "email": "Channel::Email",
}

_SCHEMA = """
create table if not exists contact (
  id integer primary key autoincrement, name text, email text unique, phone_number text unique,
  identifier text unique, additional_attributes text not null, custom_attributes text not null,
  created_at real not null, last_activity_at real);
create table if not exists conversation (
  id integer primary key autoincrement, contact_id integer not null, channel text not null,
  status text not null, additional_attributes text not null, uuid text not null,
  source_id text not null,
  created_at real not null, last_activity_at real not null);
create table if not exists message (
  id integer primary key autoincrement, conversation_id integer not null, content text,
  message_type integer not null, private integer not null, content_type text not null,
  content_attributes text not null, source_id text, sender text not null, created_at real not null);
create index if not exists message_of on message (conversation_id, id);
create table if not exists delivery (
  id text primary key, number integer not null, message_id integer not null, body blob not null,
  attempts text not null);
"""


class _Refusal(Exception):
    def __init__(self, status: int, body: object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def _unprocessable(message: str) -> _Refusal:
    return _Refusal(422, {"error": message})


def _not_found() -> _Refusal:
    return _Refusal(404, {"error": "Resource could not be found"})


@dataclass
class _Call:
    method: str
    path: str
    query: Mapping[str, str]
    raw: bytes
    token: str | None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body; refused as Rails refuses what it cannot parse."""
        if not self.raw:
            return {}
        try:
            body = json.loads(self.raw)
        except ValueError:
            raise _Refusal(400, {"status": 400, "error": "Bad Request"}) from None
        if not isinstance(body, dict):
            raise _Refusal(400, {"status": 400, "error": "Bad Request"})
        return body


@dataclass
class _Webhook:
    url: str
    secret: str
    jobs: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """What Chatwoot puts into `X-Chatwoot-Signature` for this body at this time."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return "sha256=" + digest.hexdigest()


class Desk:
    """The helpdesk: a WSGI application with its own database, and its webhooks.

    Beside the API it answers, for tests and the demo:

    - `POST /_sandbox/write` `{"conversation": 7 | "new", "contact": {…}, "text": "…"}`: somebody
      writes; the answer holds the ids and what became of the webhook. `contact` takes `name`,
      `email`, `phone`, `identifier`, `additional_attributes` and `native_id`, the network's own id
      of the person; `network` or `channel` says where a new conversation takes place,
      `by: "agent"` makes a public reply, `source_id` names the message in its network.
    - `POST /_sandbox/redeliver` `{"delivery": "…"}` or `{}` for the last: the same body and
      delivery id again, with a new timestamp and signature.
    - `GET /_sandbox/deliveries`: what was sent and answered.
    - `GET /_sandbox/rows?marker=…`: how many messages hold that text.
    """

    def __init__(
        self,
        state_path: Path | None,
        webhook_url: str | None,
        secret: str,
        *,
        token: str,
        role: str,
        messages_a_minute: int,
        now: Callable[[], float],
    ) -> None:
        self.token = token
        self.role = role
        self._limit = messages_a_minute
        self._now = now
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            str(state_path) if state_path else ":memory:",
            check_same_thread=False,
            isolation_level=None,
        )
        self._db.row_factory = sqlite3.Row
        if state_path:
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
        self._db.executescript(_SCHEMA)
        self._webhook = _Webhook(webhook_url, secret) if webhook_url else None
        self._sender: threading.Thread | None = None
        self._busy = 0
        self._idle = threading.Condition()

    # The WSGI side.

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        call = _Call(
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO", "/").rstrip("/") or "/",
            query={name: values[-1] for name, values in query.items()},
            raw=environ["wsgi.input"].read(length) if length else b"",
            token=environ.get("HTTP_API_ACCESS_TOKEN"),
        )
        try:
            status, body = self._masked(environ.get(MASKED), call)
        except _Refusal as refusal:
            status, body = refusal.status, refusal.body
        if isinstance(body, str):
            kind, raw = "text/html; charset=utf-8", body.encode()
        else:
            kind, raw = "application/json; charset=utf-8", _json(body)
        start_response(
            f"{status} {_REASONS.get(status, 'Status')}",
            [("Content-Type", kind), ("Content-Length", str(len(raw)))],
        )
        return [raw]

    def _masked(self, variant: str | None, call: _Call) -> tuple[int, object]:
        """Answer the call, or lie about it in one of the ways that are known of Chatwoot.

        `login`: 200 and the page of a single sign-on in front of it, nothing done. `flooded`: the
        minute's limit, refused as a validation error. `unauthorised`: the token was revoked.
        `after_commit`: the message is made, then an exception of a callback answers 422.
        """
        match variant:
            case None:
                return self._route(call)
            case "login":
                return 200, "<!DOCTYPE html><html><title>Sign in</title><form></form></html>"
            case "flooded":
                raise _unprocessable("Validation failed: Too many messages")
            case "unauthorised":
                raise _Refusal(401, {"error": "Invalid Access Token"})
            case "" | "after_commit":
                self._route(call)
                raise _unprocessable(
                    "Error connecting to Redis on redis:6379 (Errno::ECONNREFUSED)"
                )
            case _:
                raise ValueError(f"the desk has no masked fault {variant!r}")

    def _route(self, call: _Call) -> tuple[int, object]:
        for method, pattern, view in _ROUTES:
            found = pattern.fullmatch(call.path)
            if found and method == call.method:
                with self._lock:
                    if "account" in found.groupdict():
                        self._authorise(call, int(found["account"]))
                    return view(self, call, **{k: int(v) for k, v in found.groupdict().items()})
        return 404, "<!DOCTYPE html><html><title>The page you were looking for</title></html>"

    def _authenticate(self, call: _Call) -> bool:
        """Whether the caller is the account's agent; refused when it is nobody."""
        if not call.token:
            message = "You need to sign in or sign up before continuing."
            raise _Refusal(401, {"errors": [message]})
        if call.token == self.token:
            return True
        if call.token == OUTSIDER_TOKEN:
            return False
        raise _Refusal(401, {"error": "Invalid Access Token"})

    def _authorise(self, call: _Call, account: int) -> None:
        member = self._authenticate(call)
        if account != ACCOUNT:
            raise _not_found()
        if not member:
            raise _Refusal(401, {"error": "You are not authorized to access this account"})

    # The application API.

    def _api(self, call: _Call) -> tuple[int, object]:
        moment = datetime.fromtimestamp(self._now(), UTC)
        return 200, {
            "version": VERSION,
            "timestamp": moment.strftime("%Y-%m-%d %H:%M:%S"),
            "queue_services": "ok",
            "data_services": "ok",
        }

    def _profile(self, call: _Call) -> tuple[int, object]:
        member = self._authenticate(call)
        accounts = [
            {
                "id": ACCOUNT,
                "name": "Sandbox",
                "status": "active",
                "role": self.role,
                "permissions": [self.role],
                "availability": "online",
                "availability_status": "online",
                "auto_offline": False,
            }
        ]
        user = _AGENT if member else {"id": 9, "name": "Outsider", "email": "outsider@example.com"}
        return 200, {
            "access_token": call.token,
            "account_id": ACCOUNT if member else None,
            "id": user["id"],
            "name": user["name"],
            "available_name": user["name"],
            "email": user["email"],
            "confirmed": True,
            "role": self.role if member else None,
            "type": None,
            "ui_settings": {},
            "accounts": accounts if member else [],
        }

    def _conversations(self, call: _Call, account: int) -> tuple[int, object]:
        status = call.query.get("status", "open")
        page = _page(call)
        where, values = ("", ()) if status == "all" else (" where status = ?", (status,))
        rows = self._rows(
            f"select * from conversation{where} order by last_activity_at desc, id desc "
            "limit ? offset ?",
            *values,
            CONVERSATIONS_A_PAGE,
            (page - 1) * CONVERSATIONS_A_PAGE,
        )
        count = self._one(f"select count(*) n from conversation{where}", *values)["n"]
        meta = {"mine_count": 0, "unassigned_count": count, "assigned_count": 0, "all_count": count}
        payload = [self._conversation(row) for row in rows]
        return 200, {"data": {"meta": meta, "payload": payload}}

    def _show_conversation(
        self, call: _Call, account: int, conversation: int
    ) -> tuple[int, object]:
        return 200, self._conversation(self._find("conversation", conversation))

    def _messages(self, call: _Call, account: int, conversation: int) -> tuple[int, object]:
        row = self._find("conversation", conversation)
        before, after = _whole(call.query.get("before")), _whole(call.query.get("after"))
        base = "select * from message where conversation_id = ?"
        if before is not None and after is not None:
            rows = self._rows(
                f"{base} and id >= ? and id < ? order by id limit ?",
                conversation,
                after,
                before,
                MESSAGES_BETWEEN,
            )
        elif after is not None:
            rows = self._rows(
                f"{base} and id > ? order by id limit ?", conversation, after, MESSAGES_AFTER
            )
        else:
            rows = self._rows(
                f"{base} and id < ? order by id desc limit ?",
                conversation,
                before if before is not None else 2**62,
                MESSAGES_BEFORE,
            )[::-1]
        meta = {
            "labels": [],
            "additional_attributes": json.loads(row["additional_attributes"]),
            "contact": self._contact(self._find("contact", row["contact_id"])),
            "agent_last_seen_at": 0,
            "assignee_last_seen_at": 0,
        }
        return 200, {"meta": meta, "payload": [self._message(message) for message in rows]}

    def _create_message(self, call: _Call, account: int, conversation: int) -> tuple[int, object]:
        row = self._find("conversation", conversation)
        asked = call.body
        kind = asked.get("message_type") or "outgoing"
        if kind not in _TYPES:
            raise _unprocessable(f"'{kind}' is not a valid message_type")
        if kind == "incoming" and row["channel"] != "Channel::Api":
            raise _unprocessable("Incoming messages are only allowed in Api inboxes")
        content = asked.get("content")
        contact = self._find("contact", row["contact_id"])
        message = self._add_message(
            row,
            None if content is None else str(content),
            kind,
            private=_true(asked.get("private")),
            sender=self._sender_of(contact) if kind == "incoming" else _AGENT,
            content_attributes=asked.get("content_attributes") or {},
        )
        self._later(self._deliverable(message))
        answer = self._message(message)
        if asked.get("echo_id") is not None:
            answer["echo_id"] = asked["echo_id"]
        return 200, answer

    def _search(self, call: _Call, account: int) -> tuple[int, object]:
        wanted = call.query.get("q", "").strip()
        if not wanted:
            raise _unprocessable("Specify search string with parameter q")
        sort = call.query.get("sort", "id").lstrip("-")
        if sort not in ("id", "name", "email", "phone_number", "created_at", "last_activity_at"):
            raise _Refusal(400, {"errors": {"sort": ["contains invalid sort parameters"]}})
        page = _page(call)
        # SQLite's like is Postgres's ilike for ASCII; % and _ in q are wildcards in both.
        where = (
            "name like :like or email like :like or phone_number like :like "
            "or instr(identifier, :q) > 0 or cast(id as text) = :q"
        )
        with_values = {"like": f"%{wanted}%", "q": wanted}
        rows = self._db.execute(
            f"select * from contact where {where} order by {sort}, id limit :limit offset :offset",
            {
                **with_values,
                "limit": CONTACTS_A_PAGE + 1,
                "offset": (page - 1) * CONTACTS_A_PAGE,
            },
        ).fetchall()
        shown = rows[:CONTACTS_A_PAGE]
        meta = {"count": len(shown), "current_page": page, "has_more": len(rows) > len(shown)}
        return 200, {"meta": meta, "payload": [self._contact(row) for row in shown]}

    def _show_contact(self, call: _Call, account: int, contact: int) -> tuple[int, object]:
        return 200, {"payload": self._contact(self._find("contact", contact))}

    def _create_contact(self, call: _Call, account: int) -> tuple[int, object]:
        asked = call.body
        row = self._add_contact(asked | {"phone": asked.get("phone_number")})
        body = {"contact": self._contact(row), "contact_inbox": {"inbox": None, "source_id": None}}
        return 200, {"payload": body}

    # What only the sandbox has.

    def _write(self, call: _Call) -> tuple[int, object]:
        asked = call.body
        text = asked.get("text")
        if not isinstance(text, str):
            raise _unprocessable("text is missing")
        person = asked.get("contact") or {}
        wanted = asked.get("conversation", "new")
        if wanted != "new" and not str(wanted).isdecimal():
            raise _unprocessable("conversation is an id, or new")
        if wanted == "new":
            contact = self._known_contact(person) or self._add_contact(person)
            network = str(asked.get("network", "api"))
            row = self._add_conversation(
                contact,
                channel=str(asked.get("channel") or _CHANNELS.get(network, "Channel::Api")),
                native_id=person.get("native_id"),
                additional_attributes=asked.get("additional_attributes") or {},
            )
        else:
            row = self._find("conversation", int(wanted))
            contact = self._find("contact", row["contact_id"])
        by_agent = asked.get("by") == "agent"
        message = self._add_message(
            row,
            text,
            "outgoing" if by_agent else "incoming",
            private=False,
            sender=_AGENT if by_agent else self._sender_of(contact),
            source_id=asked.get("source_id"),
        )
        delivery = self._deliverable(message)
        return 200, {
            "conversation": row["id"],
            "contact": contact["id"],
            "message": message["id"],
            "delivery": self._deliver_unlocked(delivery) if delivery else None,
        }

    def _redeliver(self, call: _Call) -> tuple[int, object]:
        wanted = call.body.get("delivery")
        row = (
            self._one("select id from delivery where id = ?", wanted)
            if wanted
            else self._one("select id from delivery order by number desc limit 1")
        )
        if row is None:
            raise _not_found()
        return 200, self._deliver_unlocked(row["id"])

    def _deliveries(self, call: _Call) -> tuple[int, object]:
        rows = self._rows("select * from delivery order by number")
        found = [
            {
                "id": row["id"],
                "message": row["message_id"],
                "body": bytes(row["body"]).decode(),
                "attempts": json.loads(row["attempts"]),
            }
            for row in rows
        ]
        return 200, {"deliveries": found}

    def _marked(self, call: _Call) -> tuple[int, object]:
        marker = call.query.get("marker") or call.query.get("key")
        if not marker:
            raise _unprocessable("marker is missing")
        rows = self._rows("select id from message where instr(content, ?) > 0", marker)
        return 200, {"count": len(rows), "ids": [row["id"] for row in rows]}

    # Rows.

    def _rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        return self._db.execute(statement, values).fetchall()

    def _one(self, statement: str, *values: object) -> Any:
        return self._db.execute(statement, values).fetchone()

    def _find(self, table: str, id_: int) -> Any:
        row = self._one(f"select * from {table} where id = ?", id_)
        if row is None:
            raise _not_found()
        return row

    def _known_contact(self, person: Mapping[str, Any]) -> Any:
        """The contact of this identifier, e-mail or phone, in Chatwoot's order of trust."""
        for column, value in (
            ("identifier", person.get("identifier")),
            ("email", (person.get("email") or "").lower()),
            ("phone_number", person.get("phone")),
        ):
            if value:
                row = self._one(f"select * from contact where {column} = ?", value)
                if row is not None:
                    return row
        return None

    def _add_contact(self, person: Mapping[str, Any]) -> Any:
        email = str(person.get("email") or "").strip().lower() or None
        phone, identifier = person.get("phone") or None, person.get("identifier") or None
        problems: list[tuple[str, str]] = []
        if email and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
            problems.append(("email", "Invalid email"))
        if phone and not re.fullmatch(r"\+[1-9]\d{1,14}", phone):
            problems.append(("phone_number", "Phone number should be in e164 format"))
        for column, value, label in (
            ("email", email, "Email"),
            ("phone_number", phone, "Phone number"),
            ("identifier", identifier, "Identifier"),
        ):
            if value and self._one(f"select 1 from contact where {column} = ?", value):
                problems.append((column, f"{label} has already been taken"))
        if problems:
            message = ", ".join(text for _, text in problems)
            raise _Refusal(422, {"message": message, "attributes": [name for name, _ in problems]})
        cursor = self._db.execute(
            "insert into contact (name, email, phone_number, identifier, additional_attributes, "
            "custom_attributes, created_at) values (?, ?, ?, ?, ?, ?, ?)",
            (
                person.get("name") or "",
                email,
                phone,
                identifier,
                json.dumps(person.get("additional_attributes") or {}),
                json.dumps(person.get("custom_attributes") or {}),
                self._now(),
            ),
        )
        return self._find("contact", cursor.lastrowid or 0)

    def _add_conversation(
        self,
        contact: sqlite3.Row,
        *,
        channel: str,
        native_id: str | None,
        additional_attributes: Mapping[str, Any],
    ) -> Any:
        now = self._now()
        # A contact has one source id in each inbox: the network's id of the person, else a UUID.
        known = self._one(
            "select source_id from conversation where contact_id = ? and channel = ?",
            contact["id"],
            channel,
        )
        source_id = native_id or (known["source_id"] if known else _uuid())
        attributes = json.dumps(additional_attributes)
        cursor = self._db.execute(
            "insert into conversation (contact_id, channel, status, additional_attributes, uuid, "
            "source_id, created_at, last_activity_at) values (?, ?, 'open', ?, ?, ?, ?, ?)",
            (contact["id"], channel, attributes, _uuid(), source_id, now, now),
        )
        return self._find("conversation", cursor.lastrowid or 0)

    def _add_message(
        self,
        conversation: sqlite3.Row,
        content: str | None,
        kind: str,
        *,
        private: bool,
        sender: Mapping[str, Any],
        content_attributes: Mapping[str, Any] | None = None,
        source_id: str | None = None,
    ) -> Any:
        now = self._now()
        minute = self._one(
            "select count(*) n from message where conversation_id = ? and created_at >= ?",
            conversation["id"],
            now - 60,
        )
        if minute["n"] >= self._limit:
            raise _unprocessable("Validation failed: Too many messages")
        if content is not None and "\x00" in content:
            raise _unprocessable("string contains null byte")
        if content is not None and len(content) > LONGEST_CONTENT:
            raise _unprocessable(
                f"Validation failed: Content is too long (maximum is {LONGEST_CONTENT} characters)"
            )
        if content and kind in ("outgoing", "template"):
            content = self._rendered(content, conversation)
        cursor = self._db.execute(
            "insert into message (conversation_id, content, message_type, private, content_type, "
            "content_attributes, source_id, sender, created_at) "
            "values (?, ?, ?, ?, 'text', ?, ?, ?, ?)",
            (
                conversation["id"],
                content,
                _TYPES[kind],
                int(private),
                json.dumps(content_attributes or {}),
                source_id,
                json.dumps(dict(sender)),
                now,
            ),
        )
        self._db.execute(
            "update conversation set last_activity_at = ?, "
            "status = case when ? then 'open' else status end where id = ?",
            (now, kind == "incoming", conversation["id"]),
        )
        return self._find("message", cursor.lastrowid or 0)

    def _rendered(self, content: str, conversation: sqlite3.Row) -> str:
        """The content as Liquid renders it; a template that does not parse stays as it is."""
        contact = self._find("contact", conversation["contact_id"])
        names = {
            "contact.name": contact["name"] or "",
            "contact.email": contact["email"] or "",
            "contact.phone_number": contact["phone_number"] or "",
            "conversation.display_id": str(conversation["id"]),
            "agent.name": _AGENT["name"],
            "account.name": "Sandbox",
        }
        kept: list[str] = []

        def keep(code: re.Match[str]) -> str:
            kept.append(code[0])
            return f"\x00{len(kept) - 1}\x00"

        text = re.sub(r"`.*?`", keep, content, flags=re.DOTALL)
        text = re.sub(
            r"\{\{(.*?)\}\}",
            lambda found: names.get(found[1].partition("|")[0].strip(), ""),
            text,
            flags=re.DOTALL,
        )
        text = re.sub(r"\{%.*?%\}", "", text, flags=re.DOTALL)
        if "{{" in text or "{%" in text:
            return content
        return re.sub(r"\x00(\d+)\x00", lambda found: kept[int(found[1])], text)

    # JSON shapes (app/views/api/v1/…, app/presenters/…).

    def _contact(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "additional_attributes": json.loads(row["additional_attributes"]),
            "availability_status": "offline",
            "email": row["email"],
            "id": row["id"],
            "name": row["name"],
            "phone_number": row["phone_number"],
            "blocked": False,
            "identifier": row["identifier"],
            "thumbnail": "",
            "custom_attributes": json.loads(row["custom_attributes"]),
            "created_at": int(row["created_at"]),
            "contact_inboxes": [],
        }

    def _sender_of(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "additional_attributes": json.loads(row["additional_attributes"]),
            "custom_attributes": json.loads(row["custom_attributes"]),
            "email": row["email"],
            "id": row["id"],
            "identifier": row["identifier"],
            "name": row["name"],
            "phone_number": row["phone_number"],
            "thumbnail": "",
            "blocked": False,
            "type": "contact",
        }

    def _message(self, row: sqlite3.Row) -> dict[str, Any]:
        return {
            "id": row["id"],
            "content": row["content"],
            "inbox_id": 1,
            "conversation_id": row["conversation_id"],
            "message_type": row["message_type"],
            "content_type": row["content_type"],
            "status": "sent",
            "content_attributes": json.loads(row["content_attributes"]),
            "created_at": int(row["created_at"]),
            "private": bool(row["private"]),
            "source_id": row["source_id"],
            "sender": json.loads(row["sender"]),
        }

    def _conversation(self, row: sqlite3.Row) -> dict[str, Any]:
        last = self._one(
            "select * from message where conversation_id = ? order by id desc limit 1", row["id"]
        )
        contact = self._find("contact", row["contact_id"])
        return {
            "meta": {
                "sender": self._contact(contact),
                "channel": row["channel"],
                "hmac_verified": False,
            },
            "id": row["id"],
            "messages": [self._message(last)] if last else [],
            "account_id": ACCOUNT,
            "uuid": row["uuid"],
            "additional_attributes": json.loads(row["additional_attributes"]),
            "agent_last_seen_at": 0,
            "assignee_last_seen_at": 0,
            "can_reply": True,
            "contact_last_seen_at": 0,
            "custom_attributes": {},
            "inbox_id": 1,
            "labels": [],
            "muted": False,
            "snoozed_until": None,
            "status": row["status"],
            "created_at": int(row["created_at"]),
            "updated_at": row["last_activity_at"],
            "timestamp": int(row["last_activity_at"]),
            "first_reply_created_at": 0,
            "unread_count": 0,
            "last_activity_at": int(row["last_activity_at"]),
            "priority": None,
            "waiting_since": 0,
        }

    def _event(self, message: sqlite3.Row) -> dict[str, Any]:
        """`Message#webhook_data` with the event's name."""
        row = self._find("conversation", message["conversation_id"])
        contact = self._find("contact", row["contact_id"])
        moment = datetime.fromtimestamp(message["created_at"], UTC)
        created = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        sender = json.loads(message["sender"])
        if sender.get("type") == "contact":
            sender = {"account": {"id": ACCOUNT, "name": "Sandbox"}, "avatar": "", **sender}
        return {
            "account": {"id": ACCOUNT, "name": "Sandbox"},
            "additional_attributes": {},
            "content_attributes": json.loads(message["content_attributes"]),
            "content_type": message["content_type"],
            "content": message["content"],
            "conversation": {
                "additional_attributes": json.loads(row["additional_attributes"]),
                "can_reply": True,
                "channel": row["channel"],
                "contact_inbox": {
                    "id": row["id"],
                    "contact_id": contact["id"],
                    "inbox_id": 1,
                    "source_id": row["source_id"],
                    "hmac_verified": False,
                },
                "id": row["id"],
                "inbox_id": 1,
                "messages": [self._message(message)],
                "labels": [],
                "meta": {
                    "sender": self._sender_of(contact),
                    "assignee": None,
                    "assignee_type": None,
                    "team": None,
                    "hmac_verified": False,
                },
                "status": row["status"],
                "custom_attributes": {},
                "snoozed_until": None,
                "unread_count": 1,
                "first_reply_created_at": None,
                "priority": None,
                "waiting_since": int(message["created_at"]),
                "agent_last_seen_at": 0,
                "contact_last_seen_at": 0,
                "last_activity_at": int(row["last_activity_at"]),
                "timestamp": int(row["last_activity_at"]),
                "created_at": int(row["created_at"]),
                "updated_at": row["last_activity_at"],
            },
            "created_at": created,
            "id": message["id"],
            "inbox": {"id": 1, "name": row["channel"].removeprefix("Channel::")},
            "message_type": _TYPE_NAMES[message["message_type"]],
            "private": bool(message["private"]),
            "sender": sender,
            "source_id": message["source_id"],
            "event": "message_created",
        }

    # Webhooks.

    def _deliverable(self, message: sqlite3.Row) -> str | None:
        """Write down what is to be posted about a message; None without a webhook."""
        if self._webhook is None:
            return None
        id_ = _uuid()
        self._db.execute(
            "insert into delivery (id, number, message_id, body, attempts) values "
            "(?, (select coalesce(max(number), 0) + 1 from delivery), ?, ?, '[]')",
            (id_, message["id"], _json(self._event(message))),
        )
        return id_

    def _later(self, delivery: str | None) -> None:
        """Post it from a thread, as Chatwoot's job queue does after answering."""
        if delivery is None or self._webhook is None:
            return
        with self._idle:
            self._busy += 1
        if self._sender is None:
            self._sender = threading.Thread(target=self._work, name="desk-webhooks", daemon=True)
            self._sender.start()
        self._webhook.jobs.put(delivery)

    def _work(self) -> None:
        assert self._webhook is not None
        while (delivery := self._webhook.jobs.get()) is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed in the meantime
                self._deliver(delivery)
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _deliver_unlocked(self, delivery: str) -> dict[str, Any]:
        """Post it now, letting the receiver call this API meanwhile."""
        self._lock.release()
        try:
            return self._deliver(delivery)
        finally:
            self._lock.acquire()

    def _deliver(self, delivery: str) -> dict[str, Any]:
        if self._webhook is None:
            raise _unprocessable("no webhook is configured")
        with self._lock:
            body = bytes(self._one("select body from delivery where id = ?", delivery)["body"])
        timestamp = str(int(self._now()))
        request = urllib.request.Request(  # noqa: S310 - the address is the sandbox's own setting
            self._webhook.url,
            data=body,
            method="POST",
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "X-Chatwoot-Delivery": delivery,
                "X-Chatwoot-Timestamp": timestamp,
                "X-Chatwoot-Signature": sign(self._webhook.secret, timestamp, body),
            },
        )
        attempt: dict[str, Any] = {"at": int(timestamp), "status": None, "error": None}
        try:
            with _OPENER.open(request, timeout=WEBHOOK_TIMEOUT_S) as answer:
                attempt["status"] = answer.status
        except urllib.error.HTTPError as refused:
            attempt["status"] = refused.code
            refused.close()
        except OSError as error:
            attempt["error"] = f"{type(error).__name__}: {error}"
        with self._lock:
            row = self._one("select attempts from delivery where id = ?", delivery)
            attempts = [*json.loads(row["attempts"]), attempt]
            self._db.execute(
                "update delivery set attempts = ? where id = ?", (json.dumps(attempts), delivery)
            )
        return {"id": delivery, **attempt}

    def drain(self, timeout: float = 10.0) -> bool:
        """Wait until every webhook that was due is posted; False when the time ran out first."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._busy, timeout)

    def close(self) -> None:
        """Stop posting and close the database. Safe to call twice."""
        if self._sender is not None and self._webhook is not None:
            self._webhook.jobs.put(None)
            self._sender.join(WEBHOOK_TIMEOUT_S + 1)
            self._sender = None
        with self._lock:
            self._db.close()


def build_desk(
    state_path: Path | None = None,
    webhook_url: str | None = None,
    secret: str = SECRET,
    *,
    token: str = TOKEN,
    role: str = "agent",
    messages_a_minute: int = MESSAGES_A_MINUTE,
    now: Callable[[], float] = time.time,
) -> Desk:
    """The helpdesk as a WSGI application; in memory without `state_path`.

    Webhooks go to `webhook_url`, signed with `secret`; without an address none are made.
    """
    return Desk(
        state_path,
        webhook_url,
        secret,
        token=token,
        role=role,
        messages_a_minute=messages_a_minute,
        now=now,
    )


_AGENT: dict[str, Any] = {
    "id": 1,
    "name": "Amends",
    "available_name": "Amends",
    "email": "hub@example.com",
    "avatar_url": "",
    "type": "user",
    "availability_status": "online",
    "thumbnail": "",
}

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    422: "Unprocessable Entity",
}

_ACCOUNT_PATH = r"/api/v1/accounts/(?P<account>\d+)"
_ROUTES: tuple[tuple[str, re.Pattern[str], Callable[..., tuple[int, object]]], ...] = tuple(
    (method, re.compile(path), view)
    for method, path, view in (
        ("GET", r"/api", Desk._api),
        ("GET", r"/api/v1/profile", Desk._profile),
        ("GET", rf"{_ACCOUNT_PATH}/conversations", Desk._conversations),
        (
            "GET",
            rf"{_ACCOUNT_PATH}/conversations/(?P<conversation>\d+)",
            Desk._show_conversation,
        ),
        (
            "GET",
            rf"{_ACCOUNT_PATH}/conversations/(?P<conversation>\d+)/messages",
            Desk._messages,
        ),
        (
            "POST",
            rf"{_ACCOUNT_PATH}/conversations/(?P<conversation>\d+)/messages",
            Desk._create_message,
        ),
        ("GET", rf"{_ACCOUNT_PATH}/contacts/search", Desk._search),
        ("GET", rf"{_ACCOUNT_PATH}/contacts/(?P<contact>\d+)", Desk._show_contact),
        ("POST", rf"{_ACCOUNT_PATH}/contacts", Desk._create_contact),
        ("POST", r"/_sandbox/write", Desk._write),
        ("POST", r"/_sandbox/redeliver", Desk._redeliver),
        ("GET", r"/_sandbox/deliveries", Desk._deliveries),
        ("GET", r"/_sandbox/rows", Desk._marked),
    )
)


def _json(value: object) -> bytes:
    """JSON as Rails writes it: UTF-8 as it is, and <, > and & escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for raw in "<>&\u2028\u2029":
        text = text.replace(raw, f"\\u{ord(raw):04x}")
    return text.encode()


def _uuid() -> str:
    return str(uuid.uuid4())


def _whole(text: str | None) -> int | None:
    """A whole number as Ruby's `to_i` reads it; None when absent or blank."""
    if not text:
        return None
    found = re.match(r"\s*(-?\d+)", text)
    return int(found[1]) if found else 0


def _page(call: _Call) -> int:
    return max(_whole(call.query.get("page")) or 1, 1)


def _true(value: object) -> bool:
    return value is True or str(value).lower() in ("true", "1")
