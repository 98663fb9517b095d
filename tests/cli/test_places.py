"""Paths in `amends.toml` begin at its folder, wherever the process was started."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from middleware.sandbox.erp import PATH_11, build_erp
from middleware.sandbox.server import SandboxServer
from middleware.sandbox.world import build
from tests.cli.running import amends

ROOT = Path(__file__).parents[2]
CONFIG = """\
log_level = "ERROR"
[connections.erp]
adapter = "soap"
mappings = "maps"
secrets = {{ password = "file:secrets/erp" }}
[connections.erp.settings]
wsdl = "{wsdl}"
endpoint = "{endpoint}"
bindings = "bound/erp.yaml"
cache_dir = "var/wsdl"
ca_file = "ca.pem"
on_premise = true
auth = "usernametoken"
username = "amends"
"""


def test_a_connections_files_are_found_from_any_folder(tmp_path: Path) -> None:
    hub, elsewhere = tmp_path / "hub", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(ROOT / "mappings" / "sandbox_erp", hub / "maps")
    (hub / "bound").mkdir()
    (hub / "maps" / "bindings.yaml").rename(hub / "bound" / "erp.yaml")
    (hub / "secrets").mkdir()
    (hub / "secrets" / "erp").write_text("sandbox")
    erp = build_erp(build(), tmp_path / "erp.sqlite", password="sandbox")
    with SandboxServer(erp, tls=True) as server:
        shutil.copy(str(server.ca_file), hub / "ca.pem")
        endpoint = f"{server.url}{PATH_11}"
        config = hub / "amends.toml"
        config.write_text(CONFIG.format(wsdl=f"{endpoint}?wsdl", endpoint=endpoint))
        checked = amends(elsewhere, "connections", "check", "--json", "--config", str(config))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert json.loads(checked.stdout)["erp"]["ok"]
        (copy,) = (hub / "var" / "wsdl").iterdir()
        shutil.copy(copy / _wsdl(copy), hub / "erp.wsdl")
        config.write_text(CONFIG.format(wsdl="erp.wsdl", endpoint=endpoint))
        checked = amends(elsewhere, "connections", "check", "--json", "--config", str(config))
        assert checked.returncode == 0, checked.stdout + checked.stderr
    erp.close()
    assert list(elsewhere.iterdir()) == []


def _wsdl(copy: Path) -> str:
    listed = json.loads((copy / "documents.json").read_text())
    return f"{listed['0.wsdl']}.xml"
