"""The hub as its operator runs it: a configured folder, processes, and a supervisor."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from middleware.app import Application
from middleware.configuration import configured
from middleware.contract import http
from middleware.flows.keys import Scope, make_key
from middleware.registry import Registry
from middleware.sandbox import crm, desk
from middleware.settings import Settings, load
from tests.chaos.remotes import ROOT, Addresses
from tests.chaos.wires import free_port

LIMITS = http.Limits(connect_s=5, total_s=30)
START_S = 90.0
MOST_ENDS = 10
LIMITS_OF = """\
[connections.{name}.limits]
rest = "1s"
longest_rest = "4s"
login_pause = "2s"
"""
"""The gate rests as on a real system, after as many failures, and for less long: what is tried here
in an hour is a bad year. A connection that is stopped is resumed by a person of `client.People`."""


@dataclass(frozen=True)
class Times:
    """The clocks of a run, short enough that it ends in minutes.

    A remote finishes what it accepted within `total_s` (the request may lie in its socket until we
    give up) and `late_s`; `settle_s` is longer than both together, with a margin for a machine that
    is busy.
    """

    total_s: float = 1.5
    late_s: float = 2.0
    settle_s: float = 6.0
    lease_s: int = 5


def write_settings(
    folder: Path, *, database_url: str, remotes: Addresses | None, times: Times, more: str = ""
) -> Path:
    """Write `amends.toml` and its secrets; with remotes, their connections."""
    (folder / "secrets").mkdir(parents=True, exist_ok=True)
    secrets = {"hub": "chaos", "generic": "whsec_" + "Y2hhb3M=" * 4}
    text = f"""\
database_url = "{database_url}"
secret_key = "file:secrets/hub"
log_level = "WARNING"
lease = "{times.lease_s}s"
requests_per_minute = 1000000

[connections.listening]
inlet = {{ source = "generic", secrets = ["file:secrets/generic"] }}
"""
    if remotes is not None:
        secrets |= {
            "erp": remotes.erp_password,
            "crm-key": crm.CLIENT_ID,
            "crm-secret": crm.CLIENT_SECRET,
            "desk": remotes.desk_token,
            "desk-webhook": remotes.desk_secret,
        }
        text += f"""
{erp_section(folder, remotes, times)}{LIMITS_OF.format(name="erp")}
[connections.crm]
adapter = "salesforce"
secrets = {{ consumer_key = "file:secrets/crm-key", consumer_secret = "file:secrets/crm-secret" }}
[connections.crm.settings]
url = "{remotes.crm}"
ca_file = "{remotes.crm_ca}"
total_s = {times.total_s}
settle_s = {times.settle_s}
lag_s = 0
{LIMITS_OF.format(name="crm")}
[connections.desk]
adapter = "chatwoot"
secrets = {{ token = "file:secrets/desk" }}
inlet = {{ source = "chatwoot", secrets = ["file:secrets/desk-webhook"] }}
[connections.desk.settings]
url = "{remotes.desk}"
account_id = {desk.ACCOUNT}
total_s = {times.total_s}
settle_s = {times.settle_s}
{LIMITS_OF.format(name="desk")}
[jobs.orders]
connection = "erp"
kinds = ["account", "order"]
schedule = {{ every = "24h" }}

[policy]
approval_of_strangers = false

[actions]
cases_to = "{remotes.cases_to}"
note_when_enriched = false
"""
    text += more
    for name, secret in secrets.items():
        (folder / "secrets" / name).write_text(secret)
    path = folder / "amends.toml"
    path.write_text(text)
    return path


def erp_section(folder: Path, remotes: Addresses, times: Times) -> str:
    """The ERP's connection: the sandbox's SOAP service, or a real Tryton."""
    if remotes.tryton is not None:
        return f"""\
[connections.erp]
adapter = "tryton"
secrets = {{ password = "file:secrets/erp" }}
[connections.erp.settings]
url = "{remotes.tryton.url}"
database = "{remotes.tryton.database}"
user = "{remotes.tryton.user}"
total_s = {remotes.tryton.total_s}
settle_s = {remotes.tryton.settle_s}
lag_s = 0
"""
    _own_mappings(folder, times)
    return f"""\
