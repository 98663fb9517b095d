"""The guide to bindings: its example works, and it names every key, code and setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.soap import fit, grammar
from adapters.soap.settings import SoapSettings
from middleware.contract.capabilities import AuthorisesReturns, ReadsOrders, capabilities_of
from middleware.contract.mapping.vocabulary import Either, Keys, Many, Named, Shape
from tests.adapters.soap.canned import canned, open_shop, put_files

GUIDE = (Path(__file__).parents[3] / "docs" / "soap-bindings.md").read_text()


def keys_of(shape: Shape | None) -> Iterator[str]:
    if isinstance(shape, Keys):
        for name, key in shape.keys.items():
            yield name
            yield from keys_of(key.shape)
    elif isinstance(shape, (Many, Named)):
        yield from keys_of(shape.item)
    elif isinstance(shape, Either):
        for one in (shape.one, shape.block, shape.many):
            yield from keys_of(one)


@pytest.mark.parametrize("key", sorted(set(keys_of(grammar.FILE))))
def test_it_explains_every_key(key: str) -> None:
    assert f"`{key}`" in GUIDE or f"`{key}:" in GUIDE


@pytest.mark.parametrize("name", sorted(SoapSettings.model_fields))
def test_it_explains_every_setting(name: str) -> None:
    assert f"`{name}`" in GUIDE or f"{name} = " in GUIDE


@pytest.mark.parametrize("outcome", grammar.OUTCOMES)
def test_it_explains_every_outcome(outcome: str) -> None:
    assert f"`{outcome}`" in GUIDE


def test_it_explains_every_code() -> None:
    told = set(re.findall(r"^- ([BR]\d{3}) ", f"{grammar.__doc__}\n{fit.__doc__}", re.MULTILINE))
    assert told == set(re.findall(r"^\| ([BR]\d{3}) \|", GUIDE, re.MULTILINE))
    used = "".join(Path(str(m.__file__)).read_text() for m in (grammar, fit))
    assert told == set(re.findall(r'"([BR]\d{3})"', used))


def test_its_example_works(tmp_path: Path) -> None:
    example = re.search(r'```yaml title="shop/bindings.yaml"\n(.*?)```', GUIDE, re.DOTALL)
    assert example is not None
    folder = put_files(tmp_path / "shop", bindings=example[1])
    with canned() as remote:
        adapter = open_shop(folder, remote.url)
        assert capabilities_of(type(adapter)) == (ReadsOrders, AuthorisesReturns)
        remote.fault("env:Client.Empty")
        assert adapter.find_order("x") is None
        adapter.close()
