"""YAML is read with places, and nothing in it can surprise us."""

from __future__ import annotations

import time

import pytest

from middleware.contract.mapping import MappingInvalid, document
from middleware.contract.mapping.document import Block, Scalar, Sequence


def refused(text: str) -> str:
    with pytest.raises(MappingInvalid) as caught:
        document.parse(text, "f")
    (issue,) = caught.value.issues
    assert issue.code == "M000"
    return str(issue)


def test_every_key_and_value_knows_its_place():
    root = document.parse("a: 1\nb:\n  - x\n  - {c: 'y'}\n", "f")
    assert isinstance(root, Block)
    assert str(root.place_of("b")) == "f:2:1"
    values = root.get("b")
    assert isinstance(values, Sequence)
    assert [str(item.place) for item in values.items] == ["f:3:5", "f:4:5"]
    inner = values.items[1]
    assert isinstance(inner, Block)
    assert str(inner.entries["c"].node.place) == "f:4:9"
    assert document.plain(root) == {"a": 1, "b": ["x", {"c": "y"}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("2026-11-21", "2026-11-21"),
        ("1_000", "1_000"),
        ("true", True),
        ("~", None),
        ("12", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("9" * 60, "9" * 60),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    node = document.parse(f"a: {text}", "f")
    found = document.plain(node)["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["0100", "1.50", "1e3", "+5", "0x1F", ".inf", "TRUE", "-0"])
def test_a_code_that_its_number_would_lose_is_doubtful(text):
    node = document.parse(text, "f")
    assert isinstance(node, Scalar)
    assert node.doubtful


@pytest.mark.parametrize("text", ["100", "1.5", "true", "'0100'", "R10", "-3"])
def test_other_scalars_are_not_doubtful(text):
    node = document.parse(text, "f")
    assert isinstance(node, Scalar)
    assert not node.doubtful


@pytest.mark.parametrize(
    ("text", "issue"),
    [
        ("", "f:1:1: error M000 the file is empty"),
        ("# only a comment\n", "f:1:1: error M000 the file is empty"),
        ("a: 1\na: 2\n", "f:2:1: error M000 key 'a' stands already in line 1"),
        ("a: {b: 1, b: 2}", "f:1:11: error M000 key 'b' stands already in line 1"),
        ("'a': 1\na: 2\n", "f:2:1: error M000 key 'a' stands already in line 1"),
        ("a:\n\tb: 1\n", "f:2:1: error M000 a tab; YAML indents with spaces"),
        ("a: [1, 2", "f:1:9: error M000 "),
        ("a: 'x", "f:1:"),
        ("a: b: c", "f:1:5: error M000 mapping values are not allowed"),
        ("a: !!python/object:os.system x", "f:1:4: error M000 tag "),
        ("a: !mine x", "f:1:4: error M000 tag !mine is not allowed"),
        ("a: ! 12", "f:1:4: error M000 tag ! is not allowed"),
        ("a: !!int x", "f:1:4: error M000 tag "),
        ("a: *nowhere", "f:1:4: error M000 no anchor &nowhere before this alias"),
        ("a: &a [*a]", "f:1:8: error M000 no anchor &a before this alias"),
        ("a: {<<: {b: 1}}", "f:1:5: error M000 merge keys (<<) are not part of YAML 1.2"),
        ("? [a]\n: b", "f:1:3: error M000 a key must be a word"),
        ("a: 1\n---\nb: 2\n", "f:2:1: error M000 a second document"),
        ("%YAML 1.1\n---\na: 1\n", "f:2:1: error M000 the file must be YAML 1.2"),
        ("x: 1\ny: \x00", "f:2:4: error M000 "),
        ('a: "\\UFFFFFFFF"', "f:1:1: error M000 "),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text, issue):
    assert refused(text).startswith(issue)


def test_aliases_are_counted_before_they_grow():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.process_time()
    assert "aliases counted in full" in refused("\n".join(lines))
    assert time.process_time() - started < 5


def test_a_few_aliases_are_fine():
    node = document.parse("a: &x {b: 1}\nc: *x\n", "f")
    assert document.plain(node) == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_has_a_limit(opening):
    assert "nested deeper than 40 levels" in refused(opening * 5000)


def test_size_has_a_limit():
    assert "larger than" in refused("a: " + "x" * document.MAX_BYTES)


def test_files_that_cannot_be_read_say_why(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: Größe".encode("latin-1"))
    for path, reason in ((latin, "not UTF-8"), (tmp_path / "none", "cannot be read"),
                         (tmp_path, "not a file")):  # fmt: skip
        with pytest.raises(MappingInvalid, match=reason):
            document.read(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert document.plain(document.read(path)) == {"a": 1}
