"""The systems that the demo connects, and the hub that it serves."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from rich.console import Console

from middleware.app import Application
from middleware.contract import http
from middleware.sandbox import crm, desk, erp
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import World, build

FOLDER = Path(".amends/demo")
READY_S = 20.0
LIMITS = http.Limits(connect_s=5, total_s=45)


class DemoError(Exception):
    """The demo can't go on; the message says why."""


@dataclass
class Remotes:
    """The three systems on loopback, and how to count in them."""

    world: World
    settings: str
    """Their part of amends.toml."""
    secrets: dict[str, str]
    desk_url: str
    count: Callable[[str, str], int]
    """How many rows an operation has made under a key, by the remote's own books."""
    stop: contextlib.ExitStack
    secrets_of_desk: str = ""


class Teller:
    """Prints the story."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._step = 0

    def step(self, text: str) -> None:
        self._step += 1
        self._out.print(f"\n{self._step}. {text}", style="bold", markup=False, highlight=False)

    def say(self, text: str) -> None:
        for line in text.splitlines():
            self._out.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def working(self, text: str) -> Iterator[Callable[[str], None]]:
        with self._out.status(text) as status:
            yield status.update


def with_soap(stack: contextlib.ExitStack, tell: Teller, address: str) -> Remotes:
    world = build(now=datetime.now(UTC).replace(microsecond=0))
    books = erp.build_erp(world)
    stack.callback(books.close)
    server = stack.enter_context(SandboxServer(books))
    counting = Api(server.url, "")
    stack.callback(counting.close)
    settings = f"""\
[connections.erp]
adapter = "soap"
mappings = "mappings/sandbox_erp"
secrets = {{ password = "file:secrets/erp" }}
[connections.erp.settings]
wsdl = "{server.url}{erp.PATH_11}?wsdl"
endpoint = "{server.url}{erp.PATH_11}"
on_premise = true
cache_dir = "{(FOLDER / "wsdl").absolute()}"
auth = "usernametoken"
username = "amends"
"""

    def count(key: str) -> int:
        rows = counting.get(f"/_sandbox/rows?ref={key}")
        return int(rows["orders"])

    return _with_crm_and_desk(stack, world, address, settings, {"erp": "sandbox"}, count)


def with_tryton(stack: contextlib.ExitStack, tell: Teller, address: str) -> Remotes:
    from middleware.sandbox import tryton

    home = tryton.default_home()
    with tell.working("building a Tryton; about two minutes, once") as update:
        tryton.install(home, progress=update)
        server = stack.enter_context(tryton.TrytonServer(home))
    settings = f"""\
[connections.erp]
adapter = "tryton"
secrets = {{ password = "file:secrets/erp" }}
[connections.erp.settings]
url = "{server.url}"
database = "{tryton.DATABASE}"
user = "{tryton.INTEGRATION.user}"
person_category = "Person"
employer_relation = "Employed by"
"""
    found = {"erp": tryton.INTEGRATION.password}

    def count(key: str) -> int:
        import sqlite3

        with contextlib.closing(sqlite3.connect(f"file:{server.file}?mode=ro", uri=True)) as books:
            rows = books.execute("select count(*) from sale_sale where reference = ?", (key,))
            return int(rows.fetchone()[0])

    return _with_crm_and_desk(stack, server.world, address, settings, found, count)


def _with_crm_and_desk(
    stack: contextlib.ExitStack,
    world: World,
    address: str,
    settings: str,
    found: dict[str, str],
    replacement_orders: Callable[[str], int],
) -> Remotes:
    org = crm.open_crm(world)
    org_server = stack.enter_context(SandboxServer(org, tls=True))
    token, secret = secrets.token_hex(16), secrets.token_hex(16)
    helpdesk = desk.build_desk(None, f"{address}/v1/inlets/desk", secret, token=token)
    stack.callback(helpdesk.close)
    desk_server = stack.enter_context(SandboxServer(helpdesk))
    org_api = Api(org_server.url, "", ca_file=str(org_server.ca_file))
    desk_api = Api(desk_server.url, token)
    stack.callback(org_api.close)
    stack.callback(desk_api.close)
    settings += f"""
