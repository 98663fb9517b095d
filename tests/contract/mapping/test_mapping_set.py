"""The files of one system, found by what they map."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.contract.errors import NotOffered
from middleware.contract.mapping import MappingInvalid, MappingSet
from tests.contract.mapping.sheet import sheet

FILES = Path(__file__).parent / "files" / "mappings"


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_a_set_offers_what_its_files_map():
    mappings = MappingSet.load(FILES)
    assert [m.id for m in mappings.mappings] == ["erp.replacement_order", "salesforce.contact"]
    assert mappings.pull("contact") is mappings.push("contact")
    assert mappings.push("replacement_order").operation == "CreateReplacementOrder"
    assert mappings.has_pull("contact")
    assert mappings.has_push("contact")
    assert not mappings.has_pull("replacement_order")
    assert not mappings.has_push("order")


def test_what_no_file_maps_is_not_offered():
    for missing in (MappingSet.empty(), MappingSet.load(FILES)):
        with pytest.raises(NotOffered, match=r"pull order; add a file <object>\.map\.yaml"):
            missing.pull("order")
        with pytest.raises(NotOffered, match="push order"):
            missing.push("order")
    assert MappingSet.empty().mappings == ()


def test_all_files_are_read_before_any_mistake_is_told(tmp_path):
    write(tmp_path, "a.map.yaml", sheet("a: {from: X, use: [trimm]}"))
    write(tmp_path / "deep", "b.map.yaml", "a:\n\tb")
    write(tmp_path, "c.map.yml", sheet("a: X"))
    write(tmp_path, "other.yaml", "not: a mapping")
    with pytest.raises(MappingInvalid) as caught:
        MappingSet.load(tmp_path)
    told = [str(issue).removeprefix(str(tmp_path)) for issue in caught.value.issues]
    assert told == [
        "/a.map.yaml:7:22: error M003 unknown step 'trimm' (did you mean 'trim'?)",
        "/c.map.yml: error M000 a mapping's name ends in .map.yaml; this file would be passed over",
        "/deep/b.map.yaml:2:1: error M000 a tab; YAML indents with spaces",
    ]


def test_two_files_for_the_same_thing_clash(tmp_path):
    write(tmp_path, "a.map.yaml", sheet("a: X"))
    write(tmp_path, "b.map.yaml", sheet("a: X"))
    with pytest.raises(MappingInvalid) as caught:
        MappingSet.load(tmp_path)
    told = [str(issue).removeprefix(str(tmp_path)) for issue in caught.value.issues]
    assert told == [
        f"/b.map.yaml:2:1: error M014 id 'test.thing' is taken by {tmp_path}/a.map.yaml",
        f"/b.map.yaml:6:1: error M014 {tmp_path}/a.map.yaml already pulls contact for this "
        "connection",
    ]


def test_files_may_be_for_one_connection_each(tmp_path):
    for name in ("east", "west"):
        text = sheet("a: X").replace("test.thing", name)
        write(tmp_path, f"{name}.map.yaml", text.replace("object:", f"connection: {name}, object:"))
    mappings = MappingSet.load(tmp_path)
    with pytest.raises(NotOffered, match="for east, west; choose with for_connection"):
        mappings.pull("contact")
    assert mappings.for_connection("west").pull("contact").id == "west"
    assert MappingSet.load(tmp_path, connection="east").pull("contact").id == "east"
    with pytest.raises(NotOffered):
        mappings.for_connection("north").pull("contact")


def test_a_file_for_this_connection_beats_the_general_one(tmp_path):
    write(tmp_path, "general.map.yaml", sheet("a: X").replace("test.thing", "general"))
    own = sheet("a: X").replace("test.thing", "own").replace("object:", "connection: c, object:")
    write(tmp_path, "own.map.yaml", own)
    mappings = MappingSet.load(tmp_path)
    assert mappings.for_connection("c").pull("contact").id == "own"
    assert mappings.for_connection("d").pull("contact").id == "general"


def test_a_missing_directory_is_told(tmp_path):
    with pytest.raises(MappingInvalid, match="no such directory"):
        MappingSet.load(tmp_path / "none")


def test_tables_are_read_from_the_whole_mappings_tree(tmp_path):
    tree = tmp_path / "mappings"
    write(tree / "tables", "t.csv", "\ufeffsource;target\r\nA;a\r\n\r\n*;z\r\n")
    text = sheet("a: {from: X, table: t}", more="tables: {t: {file: ../tables/t.csv}}\n")
    write(tree / "crm", "a.map.yaml", text)
    mapping = MappingSet.load(tree / "crm").pull("contact")
    assert mapping.read({"X": "A"}) == {"a": "a"}
    assert mapping.read({"X": "Q"}) == {"a": "z"}
