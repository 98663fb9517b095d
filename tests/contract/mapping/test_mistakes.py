"""A wrong file fails with all its mistakes, each with its place and a way out."""

from __future__ import annotations

import pytest

from middleware.contract.mapping import Mapping, MappingInvalid
from middleware.contract.mapping.codes import CODES
from tests.contract.mapping.sheet import issues, sheet

OPERATION = """\
mapping: 1
id: erp.credit
source: {canonical: credit}
target: {operation: CreateCredit}
direction: push
"""

MISTAKES = [
    # (direction, the lines under fields:, more, the issue from line 7 on)
    ("pull", "a: {form: X}", "", "7:7: error M001 unknown key 'form' (did you mean 'from'?)"),
    ("pull", "a: {from: X, frmat: y}", "", "7:16: error M001 unknown key 'frmat'"),
    ("pull", "a: {use: [trim]}", "", "7:3: error M002 'a' needs exactly one of"),
    ("pull", "a: {from: X, const: 1}", "", "7:3: error M002 'a' needs exactly one of"),
    ("pull", "a: {from: X, use: [trimm]}", "", "7:22: error M003 unknown step 'trimm' (did you"),
    ("pull", "a: {from: X, use: [pad_left]}", "", "7:22: error M003 step 'pad_left' needs a value"),
    ("pull", "a: {from: X, use: [{trim: 1}]}", "", "7:23: error M003 step 'trim' takes no value"),
    ("pull", "a: {from: X, use: [[trim]]}", "", "7:22: error M003 a step is one word"),
    ("pull", "a: {from: X, use: [{pad_left: 10}]}", "", "7:33: error M011 must be two values"),
    ("pull", 'a: {from: X, use: [{pad_left: [x, "0"]}]}', "",
     "7:34: error M011 must be a whole number"),
    ("pull", "a: {from: X, use: [{truncate: 0}]}", "", "7:33: error M011 must be a whole number"),
    ("pull", "a: {from: X, use: [{replace: [a, 1]}]}", "", "7:36: error M006 YAML reads this"),
    ("pull", "a: {from: X, use: trim}", "", "7:21: error M011 must be a list of steps"),
    ("pull", "a: {from: X, table: tier}", "tables:\n  tire: {map: {A: b}}\n",
     "7:23: error M004 no table 'tier' (did you mean 'tire'?)"),
    ("pull", "a: {from: X, table: t}", "tables:\n  t: {file: ../../etc/passwd.csv}\n",
     "9:13: error M004 ../../etc/passwd.csv lies outside the mappings directory"),
    ("pull", "a: {from: X, table: t}", "tables:\n  t: {file: none.csv}\n",
     "9:13: error M004 none.csv cannot be read"),
    ("pull", "a: {from: X, table: t}", "tables:\n  t: {map: {A: b}, pairs: {A: b}}\n",
     "9:6: error M012 a table needs exactly one of pairs, map, file"),
    ("pull", "a: {from: X, table: {otherwise: x}}", "", "7:23: error M012 a table needs exactly"),
    ("pull", "a: {from: X, table: {map: {'*': x}, otherwise: y}}", "",
     "7:23: error M011 a table has"),
    ("pull", "a: {from: X, table: {pairs: {A: x, B: x}}}", "", "7:24: error M005 two-way table is"),
    ("both", "a: {from: X, table: {map: {A: x, B: x}}}", "",
     "7:16: error M005 two-way table is not"),
    ("pull", "a: {from: X, table: {pairs: {A: x}, otherwise: y}}", "", "7:23: error M005 pairs go"),
    ("pull", "a: {from: X, table: {map: {A: 0100}}}", "",
     "7:33: error M006 YAML reads the unquoted 0100 as 100; write \"0100\""),
    ("pull", "a: {from: X, table: {map: {0100: a}}}", "",
     "7:30: error M006 YAML reads the unquoted"),
    ("pull", "a: {from: X, table: {map: {A: ~}}}", "", "7:33: error M006 the value is empty"),
    ("pull", "a: {const: 1.50}", "", "7:14: error M006 YAML reads the unquoted 1.50"),
    ("pull", "a: {from: 12}", "",
     "7:13: error M006 YAML reads this as the number 12; write \"12\""),
    ("pull", "a: {from: true}", "", "7:13: error M006 YAML reads this as the boolean true"),
    ("both", "a: {template: '{X}'}", "", "7:7: error M009 'a' has no way back: a template cannot"),
    ("both", "a: {const: x}", "", "7:7: error M009 'a' has no way back: a const cannot be undone"),
    ("both", "a: {first_of: [X, Y]}", "", "7:7: error M009 'a' has no way back: name the field"),
    ("both", "a: {all_of: [X, Y]}", "", "7:7: error M009 'a' has no way back: name the field"),
    ("both", "a: {from: X, use: [digits]}", "",
     "7:22: error M009 'a' has no way back: step digits"),
    ("both", "a: {from: X, use: [{truncate: 3}]}", "", "7:22: error M009"),
    ("both", "a: {from: X, use: [{replace: [a, b]}]}", "", "7:22: error M009"),
    ("both", "a: {from: X, when: {present: Y}}", "", "7:16: error M009 'a' has no way back: its"),
    ("both", "a: {from: X, type: decimal, unit: {from: U, to: kg}}", "", "7:31: error M009"),
    ("both", "a:\n  each: L\n  fields:\n    b: {const: 1}", "", "10:11: error M009"),
    ("both", "a:\n  each: L\n  fields:\n    b: {from: X, type: money, currency: {from: ^.C}}", "",
     "10:33: error M009 'b' has no way back: the currency '^.C' cannot be written"),
    ("both", "a:\n  each: L\n  fields:\n    b: {from: ^.X}", "", "10:11: error M009"),
    ("both", "a: {from: X}\nb: {from: X}", "", "8:13: error M010 'X' and 'X' (line 7) write the"),
    ("pull", "account: X\naccount.erp: Y", "",
     "8:3: error M010 'account.erp' and 'account' (line 7) write the same place; where 'account' "
     "is a reference, write account.id"),
    ("pull", "account.erp: Y\naccount: X", "", "8:3: error M010 'account' and 'account.erp'"),
    ("push", "L.0.a: X\nL.b: Y", "", "8:3: error M010 'L' cannot be a list and hold named fields"),
    ("pull", "a: {from: X, type: strng}", "", "7:22: error M011 must be one of string, integer"),
    ("pull", "a: {from: X, required: yes}", "", "7:26: error M011 must be true or false"),
    ("pull", "a: {from: X, max_length: many}", "", "7:28: error M011 must be a whole number"),
    ("pull", "a: {from: X, scale: 2}", "", "7:16: error M011 scale needs type: decimal or money"),
    ("pull", "a: {from: X, region: DE}", "", "7:16: error M011 region needs type: phone"),
    ("pull", "a: {from: X, type: date, format: d.m.Y}", "",
     "7:28: error M011 format 'd.m.Y' holds no"),
    ("pull", "a: {from: X, type: date, format: '%d %d'}", "",
     "7:28: error M011 format '%d %d' cannot"),
    ("pull", "a: {from: X, type: decimal, format: '%d'}", "",
     "7:31: error M011 the format of a number"),
    ("pull", "a: {from: X, type: decimal, default: none}", "",
     "7:31: error M011 default: not a number"),
    ("pull", "a: {from: X, type: boolean, default: maybe}", "",
     "7:31: error M011 default: neither"),
    ("pull", "a: {const: abcd, max_length: 3}", "", "7:20: error M011 max_length is 3, the value"),
    ("pull", "a: {from: X, default: abcd, max_length: 3}", "", "7:31: error M011 max_length is 3"),
    ("pull", "a: {from: X, table: {map: {A: b}}, type: integer}", "",
     "7:16: error M011 the table gives 'b': not a number"),
    ("pull", "a: {template: plain}", "", "7:17: error M011 names no {field}; use const"),
    ("pull", "a: {template: '{X'}", "", "7:17: error M011 a brace without its partner"),
    ("pull", "a: {from: X, push_to: Y}", "", "7:16: error M011 push_to belongs to first_of and"),
    ("pull", "a: {from: X, when: {from: Y}}", "", "7:22: error M011 a condition is present: path"),
    ("pull", "a: {from: X, when: {present: Y, absent: Z}}", "", "7:22: error M011 a condition is"),
    ("pull", "a: {from: X, unit: {to: kg, is: g}}", "",
     "7:16: error M011 unit needs type: integer"),
    ("pull", "a: {from: X, type: decimal, unit: {is: l, to: kg}}", "",
     "7:37: error M011 no conversion"),
    ("pull", "a: {from: X, type: decimal, unit: {is: sack, to: kg}}", "",
     "7:37: error M011 no conversion"),
    ("pull", "a: {from: X, type: decimal, unit: {to: kg}}", "",
     "7:37: error M012 unit needs either"),
    ("pull", "a: {each: L, use: [trim], fields: {b: c}}", "",
     "7:16: error M011 use has no meaning"),
    ("pull", "a: {const: x, table: t}", "tables: {t: {map: {a: b}}}\n",
     "7:17: error M011 table has no"),
    ("pull", "a: {from: X, direction: push}", "", "7:27: error M011 the file's direction is pull"),
    ("pull", "a: [X]", "", "7:6: error M011 must be a path, or a block of keys"),
    ("pull", "a: ~", "", "7:6: error M011 must be the path of a field; it is empty"),
    ("pull", "a: X", "defaults: {timezone: Europa/Berlin}\n", "8:22: error M011 no time zone"),
    ("pull", "a: X", "defaults: {timezone: ../../etc/passwd}\n", "8:22: error M011 no time zone"),
    ("pull", "a: X", "faults: {X*Y: {outcome: retry}}\n", "8:10: error M011 'X*Y': * stands only"),
    ("pull", "a: X", "faults: {X: {outcome: retri}}\n",
     "8:23: error M011 must be one of already_done"),
    ("pull", "a: X", "faults: {X: {outcome: retry, message: '{reason}'}}\n",
     "8:39: error M011 {reason} is not one of code, faultstring"),
    ("pull", "a: X", "faults: {X: {}}\n", "8:13: error M012 key 'outcome' is missing"),
    ("pull", "a: {each: L}", "", "7:3: error M012 each and fields belong together"),
    ("pull", "a: {from: X, fields: {b: c}}", "", "7:3: error M012 each and fields belong together"),
    ("pull", "a..b: X", "", "7:3: error M013 'a..b' is not a path"),
    ("pull", "a: X..Y", "", "7:6: error M013 'X..Y' is not a path"),
    ("pull", "a: 'X Y'", "", "7:6: error M013 'X Y' is not a path; quote a segment"),
    ("pull", "a: X.1000.Y", "", "7:6: error M013 'X.1000.Y': a list index goes up to 99"),
    ("pull", "'#': X", "", "7:3: error M013 '#' can be read, not written"),
    ("pull", "^.a: X", "", "7:3: error M013 '^.a' can be read, not written"),
    ("pull", "a: ^", "", "7:6: error M013 '^' names no field"),
]  # fmt: skip

