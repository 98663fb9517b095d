"""A real Tryton on loopback: installed from its lock file, seeded with our world, booted on demand.

Tryton lives in an environment of its own, because its dependencies are not the hub's. `install`
makes a home: that environment, a database with its modules, and the sandbox's world in it. It takes
about two minutes of one core, once; a server on a finished home is up in a few seconds, on a copy
of the data, so that servers do not disturb each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from middleware.sandbox import world

__all__ = [
    "ADMIN_PASSWORD",
    "DATABASE",
    "INTEGRATION",
    "VISITOR",
    "Login",
    "TrytonServer",
    "install",
    "ready",
]

DATABASE = "erp"
MODULES = ("party_relationship", "sale_complaint")
CUSTOMERS = 12
"""How many customers the seeded world has; there are four times as many sales."""


class Login(NamedTuple):
    """Who the hub logs in as."""

    name: str
    user: str
    password: str
    groups: bool


INTEGRATION = Login("Integration", "integration", "integration-Secret-1", groups=True)
VISITOR = Login("Visitor", "visitor", "visitor-Secret-1", groups=False)
"""A user that no group gives any right to sales or complaints."""

_HERE = Path(__file__).parent
ADMIN_PASSWORD = "admin-Secret-1"
_CONF = """\
[web]
listen = 127.0.0.1:{port}
[database]
uri = sqlite://
path = {data}
[queue]
worker = {worker}
[session]
timeout = 3600
max_attempt = 1000
[attachment]
filestore = False
[email]
uri = smtp://127.0.0.1:1
"""

Progress = Callable[[str], None]


def default_home() -> Path:
    """`$AMENDS_TRYTON_HOME`, or `.amends/tryton` below the current directory."""
    return Path(os.environ.get("AMENDS_TRYTON_HOME") or ".amends/tryton").absolute()


def install(home: Path, *, progress: Progress = lambda _: None) -> None:
    """Make `home` ready for servers; does nothing when it already is.

    Every stage (environment, modules, world) is named by a digest of all that it is made from and
    counts only when it is complete, so that an interrupted or outdated one is made again and the
    others are kept. One process builds at a time; the others wait for it. Raises InstallFailed.
    """
    home = home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    stages = _Stages.of(home)
    if stages.complete:
        return
    with _alone(home / "lock", progress):
        log = home / "install.log"
        for half_made in home.glob("building-*"):
            shutil.rmtree(half_made, ignore_errors=True)
        if not _finished(stages.venv):
            progress("installing Tryton into an environment of its own")
            _make_venv(stages.venv, log)
        if not _finished(stages.modules):
            progress("making a database and activating its modules")
            with _atomically(stages.modules) as building:
                _make_database(building, stages.venv, log)
        if not _finished(stages.data):
            progress("filling it with customers, products and orders")
            with _atomically(stages.data) as building:
                _make_world(building, stages, log)
        progress("ready")


def ready(home: Path) -> bool:
    """Whether `install` has nothing left to do."""
    return _Stages.of(home.absolute()).complete


class InstallFailed(RuntimeError):
    """A stage of the installation failed; the message holds the end of its log."""


class TrytonServer:
    """One Tryton process on loopback, on its own copy of a home's data.

    `queue_worker=True` tells Tryton that another process carries out its queue; as none does, a
    sale stays *confirmed* after the button, as on a real system whose worker is behind.
    """

    database = DATABASE
    user = INTEGRATION.user
    password = INTEGRATION.password
    ca_file: str | None = None  # plain HTTP, on loopback

    def __init__(self, home: Path, *, port: int = 0, queue_worker: bool = False) -> None:
        self.home = home.absolute()
        self._wanted = port
        self.port = port
        self._queue_worker = queue_worker
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def file(self) -> Path:
        """The SQLite file that this server works on; for looking, not for writing."""
        if self._folder is None:
            raise RuntimeError("the server is not started")
        return self._folder / "data" / f"{DATABASE}.sqlite"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the seed made: ids of parties, products, sales, complaint types and users."""
        manifest: dict[str, Any] = json.loads(
            (_Stages.of(self.home).data / "manifest.json").read_text(encoding="utf-8")
        )
        return manifest

    @property
    def world(self) -> world.World:
        """The world that the database was filled from."""
        return _world()

    @property
    def log(self) -> str:
        """What the process has written so far."""
        if self._folder is None or not (self._folder / "log").exists():
            return ""
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")

    def start(self, *, deadline: float = 120.0) -> Self:
        """Boot it and wait until it answers a login; raises TimeoutError or RuntimeError."""
        stages = _Stages.of(self.home)
        if not stages.complete:
            raise RuntimeError(f"{self.home} is not installed; call install() first")
        self._folder = Path(tempfile.mkdtemp(prefix="tryton-"))
        shutil.copytree(stages.data / "data", self._folder / "data")
        try:
            self._boot_somewhere(stages, time.monotonic() + deadline)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process and remove its copy of the data. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def restart(self, *, deadline: float = 120.0) -> None:
        """End the process and boot another one on the same port and data; sessions survive."""
        if self._process is None:
            raise RuntimeError("the server is not started")
        _end(self._process)
        self._process = None
        self._wanted = self.port
        self._boot_somewhere(_Stages.of(self.home), time.monotonic() + deadline)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _boot_somewhere(self, stages: _Stages, end: float) -> None:
        while not self._boot(stages, end):
            # Somebody took the port between our choosing it and Tryton's binding it.
            if self._wanted:
                raise RuntimeError(f"Tryton did not start on port {self.port}: {self.log}")

    def _boot(self, stages: _Stages, end: float) -> bool:
        """Start the process and wait for it; False when it ended at once, for lack of its port."""
        assert self._folder is not None
        self.port = self._wanted or _free_port()
        conf = self._folder / "trytond.conf"
        conf.write_text(
            _CONF.format(
                port=self.port, data=self._folder / "data", worker=bool(self._queue_worker)
            ),
            encoding="utf-8",
        )
        before = len(self.log)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                [
                    str(stages.python),
                    str(_HERE / "serve.py"),
                    str(stages.script("trytond")),
                    *("-c", str(conf), "-d", DATABASE),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=_environment(),
            )
        while time.monotonic() < end:
            ended = self._process.poll() is not None
            said = self.log[before:]
            if ended and "in use" in said:
                return False
            if ended:
                raise RuntimeError(f"Tryton ended at once: {said[-2000:]}")
            # Only its own word tells our server from another one on the same port.
            if "Running on" in said and self._answers(end):
                return True
            time.sleep(0.1)
        raise TimeoutError(f"Tryton did not answer in time: {self.log[-2000:]}")

    def _answers(self, end: float) -> bool:
        """Whether a login works. Tryton says errors inside 200, so the answer is read."""
        body = json.dumps(
            {
                "id": 0,
                "method": "common.db.login",
                "params": [self.user, {"password": self.password}, "en"],
            }
        )
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=max(1.0, end - time.monotonic())
        )
        try:
            connection.request(
                "POST", f"/{DATABASE}/rpc/", body, {"Content-Type": "application/json"}
            )
            return "result" in json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()  # serve.py takes that as the order to leave
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Making a home.