[connections.erp]
adapter = "soap"
mappings = "mappings/erp"
secrets = {{ password = "file:secrets/erp" }}
[connections.erp.settings]
wsdl = "{remotes.wsdl}"
cache_dir = "wsdl"
on_premise = true
auth = "usernametoken"
username = "amends"
total_s = {times.total_s}
"""


def _own_mappings(folder: Path, times: Times) -> None:
    """The ERP's shipped mapping files, with the settle time of this run."""
    own = folder / "mappings" / "erp"
    shutil.copytree(ROOT / "mappings" / "sandbox_erp", own, dirs_exist_ok=True)
    bindings = own / "bindings.yaml"
    shipped = bindings.read_text()
    changed = shipped.replace("settle_s: 30", f"settle_s: {times.settle_s:g}")
    if changed == shipped:
        raise RuntimeError("the shipped bindings no longer say settle_s: 30")
    bindings.write_text(changed)


def prepare(config: Path) -> str:
    """Create the tables where need be; answers an API key that may do everything."""
    with Application(load(config)) as application:
        application.migrate()
        application.open()
        return make_key(application.hub, "chaos", [Scope.ADMIN])[1]


def adapters(config: Path) -> Registry:
    """The adapters as the hub opens them, for a client that does without the hub."""
    settings: Settings = load(config)
    return Registry(configured(settings))


@dataclass
class Hub:
    """One replica: its process, started again whenever it ends, until it is to stay dead."""

    config: Path
    name: str
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    boots: list[float] = field(default_factory=list)
    """Seconds from each start until it answered."""
    ended: int = 0
    """How often it ended by itself, and was started again as a supervisor does."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.config.parent / f"{self.name}.log"

    @property
    def standing(self) -> str:
        """Whether it runs, or what it ended with."""
        code = self._process.poll() if self._process else None
        return f"running as {self.pid}" if code is None else f"over, with {code}"

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AMENDS_")}
        environment |= {"AMENDS_LISTEN": f"127.0.0.1:{self.port}", "PYTHONPATH": str(ROOT)}
        command = ["-c", "from middleware.cli import main; main()", "serve"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command, "--config", str(self.config), *self.arguments],
                cwd=self.config.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ready(self, *, seconds: float = START_S) -> None:
        """Wait until it answers. Raises RuntimeError with the end of its log."""
        began = time.monotonic()
        with http.client(http.Limits(connect_s=1, total_s=5), base_url=self.url) as client:
            while time.monotonic() - began < seconds:
                with suppress(httpx2.HTTPError):
                    if client.get("/healthz").status_code == 200:
                        self.boots.append(time.monotonic() - began)
                        return
                if self._process is not None and self._process.poll() is not None:
                    if self.ended >= MOST_ENDS:
                        break
                    self.ended += 1
                    time.sleep(1)
                    self.start()
                time.sleep(0.05)
        raise RuntimeError(f"the hub {self.name} does not answer:\n{self.tail()}")

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Ask it to end; end it when it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            self.thaw()
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self, *, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Killer(threading.Thread):
    """Kills hubs at random moments and starts them again, so many times.

    Most kills hit a hub that has served for up to `lives_s`, some one that still starts. In between
    `crash` is called so many times, which takes the database away from whoever serves.
    """

    def __init__(
        self,
        hubs: list[Hub],
        *,
        kills: int,
        seed: int,
        lives_s: float = 2.5,
        crash: Callable[[], None] | None = None,
        crashes: int = 0,
    ) -> None:
        super().__init__(name="killer", daemon=True)
        self._hubs = hubs
        self._dice = random.Random(seed)
        self._lives_s = lives_s
        self._crash = crash
        self._deeds = ["kill"] * kills + ["crash"] * (crashes if crash else 0)
        self._dice.shuffle(self._deeds)
        self.killed = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for deed in self._deeds:
                if deed == "kill":
                    self._one()
                elif self._crash is not None:
                    for hub in self._hubs:
                        hub.ready()
                    time.sleep(self._dice.uniform(0.3, self._lives_s))
                    self._crash()
        except BaseException as error:
            self.error = error

    def _one(self) -> None:
        hub = self._dice.choice(self._hubs)
        if self._dice.random() < 0.2:
            time.sleep(self._dice.uniform(0.1, 2.0))
        else:
            hub.ready()
            time.sleep(self._dice.uniform(0.3, self._lives_s))
        hub.kill()
        self.killed += 1
        hub.start()


def api(hub: Hub, key: str) -> httpx2.Client:
    """A client of the hub's API."""
    return http.client(LIMITS, base_url=hub.url, headers={"Authorization": f"Bearer {key}"})


def until(look: Callable[[], Any], *, seconds: float, what: str, pause: float = 0.2) -> Any:
    """Look until something comes of it; connection errors count as nothing."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(httpx2.HTTPError):
            if seen := look():
                return seen
        time.sleep(pause)
    raise RuntimeError(f"not within {seconds:g} s: {what}")