WHOLE_FILES = [
    ("just words", "1:1: error M000 a mapping file is a block of keys"),
    ("- a\n- b\n", "1:1: error M000 a mapping file is a block of keys"),
    ("mapping: 2\n", "1:10: error M011 must be a whole number from 1 to 1; it is the number 2"),
    ("mapping: 1\n", "1:1: error M012 key 'fields' is missing"),
    (sheet("a: X").replace("direction: pull", "direction: push"),
     "5:1: error M012 with direction: push the canonical record is the source"),
    (sheet("a: X", direction="push").replace("direction: push", "direction: both"),
     "5:1: error M012 with direction: both the canonical record is the target"),
    (sheet("a: X").replace("{object: Thing}", "{canonical: order}"),
     "4:1: error M012 exactly one of source and target names our record"),
    (sheet("a: X").replace("{object: Thing}", "Thing"), "3:9: error M011 must be a block of keys"),
    (sheet("a: X").replace("{canonical: contact}", "[contact]"), "4:9: error M011 must be a block"),
    (sheet("a: X").replace("{object: Thing}", "{connection: crm}"),
     "3:9: error M012 the remote's side needs object or operation"),
    (sheet("a: X").replace("canonical: contact", "canonical: contact, object: y"),
     "4:30: error M001 'object' belongs to the remote's side"),
    (sheet("a: X").replace("id: test.thing", "id: Test Thing"),
     "2:5: error M011 must be a name such"),
    (sheet("a: X", more="ignroe: [X]\n"), "8:1: error M001 unknown key 'ignroe' (did you mean"),
    (OPERATION + "fields: {Ref: key}\n", "6:1: error M008 a credit is a write; say where our key"),
    (OPERATION + "idempotency: {field: Ref}\nfields: {Ref: order.id}\n",
     "7:15: error M008 'Ref' bears our key, so it must be made from key"),
    (OPERATION + "idempotency: {field: Ref}\nfields: {Ref: {from: key, use: [{truncate: 20}]}}\n",
     "7:33: error M008 step truncate would change our key; it must arrive whole"),
    (OPERATION + "idempotency: {field: Ref}\nfields: {Ref: {from: key, when: {present: note}}}\n",
     "7:33: error M008 when could leave our key out"),
    (OPERATION + "idempotency: {lookup: {}}\nfields: {Ref: key}\n",
     "6:14: error M012 key 'field' is missing"),
    (OPERATION.replace("CreateCredit", "X, wsdl_lock: sha256:1") + "fields: {R: key}\n",
     "4:35: error M011 must be sha256: and 64 hex digits"),
]  # fmt: skip


