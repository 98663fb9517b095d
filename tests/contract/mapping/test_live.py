"""Mappings against what a remote says about itself: every R-code, and the silence between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.contract.capabilities import Description, FieldInfo, ObjectInfo
from middleware.contract.mapping import Mapping, Severity
from middleware.contract.mapping.codes import CODES
from middleware.contract.mapping.lint import drift, lint, lint_paths
from tests.contract.mapping.sheet import sheet

FILES = Path(__file__).parent / "files" / "mappings"
LOCK = "sha256:" + "0" * 64


def described(*fields: FieldInfo, name: str = "Thing", version: str = "") -> Description:
    return Description(
        system="crm", version=version, objects=(ObjectInfo(name=name, fields=fields),)
    )


THING = described(
    FieldInfo(name="Id", unique=True),
    FieldInfo(name="Name", max_length=20),
    FieldInfo(name="Born", type="date"),
    FieldInfo(name="Made", type="xsd:dateTime", writable=False),
    FieldInfo(name="Open", type="checkbox"),
    FieldInfo(name="Credit", type="currency"),
    FieldInfo(name="Tier", type="picklist", values=("B", "S", "G")),
    FieldInfo(name="AccountId", type="reference"),
    FieldInfo(name="Parent__c", type="reference"),
    FieldInfo(name="Address.City"),
    FieldInfo(name="Lines.Sku", max_length=5),
    FieldInfo(name="Lines.Note"),
)
UNUSED = "ignore: ['*']\n"


def told(text: str, description: Description = THING) -> list[str]:
    found = lint(Mapping.parse(text), description)
    return [str(issue).removeprefix("text.map.yaml:") for issue in found]


READS = [
    ("a: Nmae", "7:6: error R101 Thing has no field 'Nmae' (did you mean 'Name'?)"),
    ("a: Address.Town", "7:6: error R101 Thing has no field 'Address.Town'"),
    ("a: {template: '{Name} {Nam}'}", "7:17: error R101 Thing has no field 'Nam'"),
    ("a: {each: Lines, fields: {b: Sk}}", "7:32: error R101 Thing has no field 'Lines.Sk'"),
    ("a: {each: Lines, fields: {b: ^.Nam}}", "7:32: error R101 Thing has no field 'Nam'"),
    ("a: {from: Name, type: money, currency: {from: Curr}}", "7:13: error R101 Thing has no"),
    ("a: {from: Name, when: {present: Nope}}", "7:13: error R101 Thing has no field 'Nope'"),
    ("a: {from: Born, type: boolean}",
     "7:25: error R102 Born is date in the remote, which is no boolean; use type: date"),
    ("a: {from: Open, type: decimal}",
     "7:25: error R102 Open is checkbox in the remote, which is no decimal; use type: boolean"),
    ("a: {from: Made, type: phone}",
     "7:25: error R102 Made is xsd:dateTime in the remote, which is no phone; use type: datetime"),
    ("a: {from: Credit, type: datetime}", "7:27: error R102 Credit is currency in the remote"),
    ("a: {from: Tier, table: {map: {B: b}}}",
     "7:26: warning R103 values of Tier without an entry: S, G"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "issue"), READS)
def test_a_pull_is_checked(fields, issue):
    (found,) = told(sheet(fields, more=UNUSED))
    assert found.startswith(issue)


@pytest.mark.parametrize(
    "fields",
    [
        "a: Name",
        "a: Account.Number",
        "a: Parent__r.Name",
        "a: Address",
        "a: Address.City",
        "a: {each: Lines, fields: {b: Sku, n: '#', t: ., c: ^.Name}}",
        "a: Lines.0.Sku",
        "a: {from: Born, type: datetime}",
        "a: {from: Open, type: boolean}",
        "a: {from: Open, type: string}",
        "a: {from: Credit, type: datetime, format: unix}",
        "a: {from: Open, use: [{strip_prefix: x}], type: decimal}",
        "a: {from: Tier, table: {map: {B: b}, otherwise: z}}",
        "a: {from: Tier, table: {map: {B: b}}, unknown_value: keep}",
        "a: {from: Tier, use: [lower], table: {map: {b: b}}}",
    ],
)
def test_a_pull_that_fits_is_left_alone(fields):
    assert told(sheet(fields, more=UNUSED)) == []


PUSHES = [
    ("Nmae: x", "7:3: error R101 Thing has no field 'Nmae' (did you mean 'Name'?)"),
    ("Made: x", "7:9: error R104 Made is read-only in the remote"),
    ("Tier: {from: x, table: {map: {b: B, p: P}}}",
     "7:26: error R103 Tier does not take P; it takes B, S, G"),
    ("Tier: {const: X}", "7:17: error R103 Tier does not take X"),
    ("Tier: {from: x, table: {map: {b: B}}, default: Q}", "7:26: error R103 Tier does not take Q"),
    ("Name: {from: x, max_length: 40}", "7:31: error R106 max_length is 40, Name takes 20"),
    ("Name: {from: x, use: [{truncate: 40}]}", "7:25: error R106 Name takes 20 characters, not 40"),
    ("Name: {const: 123456789012345678901}", "7:17: error R106 Name takes 20 characters, a value"),
    ("Lines: {each: l, fields: {Sku: {from: s, max_length: 9}}}", "7:56: error R106 max_length is"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "issue"), PUSHES)
def test_a_push_is_checked(fields, issue):
    (found,) = told(sheet(fields, direction="push"))
    assert found.startswith(issue)


def test_both_directions_are_checked():
    fields = "a: {from: Made, type: datetime}\nb: {from: Tier, table: {pairs: {B: b, Q: q}}}"
    assert told(sheet(fields, direction="both", more=UNUSED)) == [
        "7:13: error R104 Made is read-only in the remote",
        "8:26: error R103 Tier does not take Q; it takes B, S, G",
        "8:26: warning R103 values of Tier without an entry: S, G",
    ]


def test_every_remote_field_is_mapped_or_ignored():
    text = sheet(
        "a: Name\nb: Account.Number\nc: Address",
        more="ignore: [Made, 'Lin*', Parent__c, Open]\n",
    )
    assert told(text) == [
        f"6:1: warning R105 remote field {name!r} is neither mapped nor ignored"
        for name in ("Born", "Credit", "Id", "Tier")
    ]


def test_the_identifier_exists_and_is_unique():
    match = "match: {{source: {}, target: external_ids.x}}\n" + UNUSED
    assert told(sheet("a: Name", more=match.format("Id"))) == []
    assert told(sheet("a: Name", more=match.format("Born"))) == [
        "8:1: warning R107 Born is not unique in the remote"
    ]
    assert told(sheet("a: Name", more=match.format("Idd"))) == [
        "8:1: error R101 Thing has no field 'Idd' (did you mean 'Id'?)"
    ]


def test_the_object_exists():
    assert told(sheet("a: X").replace("Thing", "Thng")) == [
        "3:18: error R101 crm has no object 'Thng' (did you mean 'Thing'?)"
    ]


OPERATION = """\
mapping: 1
id: erp.credit
source: {{canonical: credit}}
target: {{operation: CreateCredit, wsdl_lock: "{lock}"}}
direction: push
idempotency: {{field: {key}}}
fields:
  {fields}
