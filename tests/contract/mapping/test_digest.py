"""What a mapping reads records by: what changes it, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from middleware.contract.mapping import Mapping
from middleware.registry import Registry

FILE = """\
mapping: 1
id: shop.account
title: customer to account
owner: erp-team@example.com
source: {object: Customer}
target: {canonical: account}
direction: pull
match: {source: Number, target: external_ids.customer_number}
tables:
  tiers: {map: {A: gold, B: silver}}
fields:
  name: {from: Name, use: [trim]}
  number: Number
  tier: {from: Class, table: tiers}
  external_ids.customer_number: Number
"""


def test_reading_it_again_or_from_elsewhere_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    file = tmp_path / "mappings" / "account.map.yaml"
    file.write_text(FILE)
    assert Mapping.load(file).reads_by == Mapping.parse(FILE).reads_by


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        ("mapping: 1\n", "# by Kim\nmapping: 1\n\n"),
        ("title: customer to account", "title: theirs to ours"),
        ("erp-team@example.com", "crm-team@example.com"),
        ("  number: Number\n", "  # theirs\n  number: {from: Number}\n"),
    ],
)
def test_what_it_says_of_itself_changes_nothing(was: str, is_: str) -> None:
    assert was in FILE
    assert Mapping.parse(FILE.replace(was, is_)).reads_by == Mapping.parse(FILE).reads_by


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        ("from: Name, use: [trim]", "from: Name"),
        ("from: Name, use: [trim]", "from: Name, use: [trim, upper]"),
        ("  number: Number\n", "  number: Code\n"),
        ("  number: Number\n", ""),
        ("B: silver", "B: bronze"),
        ("direction: pull\n", "direction: pull\ndefaults: {timezone: Europe/Berlin}\n"),
        ("object: Customer", "object: Debtor"),
    ],
)
def test_what_records_are_made_of_changes_it(was: str, is_: str) -> None:
    assert was in FILE
    assert Mapping.parse(FILE.replace(was, is_)).reads_by != Mapping.parse(FILE).reads_by


@pytest.mark.parametrize(
    "path", sorted(Path("mappings").rglob("*.map.yaml")), ids=lambda p: "/".join(p.parts[1:])
)
def test_each_shipped_mapping_has_one(path: Path) -> None:
    one = Mapping.load(path)
    assert not one.pulls or len(one.reads_by) == 32


def test_a_connection_without_a_mapping_has_none() -> None:
    assert Registry(()).reads_by("erp", "account") is None  # type: ignore[arg-type]
