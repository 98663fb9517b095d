"""E-mails of escalation steps: owed with their event, and repeated as webhooks are.

An address stands where an endpoint's name stands in a delivery: `mailto:anna@example.com`.

SMTP has no way to ask whether a message arrived (RFC 5321, 4.5.4.1: a client that does not see the
reply to its data sends again, and the message is there twice). So that a message is in doubt is
committed before its text is handed over, and the server's answer after. What stays in doubt, since
the hub was killed in between or the line broke, is repeated once and then left, as failed. The
repetition is the same message, Message-ID included, by which mailboxes know it again.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage

from pydantic import SecretStr

from middleware.flows.hub import EmailOptions, Hub
from middleware.store.tables import EventRow

SCHEME = "mailto:"
TIMEOUT_S = 15
OK, FORWARDED = 250, 251


@dataclass(frozen=True)
class Sent:
    """What became of one attempt: the server's answer, and whether another is of any use."""

    ok: bool
    code: int | None = None
    error: str | None = None
    final: bool = False
    in_doubt: bool = False
    """Whether the server may have taken it all the same."""


MOST_IN_DOUBT = 2
"""How often a message is handed over without an answer before it is left alone."""


def endpoints_for(hub: Hub, addresses: Iterable[str]) -> list[str]:
    """The deliveries that these addresses stand for; none where no mail server is configured."""
    if hub.options.email is None:
        return []
    return list(dict.fromkeys(f"{SCHEME}{address}" for address in addresses))


def send(hub: Hub, event: EventRow, endpoint: str, *, announce: Callable[[], bool]) -> Sent | None:
    """Send an event to an address, once; None where somebody else does.

    `announce` is called before the message itself is handed over, and says whether it may be: from
    there on it is in doubt, unless the answer says otherwise.
    """
    options = hub.options.email
    if options is None:
        return Sent(ok=False, error="no mail server is configured", final=True)
    address = endpoint.removeprefix(SCHEME)
    message = written(options, event, address, link=hub.options.public_url)
    announced = False
    try:
        with _server(options) as server:
            if options.username is not None:
                password: SecretStr = options.password or SecretStr("")
                server.login(options.username, password.get_secret_value())
            server.ehlo_or_helo_if_needed()
            code, _ = server.mail(options.sender)
            if code != OK:
                return Sent(ok=False, code=code, error="the sender was refused")
            code, _ = server.rcpt(address)
            if code not in (OK, FORWARDED):
                return Sent(ok=False, code=code, error="the address was refused", final=code >= 500)
            announced = announce()
            if not announced:
                return None
            code, _ = server.data(message.as_bytes(policy=policy.SMTP))
            if code != OK:
                return Sent(ok=False, code=code, error="the message was refused")
    except smtplib.SMTPResponseException as error:
        # A 5xx of the server about anything but the address is mended by a person: try again.
        return Sent(ok=False, code=error.smtp_code, error=type(error).__name__)
    except UnicodeError:
        return Sent(ok=False, error="the address has letters that no server takes", final=True)
    except (OSError, smtplib.SMTPException) as error:
        return Sent(ok=False, error=type(error).__name__, in_doubt=announced)
    return Sent(ok=True, code=code)


def _server(options: EmailOptions) -> smtplib.SMTP:
    if options.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(options.host, options.port, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(options.host, options.port, timeout=TIMEOUT_S)
    if options.security == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


def written(
    options: EmailOptions, event: EventRow, address: str, *, link: str | None
) -> EmailMessage:
    """The message: ids, times and figures of the event, nobody's name and nobody's words."""
    data = event.data
    what = str(data.get("clock", "")).replace("_", " ")
    message = EmailMessage()
    message["Subject"] = f"{data['id']}: {data.get('step')} ({what} due {data.get('due_at')})"
    message["From"] = options.sender
    message["To"] = address
    message["Date"] = event.at
    message["Message-ID"] = f"<{event.id}@amends>"
    message["Auto-Submitted"] = "auto-generated"
    lines = [f"{name}: {value}" for name, value in data.items() if value is not None]
    if link is not None:
        lines.append(f"{link}/v1/complaints/{data['id']}")
    message.set_content("\n".join(lines) + "\n")
    return message