def _told(text: str) -> list[str]:
    return [str(issue).removeprefix("text.map.yaml:") for issue in issues(text)]


@pytest.mark.parametrize(("direction", "fields", "more", "issue"), MISTAKES)
def test_a_wrong_line_is_named(direction, fields, more, issue):
    told = _told(sheet(fields, direction=direction, more=more))
    assert any(line.startswith(issue) for line in told), told


@pytest.mark.parametrize(("text", "issue"), WHOLE_FILES)
def test_a_wrong_file_is_named(text, issue):
    told = _told(text)
    assert any(line.startswith(issue) for line in told), told


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    told = _told(
        sheet(
            """
            a: {from: X, use: [trimm]}
            b: {from: X, table: nowhere}
            c: {from: X, type: nothing, required: 1}
            d: {template: "{X"}
            """
        )
    )
    assert [line.split(" ")[2] for line in told] == ["M003", "M004", "M011", "M011", "M011"]
    assert [line.split(":")[0] for line in told] == ["7", "8", "9", "9", "10"]


def test_every_m_code_that_a_file_is_refused_for_is_shown_here():
    shown = {issue.split(" ")[2] for *_, issue in [*MISTAKES, *WHOLE_FILES]}
    elsewhere = {"M007", "M014", "M015", "M016"}
    assert shown | elsewhere == {code for code in CODES if code.startswith("M")}