[connections.crm]
adapter = "salesforce"
settings = {{ url = "{org_server.url}", ca_file = "{org_server.ca_file}", lag_s = 0 }}
secrets = {{ consumer_key = "file:secrets/crm-key", consumer_secret = "file:secrets/crm-secret" }}

[connections.desk]
adapter = "chatwoot"
settings = {{ url = "{desk_server.url}", account_id = {desk.ACCOUNT}, settle_s = 2 }}
secrets = {{ token = "file:secrets/desk" }}

[connections.desk.inlet]
source = "chatwoot"
secrets = ["file:secrets/desk-webhook"]
"""

    def count(operation: str, key: str) -> int:
        if operation == "replacement_order":
            return replacement_orders(key)
        if operation == "case":
            rows = org_api.get(f"/_sandbox/rows?object=Case&field={crm.KEY_FIELD}&value={key}")
        else:
            rows = desk_api.get(f"/_sandbox/rows?marker={key}")
        return int(rows["count"])

    return Remotes(
        world=world,
        settings=settings,
        secrets=found
        | {
            "crm-key": crm.CLIENT_ID,
            "crm-secret": crm.CLIENT_SECRET,
            "desk": token,
            "desk-webhook": secret,
            "hub": secrets.token_urlsafe(32),
        },
        desk_url=desk_server.url,
        count=count,
        stop=stack,
        secrets_of_desk=token,
    )


def write_settings(folder: Path, remotes: Remotes, host: str, port: int) -> None:
    (folder / "secrets").mkdir(mode=0o700)
    for name, secret in remotes.secrets.items():
        path = folder / "secrets" / name
        path.touch(mode=0o600)
        path.write_text(secret)
    (folder / "amends.toml").write_text(f"""\
database_url = "sqlite:///amends.db"
listen = "{host}:{port}"
secret_key = "file:secrets/hub"
log_level = "ERROR"

{remotes.settings}
[jobs.sync-erp]
connection = "erp"
schedule = {{ every = "5m" }}

[jobs.sync-crm]
connection = "crm"
schedule = {{ every = "5m" }}

[policy]
approval_over = {{ EUR = 1000 }}

[actions]
cases_to = "crm"
""")


def fresh_folder() -> Path:
    """The demo's folder, emptied: each run tells the story from its beginning."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    return FOLDER


def free(listen: str) -> tuple[str, int]:
    """The address to listen on; another port if somebody has that one."""
    host, _, port = listen.rpartition(":")
    for wanted in (int(port), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, wanted))
                return host, int(probe.getsockname()[1])
    raise DemoError(f"can't listen on {host}")


def serve(stack: contextlib.ExitStack, application: Application, host: str, port: int) -> None:
    """Serve the API from a thread, until the stack unwinds."""
    server = uvicorn.Server(
        uvicorn.Config(
            application.api(),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
    )
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(timeout=10)

    stack.callback(stop)
    end = time.monotonic() + READY_S
    while not server.started:
        if time.monotonic() > end or not thread.is_alive():
            raise DemoError("the API did not start")
        time.sleep(0.05)


class Api:
    """A JSON API, called as a helpdesk would."""

    def __init__(self, address: str, token: str, *, ca_file: str | None = None) -> None:
        headers = {"authorization": f"Bearer {token}", "api_access_token": token} if token else {}
        self._client = http.client(LIMITS, base_url=address, headers=headers, ca_file=ca_file)

    def get(self, path: str) -> dict[str, Any]:
        return self._read(self._client.get(path))

    def post(self, path: str, body: Any, *, key: str | None = None) -> dict[str, Any]:
        headers = {"idempotency-key": key, "prefer": "wait=20"} if key else {}
        return self._read(self._client.post(path, json=body, headers=headers))

    def refused(self, path: str, body: Any) -> dict[str, Any]:
        answer = self._client.post(path, json=body, headers={"idempotency-key": str(uuid.uuid4())})
        if answer.status_code < 400:
            raise DemoError(f"POST {path} should have been refused")
        problem: dict[str, Any] = answer.json()
        return problem

    def close(self) -> None:
        self._client.close()

    def _read(self, answer: Any) -> dict[str, Any]:
        if answer.status_code >= 400:
            raise DemoError(f"{answer.request.method} {answer.request.url}: {answer.text}")
        body: dict[str, Any] = answer.json()
        return body
