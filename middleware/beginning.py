"""`amends init`: the files that a new installation begins with."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

CONFIG = """\
# Amends: what this hub connects. `amends doctor` says what is wrong with it and how to mend it.
# Secrets are written as env:NAME or file:PATH, never in plain text.

{database}
listen = "127.0.0.1:8080"
secret_key = "env:AMENDS_SECRET_KEY"

[connections.erp]
adapter = "tryton"
settings = {{ url = "https://erp.example.com", database = "erp", user = "amends" }}
secrets = {{ password = "env:ERP_PASSWORD" }}

# What may be asked of it at once and over time; docs/operations.md has the defaults.
# [connections.erp.limits]
# calls_at_once = 4
# calls_per_minute = 300

[connections.crm]
adapter = "salesforce"
settings = {{ url = "https://yours.my.salesforce.com" }}
secrets = {{ consumer_key = "env:CRM_KEY", consumer_secret = "env:CRM_SECRET" }}

[connections.desk]
adapter = "chatwoot"
settings = {{ url = "https://desk.example.com", account_id = 1 }}
secrets = {{ token = "env:DESK_TOKEN" }}

[connections.desk.inlet]
source = "chatwoot"
secrets = ["env:DESK_WEBHOOK_SECRET"]
order_patterns = ["SO-\\\\d{{4,}}"]

[jobs.sync-erp]
connection = "erp"
schedule = {{ every = "5m" }}

[jobs.sync-crm]
connection = "crm"
schedule = {{ every = "5m" }}

[policy]
approval_over = {{ EUR = 200 }}

[actions]
cases_to = "crm"
"""

ENVIRONMENT = """\
# Read this into the environment before `amends serve`; keep it out of version control.
AMENDS_SECRET_KEY={secret_key}
ERP_PASSWORD=
CRM_KEY=
CRM_SECRET=
DESK_TOKEN=
DESK_WEBHOOK_SECRET=
"""


@dataclass(frozen=True)
class Written:
    path: Path
    new: bool
    """False for a file that was there already and is left as it is."""


def begin(folder: Path, *, database_url: str | None) -> list[Written]:
    """Write `amends.toml`, `.env` and a folder for mappings; what exists is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    database = f'database_url = "{database_url or "sqlite:///amends.db"}"'
    files = {
        folder / "amends.toml": CONFIG.format(database=database),
        folder / ".env": ENVIRONMENT.format(secret_key=secrets.token_urlsafe(32)),
        folder / "mappings" / "README.md": (
            "Put a folder of mapping files here, named like the adapter, to use it instead of the"
            " shipped one.\nThe format is described in docs/mapping.md.\n"
        ),
    }
    written = []
    for path, text in files.items():
        new = not path.exists()
        if new:
            path.parent.mkdir(exist_ok=True)
            path.touch(mode=0o600 if path.name == ".env" else 0o644)
            path.write_text(text)
        written.append(Written(path, new))
    return written