"""

WSDL = described(
    FieldInfo(name="order", required=True, type="CreditOrder"),
    FieldInfo(name="order.Ref", required=True, max_length=64),
    FieldInfo(name="order.Short", max_length=12),
    FieldInfo(name="order.Amount", type="xsd:decimal"),
    FieldInfo(name="order.Ship", type="Address"),
    FieldInfo(name="order.Ship.City", required=True),
    FieldInfo(name="order.Lines.Line.Sku", required=True),
    name="CreateCredit",
    version=LOCK,
)


def operation(fields: str, *, key: str = "order.Ref", lock: str = LOCK) -> list[str]:
    text = OPERATION.format(fields=fields.replace("\n", "\n  "), key=key, lock=lock)
    return told(text, WSDL)


LINES = "\norder.Lines.Line: {each: lines, fields: {Sku: {from: sku, required: true}}}"
GOOD = "order.Ref: {from: key, required: true}" + LINES


def test_an_operation_that_fits_is_left_alone():
    assert operation(GOOD) == []


@pytest.mark.parametrize(
    ("fields", "issue"),
    [
        (GOOD + "\norder.Amunt: x", "error R201 CreateCredit has no element 'order.Amunt' (did"),
        ("order.Ref: key" + LINES, "warning R202 required element 'order.Ref' may be left empty"),
        ("order.Ref: {from: key, required: true}",
         "error R202 required element 'order.Lines.Line.Sku' is not mapped"),
        (GOOD + "\norder.Ship.Zip: x", "error R201 CreateCredit has no element 'order.Ship.Zip'"),
    ],
)  # fmt: skip
def test_an_operation_is_checked(fields, issue):
    assert any(issue in found for found in operation(fields)), operation(fields)


def test_a_part_that_is_not_sent_may_lack_what_it_requires():
    """order.Ship.City is required inside order.Ship, which is optional."""
    assert operation(GOOD) == []
    assert operation(GOOD + "\norder.Ship: ship_to") == []
    assert any("order.Ship.City" in found for found in operation(GOOD + "\norder.Ship.X: x"))


def test_our_key_fits_its_field():
    short = GOOD + "\norder.Short: "
    assert operation(short + "key", key="order.Short") == [
        "6:1: error R106 our key has up to 64 characters, order.Short takes 12; fill it from a "
        "shortened key that the adapter offers"
    ]
    assert operation(short + "short_key", key="order.Short") == []
    assert operation(GOOD, key="order.Reff")[0].startswith("6:1: error R201 CreateCredit has no")


def test_the_wsdl_is_the_one_that_the_file_was_written_against():
    other = "sha256:" + "1" * 64
    assert operation(GOOD, lock=other) == [
        f"4:1: error R203 the WSDL changed since this file was written: it is {LOCK} now"
    ]


def test_the_operation_exists():
    text = OPERATION.format(fields=GOOD.replace("\n", "\n  "), key="order.Ref", lock=LOCK)
    assert told(text.replace("CreateCredit", "CreateCredits"), WSDL) == [
        "4:21: error R201 crm has no operation 'CreateCredits' (did you mean 'CreateCredit'?)"
    ]


def test_drift_is_what_changed_there_not_what_is_odd_here():
    mapping = Mapping.parse(
        sheet("a: Gone\nb: {from: Tier, table: {map: {B: b}}}", more="ignore: [Lines.*, A*]\n")
    )
    assert sorted({issue.code for issue in lint(mapping, THING)}) == ["R101", "R103", "R105"]
    assert sorted({issue.code for issue in drift(mapping, THING)}) == ["R101", "R105"]


def test_every_r_code_is_shown_here():
    source = Path(__file__).read_text(encoding="utf-8")
    missing = [code for code in CODES if code.startswith("R") and f" {code} " not in source]
    assert missing == []


# -- without a remote ------------------------------------------------------------------------------


def test_the_files_of_these_tests_are_clean():
    assert lint_paths([FILES]) == []


def test_a_path_that_resembles_a_canonical_field_is_questioned():
    fields = """
        email: Email
        loyalty.tier: Tier
        address.citi: City
        account.erp_number: Number
        handles.x: X
        emails: Mail
        """
    found = lint(Mapping.parse(sheet(fields)))
    assert [(i.place.line, i.code, i.severity) for i in found] == [
        (7, "M015", Severity.WARNING),
        (9, "M015", Severity.WARNING),
    ]
    assert "(did you mean 'emails'?)" in found[0].message
    order = sheet("lines: {each: L, fields: {id: Id, quantty: Q, weight: W}}")
    (issue,) = lint(Mapping.parse(order.replace("contact", "order")))
    assert "order.lines has no field 'quantty' (did you mean 'quantity'?)" in issue.message


def test_a_source_that_resembles_a_field_of_the_request_is_questioned():
    fields = """
        A: {from: key, required: true}
        B: acount.id
        C: order.idd
        D: reason
        E: made_up_by_the_adapter
        F: {each: lines, fields: {G: sku, H: quantiti, I: ^.note}}
        """
    text = sheet(fields, direction="push", more="idempotency: {field: A}\n")
    found = lint(Mapping.parse(text.replace("case_update", "replacement_order")))
    assert [(str(i.place), i.code, i.message.partition("(")[2]) for i in found] == [
        ("text.map.yaml:8:6", "M015", "did you mean 'account'?)"),
        ("text.map.yaml:9:6", "M015", "did you mean 'id'?)"),
        ("text.map.yaml:12:40", "M015", "did you mean 'quantity'?)"),
    ]


def test_keys_without_effect_are_told():
    found = lint(Mapping.parse(sheet("a: {from: X, clear: true, only_create: true}")))
    assert [(i.code, str(i.place)) for i in found] == [
        ("M016", "text.map.yaml:7:16"),
        ("M016", "text.map.yaml:7:29"),
    ]
    assert lint(Mapping.parse(sheet("a: {from: X, clear: true}", direction="both"))) == []


def test_a_description_is_held_against_its_own_systems_files(tmp_path):
    for name, field in (("crm", "Nmae"), ("erp", "Nowhere")):
        folder = tmp_path / "mappings" / name
        folder.mkdir(parents=True)
        (folder / "a.map.yaml").write_text(sheet(f"a: {field}", more=UNUSED))
        (folder / "a.fixtures.yaml").write_text("- {name: x, in: {}, out: {}}\n")

    def messages(path: Path, description: Description = THING) -> list[str]:
        return [issue.message for issue in lint_paths([path], description)]

    assert messages(tmp_path) == ["Thing has no field 'Nmae' (did you mean 'Name'?)"]
    assert messages(tmp_path / "mappings" / "erp") == ["Thing has no field 'Nowhere'"]
    other = Description(system="soap", objects=THING.objects)
    assert len(messages(tmp_path, other)) == 2


def test_a_folder_is_linted_whole(tmp_path):
    crm, erp = tmp_path / "mappings" / "crm", tmp_path / "mappings" / "erp"
    for folder in (crm, erp):
        folder.mkdir(parents=True)
        (folder / "a.map.yaml").write_text(sheet("a: X"))
        (folder / "a.fixtures.yaml").write_text("- {name: x, in: {}, out: {}}\n")
    (crm / "b.map.yaml").write_text(sheet("a: X"))
    (crm / "c.map.yaml").write_text("a: [")
    found = lint_paths([tmp_path])
    assert [(Path(i.place.file).name, i.code) for i in found] == [
        ("b.map.yaml", "M007"),
        ("b.map.yaml", "M014"),
        ("b.map.yaml", "M014"),
        ("c.map.yaml", "M000"),
    ]
    assert [i.code for i in lint_paths([erp / "a.map.yaml"])] == []
    assert [i.code for i in lint_paths([tmp_path / "none.map.yaml"])] == ["M000"]
    (tmp_path / "empty").mkdir()
    assert [i.code for i in lint_paths([tmp_path / "empty"])] == ["M000"]


CHANGE = """\
mapping: 1
id: crm.withdraw_order
source: {canonical: withdraw_order}
target: {object: Order}
direction: push
fields:
  Why: because
"""
ORDER = described(FieldInfo(name="Account", required=True), FieldInfo(name="Why"), name="Order")


def test_what_changes_a_record_need_not_say_what_making_one_does():
    assert told(CHANGE, ORDER) == []
    made = CHANGE.replace("direction: push", "direction: push\nidempotency: {field: Why}")
    made = made.replace("because", "key")
    (issue,) = [line for line in told(made, ORDER) if "R202" in line]
    assert "'Account' is not mapped" in issue
    synced = CHANGE.replace("direction: push", "direction: push\nmatch: {source: id, target: Why}")
    assert any("R202" in line for line in told(synced, ORDER))
