"""E-mails of escalation steps: owed with their event, and repeated as webhooks are.

An address stands where an endpoint's name stands in a delivery: `mailto:anna@example.com`. A
message that a server took may be sent once more when the hub is killed before it notes so: it
bears the same Message-ID then.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage

from pydantic import SecretStr

from middleware.flows.hub import EmailOptions, Hub
from middleware.store.tables import EventRow

SCHEME = "mailto:"
TIMEOUT_S = 15


@dataclass(frozen=True)
class Sent:
    """What became of one attempt: the server's answer, and whether another is of any use."""

    ok: bool
    code: int | None = None
    error: str | None = None
    final: bool = False


def endpoints_for(hub: Hub, addresses: Iterable[str]) -> list[str]:
    """The deliveries that these addresses stand for; none where no mail server is configured."""
    if hub.options.email is None:
        return []
    return list(dict.fromkeys(f"{SCHEME}{address}" for address in addresses))


def send(hub: Hub, event: EventRow, endpoint: str) -> Sent:
    """Send an event to an address, once."""
    options = hub.options.email
    if options is None:
        return Sent(ok=False, error="no mail server is configured", final=True)
    message = written(options, event, endpoint.removeprefix(SCHEME), link=hub.options.public_url)
    try:
        with _server(options) as server:
            if options.username is not None:
                password: SecretStr = options.password or SecretStr("")
                server.login(options.username, password.get_secret_value())
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code = min((answer[0] for answer in error.recipients.values()), default=550)
        return Sent(ok=False, code=code, error="the address was refused", final=code >= 500)
    except smtplib.SMTPResponseException as error:
        # A 5xx of the server about anything but the address is mended by a person: try again.
        return Sent(ok=False, code=error.smtp_code, error=type(error).__name__)
    except (OSError, smtplib.SMTPException) as error:
        return Sent(ok=False, error=type(error).__name__)
    return Sent(ok=True, code=250)


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
