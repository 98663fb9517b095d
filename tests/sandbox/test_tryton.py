"""A Tryton home is made once, whole, by one process; its servers leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from middleware.sandbox import tryton
from middleware.sandbox.tryton import InstallFailed, TrytonServer, install, ready
from tests.adapters.tryton.peer import server

ROOT = Path(__file__).parents[2]


class Commands:
    """Stands in for the commands of an installation: notes them, and may fail at one."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.fail_at = ""

    def __call__(
        self,
        command: list[str],
        log: Path,
        extra: Mapping[str, str] | None = None,
        *,
        isolated: bool = True,
        seconds: float = 0,
    ) -> None:
        what = next(
            name
            for name in ("venv", "pip", "--all", "--activate-dependencies", "seed.py")
            if any(part == name or part.endswith("/" + name) for part in command)
        )
        self.run.append(what)
        if what == "venv":
            Path(command[-1]).mkdir(parents=True)
        if what == self.fail_at:
            raise InstallFailed(f"{what} failed")
        time.sleep(0.02)


ALL = ["venv", "pip", "--all", "--activate-dependencies", "seed.py"]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(tryton, "_run", made)
    return made


def test_a_home_is_made_once(tmp_path: Path, commands: Commands) -> None:
    said: list[str] = []
    assert not ready(tmp_path)
    install(tmp_path, progress=said.append)
    assert commands.run == ALL
    assert said[-1] == "ready"
    assert ready(tmp_path)
    install(tmp_path, progress=said.append)
    assert commands.run == ALL


@pytest.mark.parametrize("step", ALL)
def test_an_interrupted_one_is_carried_on(tmp_path: Path, commands: Commands, step: str) -> None:
    """A half-made stage is made again; the stages before it are kept."""
    commands.fail_at = step
    with pytest.raises(InstallFailed):
        install(tmp_path)
    assert not ready(tmp_path)
    commands.fail_at, commands.run = "", []
    install(tmp_path)
    first = {"pip": "venv", "--activate-dependencies": "--all"}.get(step, step)
    assert commands.run == ALL[ALL.index(first) :]
    assert ready(tmp_path)
    assert not list(tmp_path.glob("building-*"))


def test_two_at_once_make_it_once(tmp_path: Path, commands: Commands) -> None:
    said: list[str] = []
    threads = [
        threading.Thread(target=install, args=(tmp_path,), kwargs={"progress": said.append})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert commands.run == ALL
    assert any("another process" in one for one in said)


def test_a_changed_seed_makes_only_the_world_anew(
    tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    commands.run = []
    monkeypatch.setattr(tryton, "CUSTOMERS", 11)
    assert not ready(tmp_path)
    install(tmp_path)
    assert commands.run == ["seed.py"]


def test_a_failed_command_says_what_it_said(tmp_path: Path) -> None:
    log = tmp_path / "install.log"
    log.write_text("of an earlier run\n")
    code = "print('no such package'); raise SystemExit(3)"
    with pytest.raises(InstallFailed, match="no such package") as failed:
        tryton._run([sys.executable, "-c", code], log)
    assert "earlier" not in str(failed.value)
    with pytest.raises(InstallFailed, match="-1"):
        tryton._run([sys.executable, "-c", "import time; time.sleep(9)"], log, seconds=0.2)


def test_the_lock_file_is_whole_and_names_no_place() -> None:
    text = (ROOT / "middleware" / "sandbox" / "tryton" / "requirements.txt").read_text()
    pinned = [line for line in text.splitlines() if line and line[0].isalnum()]
    assert all("==" in line for line in pinned)
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text
    assert "--index" not in text


def test_a_server_needs_a_home(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="install"):
        TrytonServer(tmp_path).start()


@pytest.mark.tryton
@pytest.mark.timeout(1500)
class TestServer:
    def login(self, running: TrytonServer) -> object:
        call = {
            "id": 0,
            "method": "common.db.login",
            "params": [running.user, {"password": running.password}, "en"],
        }
        request = Request(
            f"{running.url}/{running.database}/rpc/",
            json.dumps(call).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["result"]

    def test_servers_have_data_of_their_own_and_take_it_with_them(self) -> None:
        home = server().home
        with TrytonServer(home) as one, TrytonServer(home) as other:
            assert one.port != other.port
            assert one.file != other.file
            assert self.login(one)
            assert self.login(other)
            folder = one.file.parents[1]
            assert one.manifest["sales"].keys() == {order.number for order in one.world.orders}
        assert not folder.exists()
        with pytest.raises(RuntimeError):
            _ = one.file

    def test_it_dies_with_whoever_started_it(self, tmp_path: Path) -> None:
        """Even by a kill: the pipe to it closes, and serve.py leaves."""
        code = (
            "import sys, time; from pathlib import Path;"
            "from middleware.sandbox.tryton import TrytonServer;"
            f"server = TrytonServer(Path({str(server().home)!r})).start();"
            "print(server._process.pid, flush=True); time.sleep(600)"
        )
        starter = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},  # its copy of the data is nobody's now
        )
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait(10)
        starter.stdout.close()
        for _ in range(100):
            if not Path(f"/proc/{child}/cmdline").exists() or not (
                Path(f"/proc/{child}/cmdline").read_bytes()
            ):
                break
            time.sleep(0.1)
        else:
            pytest.fail("the server outlived its starter")

    def test_a_taken_port_is_told(self) -> None:
        running = server()
        with pytest.raises(RuntimeError, match=f"port {running.port}"):
            TrytonServer(running.home, port=running.port).start()