def test_a_correct_field_beside_a_wrong_one_is_not_blamed():
    assert len(_told(sheet("a: {from: X, type: decimal, scale: 2}\nb: {from: Y, typ: date}"))) == 1


def test_the_message_of_the_exception_lists_them_all():
    with pytest.raises(MappingInvalid) as caught:
        Mapping.parse(sheet("a: {form: X}\nb: {use: []}"))
    assert str(caught.value).count("\n") == len(caught.value.issues) - 1


@pytest.mark.parametrize(
    ("content", "issue"),
    [
        ("a,b\nx,y\n", "1:1: error M004 the first line must be source,target"),
        ("", "1:1: error M004 the first line must be source,target"),
        ("source,target\nx\n", "2:1: error M004 1 columns; a table has 2"),
        ("source,target\nx,1\nx,2\n", "3:1: error M004 'x' stands twice in the column source"),
        ('source,target\n"x,1\n', "2:1: error M004 not CSV"),
    ],
)
def test_a_wrong_table_file_is_named_with_its_line(tmp_path, content, issue):
    (tmp_path / "t.csv").write_text(content)
    path = tmp_path / "a.map.yaml"
    path.write_text(sheet("a: {from: X, table: t}", more="tables: {t: {file: t.csv}}\n"))
    with pytest.raises(MappingInvalid) as caught:
        Mapping.load(path)
    assert str(caught.value).startswith(f"{tmp_path}/t.csv:{issue}")


def test_a_table_file_stays_inside_the_mappings_tree(tmp_path):
    """Neither a path nor a symbolic link leads out of it."""
    folder = tmp_path / "mappings" / "crm"
    folder.mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("source,target\na,b\n")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    for file in ("../../secret.csv", "link.csv", str(tmp_path / "secret.csv")):
        path = folder / "a.map.yaml"
        path.write_text(sheet("a: {from: X, table: t}", more=f"tables: {{t: {{file: {file}}}}}\n"))
        with pytest.raises(MappingInvalid, match="lies outside the mappings directory"):
            Mapping.load(path)
    (tmp_path / "mappings" / "tables.csv").write_text("source,target\na,b\n")
    path.write_text(sheet("a: {from: X, table: t}", more="tables: {t: {file: ../tables.csv}}\n"))
    assert Mapping.load(path).read({"X": "a"}) == {"a": "b"}
