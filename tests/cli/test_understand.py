"""`amends understand`, run as anybody runs it."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from middleware.cli import app
from middleware.doctor import examine
from middleware.understanding.table import Line, TableUnreadableError, read_table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AMENDS_")]:
        monkeypatch.delenv(name)
    return tmp_path


def amends(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_table_is_labelled_without_any_hub(folder: Path) -> None:
    (folder / "texts.csv").write_text(
        'text,lang\n"My order SO-10001 is two weeks late and I am fed up with waiting",en\n'
        '"Il pacco non è mai arrivato, voglio il rimborso",it\n'
    )
    done = amends("understand", "--csv", "texts.csv")
    assert done.exit_code == 0, done.stderr
    late, italian = csv.DictReader(io.StringIO(done.stdout))
    assert (late["intent"], late["reason"], late["reason_band"]) == ("complaint", "late", "auto")
    assert float(late["reason_probability"]) > 0.8
    assert late["order_numbers"] == "SO-10001"
    assert (italian["reason"], italian["reason_band"]) == ("unknown", "unsure")
    assert sorted(path.name for path in folder.iterdir()) == ["texts.csv"]


def test_labels_teach_the_hub_and_later_labels_see_it(folder: Path) -> None:
    sentences = "\n".join(f'    - "the glimmerflange wibbled {n}"' for n in ("a", "b", "c"))
    (folder / "labels.yaml").write_text(f"reason:\n  stock:\n{sentences}\n")
    (folder / "amends.toml").write_text(
        'database_url = "sqlite:///hub.db"\n[understanding]\nlabels = "labels.yaml"\n'
    )
    done = amends("understand", "--retrain", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["state"], report["heads"]) == ("done", 1)
    assert report["report"]["reason"]["labels"] == 3
    (folder / "texts.csv").write_text("text\nour glimmerflange wibbled\n")
    done = amends("understand", "--csv", "texts.csv", "--json")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert "+1, rules" in row["by"]
    assert row["reason"] == "stock"
    done = amends("understand", "--heads", "0")
    assert done.stdout == "heads 2 are in use\n"
    done = amends("understand", "--heads", "7")
    assert (done.exit_code, "has no heads 7" in done.stderr) == (1, True)
    (folder / "labels.yaml").unlink()
    done = amends("understand", "--retrain")
    assert done.exit_code == 1
    assert "nothing changed" in done.stderr
    listed = amends("understand", "--trainings").stdout.splitlines()
    assert listed[0].startswith("in use: goods@")
    assert listed[0].endswith("+2, heads 2")
    assert [line.split()[2] for line in listed[1:]] == ["refused:", "done:", "done:"]


def test_a_wrong_table_is_told(folder: Path) -> None:
    path = folder / "t.csv"
    path.write_text("message\nhello\n")
    with pytest.raises(TableUnreadableError, match="no column `text`; its columns: message"):
        read_table(path)
    path.write_bytes("text\nschön\n".encode("latin-1"))
    with pytest.raises(TableUnreadableError, match="is not UTF-8"):
        read_table(path)
    path.write_text('\ufefftext,lang\n"two\nlines",DE\nplain,\n')
    assert read_table(path) == [Line("two\nlines", "de"), Line("plain", None)]
    done = amends("understand", "--csv", "missing.csv")
    assert done.exit_code == 1
    assert "missing.csv can't be read" in done.stderr
    assert amends("understand").exit_code == 1


def test_doctor_tells_of_a_model_that_is_refused(folder: Path) -> None:
    config = folder / "amends.toml"
    config.write_text('database_url = "sqlite:///hub.db"\n[understanding]\nmodel = "mine"\n')
    (line,) = [one for one in examine(config) if one.what == "understanding"]
    assert line.mark == "✗"
    assert "by rules alone, marked degraded" in line.detail
    assert "manifest.json can't be read" in line.detail
    config.write_text('database_url = "sqlite:///hub.db"\n')
    (line,) = [one for one in examine(config) if one.what == "understanding"]
    assert (line.mark, line.detail[:6]) == ("✓", "goods@")