def _world() -> world.World:
    return world.build(customers=CUSTOMERS)


class _Stages(NamedTuple):
    """Where each stage of a home lies; a change to anything it is made from moves it."""

    venv: Path
    modules: Path
    data: Path

    @classmethod
    def of(cls, home: Path) -> _Stages:
        lock = (_HERE / "requirements.txt").read_bytes()
        venv = _digest(lock, sys.version.encode(), sys.prefix.encode())
        modules = _digest(venv.encode(), *(name.encode() for name in MODULES))
        seed = (_HERE / "seed.py").read_bytes()
        data = _digest(modules.encode(), seed, _world().as_json().encode(), _access().encode())
        return cls(home / f"venv-{venv}", home / f"modules-{modules}", home / f"data-{data}")

    @property
    def complete(self) -> bool:
        return all(_finished(stage) for stage in self)

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def script(self, name: str) -> Path:
        return self.venv / "bin" / name


def _digest(*parts: bytes) -> str:
    seen = hashlib.sha256()
    for part in parts:
        seen.update(len(part).to_bytes(8, "big") + part)
    return seen.hexdigest()[:12]


def _access() -> str:
    return json.dumps({"users": [login._asdict() for login in (INTEGRATION, VISITOR)]})


def _finished(stage: Path) -> bool:
    return (stage / "complete").exists()


@contextlib.contextmanager
def _alone(path: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock that the system takes back when this process dies, however it dies."""
    with path.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building; waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _atomically(stage: Path) -> Iterator[Path]:
    """Build in a folder beside it and put it in place when all went well."""
    building = stage.with_name(f"building-{stage.name}")
    building.mkdir()
    yield building
    (building / "complete").touch()
    shutil.rmtree(stage, ignore_errors=True)
    building.rename(stage)


def _make_venv(venv: Path, log: Path) -> None:
    # An environment holds its own path, so it cannot be moved into place: it is marked instead.
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(venv)], log)
    _run(
        [
            *(str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"),
            *("--disable-pip-version-check", "--require-hashes", "--no-deps"),
            *("-r", str(_HERE / "requirements.txt")),
        ],
        log,
        isolated=False,
    )
    (venv / "complete").touch()


def _make_database(folder: Path, venv: Path, log: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / f"{DATABASE}.sqlite").touch()
    conf = folder / "trytond.conf"
    conf.write_text(_CONF.format(port=0, data=folder / "data", worker=False), encoding="utf-8")
    password = folder / "password"
    password.write_text(f"{ADMIN_PASSWORD}\n", encoding="utf-8")
    admin = [str(venv / "bin" / "python"), str(venv / "bin" / "trytond-admin")]
    admin += ["-c", str(conf), "-d", DATABASE]
    extra = {"TRYTONPASSFILE": str(password)}
    _run([*admin, "--all", "--email", "admin@example.com"], log, extra)
    _run([*admin, "--activate-dependencies", "-u", *MODULES], log, extra)
    password.unlink()
    conf.unlink()


def _make_world(folder: Path, stages: _Stages, log: Path) -> None:
    shutil.copytree(stages.modules / "data", folder / "data")
    conf, people, access = folder / "trytond.conf", folder / "world.json", folder / "access.json"
    conf.write_text(_CONF.format(port=0, data=folder / "data", worker=False), encoding="utf-8")
    people.write_text(_world().as_json(), encoding="utf-8")
    access.write_text(_access(), encoding="utf-8")
    seed = [str(stages.python), str(_HERE / "seed.py"), str(conf), DATABASE]
    _run([*seed, str(people), str(access), str(folder / "manifest.json")], log)
    conf.unlink()


def _run(
    command: list[str],
    log: Path,
    extra: Mapping[str, str] | None = None,
    *,
    isolated: bool = True,
    seconds: float = 1200,
) -> None:
    with log.open("ab") as out:
        start = out.tell()
        try:
            code = subprocess.run(  # noqa: S603 - our own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**(_environment() if isolated else os.environ), **(extra or {})},
                timeout=seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    if code:
        with log.open("rb") as written:
            written.seek(start)
            said = written.read().decode(errors="replace")[-3000:]
        raise InstallFailed(f"{Path(command[1]).name} ended with {code}; {log} says:\n{said}")


def _environment() -> dict[str, str]:
    """Our environment without what would make Tryton read another configuration or library."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TRYTOND_", "PYTHON"))
    }
