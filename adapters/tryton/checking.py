"""What Tryton says about itself and about our user's rights, without changing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from adapters.tryton.client import SYSTEM, Client
from adapters.tryton.records import described
from adapters.tryton.settings import TrytonSettings
from middleware.contract.capabilities import (
    CheckReport,
    Description,
    FieldInfo,
    Finding,
    ObjectInfo,
)
from middleware.contract.errors import Forbidden, RemoteError, Unauthorised

NEEDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # model, module, rights
    ("party.party", "party", ("read",)),
    ("party.address", "party", ("read", "create")),
    ("product.product", "product", ("read",)),
    ("sale.sale", "sale", ("read", "create", "write", "delete")),
    ("stock.shipment.out", "stock", ("read", "write")),
    ("account.invoice", "account_invoice", ("read", "write")),
    ("sale.complaint", "sale_complaint", ("read", "create", "write", "delete")),
)
"""What the adapter uses. It deletes only drafts of its own that Tryton then refused to confirm, and
writes shipments and invoices only to cancel what is taken back."""

_NUMBERS = frozenset({"integer", "float", "numeric"})
_LISTS = frozenset({"one2many", "many2many"})


def check(client: Client, settings: TrytonSettings) -> CheckReport:
    """Prove address, login, company, modules, rights, and what the settings name."""
    findings: list[Finding] = []
    for step in (_server, _login, _modules, _rights, _approval, _types, _named):
        try:
            findings += step(client, settings)
        except RemoteError as error:
            remedy = (
                "Correct the user or the password, and look whether the user is active in Tryton."
                if isinstance(error, Unauthorised)
                else "Correct url and database, or mend the network between here and Tryton."
            )
            name = step.__name__.removeprefix("_")
            findings.append(_bad(name, error.message, remedy))
        if not all(finding.ok for finding in findings):
            break  # what follows would only say the same again
    return CheckReport(findings=tuple(findings))


def identity(client: Client, settings: TrytonSettings) -> str:
    """Address, database, and the user's company with the moment at which it was made.

    A Tryton has no number of its own. When its company was made tells two databases of one name
    apart; a copy of one is told by its address or its name alone.
    """
    operation = "remote_identity"
    address = urlsplit(settings.url)
    where = f"{address.netloc.lower()}{address.path}/{settings.database}"
    company = client.log_in(operation=operation).get("company")
    if not isinstance(company, int):
        return where
    try:
        rows = client.read("company.company", [company], ("create_date",), operation=operation)
    except Forbidden:
        rows = []
    made = rows[0]["create_date"] if rows else None
    since = f" of {made:%Y-%m-%dT%H:%M:%S.%f}" if isinstance(made, datetime) else ""
    return f"{where}, company {company}{since}"


def _server(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    yield Finding(name="server", ok=True, detail=f"Tryton {client.version(operation='check')}")


def _login(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    preferences = client.log_in(operation="check")
    yield Finding(name="login", ok=True, detail=f"logged in as {settings.user}")
    if preferences.get("company") is None:
        yield _bad(
            "company",
            "the user works for no company, and sales belong to one",
            "Give the user a company, and choose it in the user's preferences.",
        )
    else:
        yield Finding(name="company", ok=True)


def _modules(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    rows = client.search_read(
        "ir.module", [["state", "=", "activated"]], ("name",), operation="check"
    )
    active = {row["name"] for row in rows}
    wanted = [module for _, module, _ in NEEDED]
    if settings.employer_relation:
        wanted.append("party_relationship")
    for module in dict.fromkeys(wanted):
        if module in active:
            yield Finding(name=f"module {module}", ok=True)
        else:
            yield _bad(
                f"module {module}",
                f"the module {module} is not activated in this database",
                f"Activate {module} under Administration, Modules, or leave out what needs it.",
            )


def _rights(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    models = [model for model, _, _ in NEEDED]
    access = client.call("model.ir.model.access.get_access", models, operation="check")
    for model, _, rights in NEEDED:
        missing = [right for right in rights if not access.get(model, {}).get(right)]
        if missing:
            yield _bad(
                model,
                f"the user may not {' or '.join(missing)} {model}",
                f"Add the user to a group that may {' and '.join(missing)} it, such as Sales for "
                "sales and complaints, Stock for shipments and Accounting for invoices.",
            )
        else:
            yield Finding(name=model, ok=True, detail=", ".join(rights))


def _approval(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    if not settings.approve:
        return
    rows = client.search_read(
        "ir.model.button",
        [["model", "=", "sale.complaint"], ["name", "=", "approve"]],
        ("groups",),
        operation="check",
    )
    mine = set(client.log_in(operation="check").get("groups") or ())
    wanted = {group for row in rows for group in row["groups"] or ()}
    if wanted and not wanted & mine:
        yield _bad(
            "approve complaints",
            "the user may not approve complaints, and returns and credits are to be approved",
            "Add the user to Sales Administrator, or set approve = false.",
        )
    else:
        yield Finding(name="approve complaints", ok=True)


def _types(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    rows = client.search_read(
        "sale.complaint.type", [], ("origin.name",), operation="check", limit=500
    )
    there = {row["origin"]["name"] for row in rows if row["origin"]}
    for model, what in (("sale.sale", "sales"), ("account.invoice", "invoices")):
        if model in there:
            yield Finding(name=f"complaint type for {what}", ok=True)
        else:
            yield _bad(
                f"complaint type for {what}",
                f"there is no complaint type whose origin is {model}",
                "Add one under Sales, Configuration, Complaint types.",
            )


def _named(client: Client, settings: TrytonSettings) -> Iterator[Finding]:
    for setting, name, model in (
        ("person_category", settings.person_category, "party.category"),
        ("employer_relation", settings.employer_relation, "party.relation.type"),
    ):
        if name is None:
            continue
        rows = client.search_read(
            model, [["name", "=", name]], ("name",), operation="check", limit=1
        )
        if rows:
            yield Finding(name=setting, ok=True, detail=name)
        else:
            yield _bad(
                setting,
                f"Tryton has no {model} called {name!r}",
                f"Add it in Tryton, or correct {setting}.",
            )


def _bad(name: str, detail: str, remedy: str) -> Finding:
    return Finding(name=name, ok=False, detail=detail, remedy=remedy)


# What there is.


def describe(client: Client, models: list[str]) -> Description:
    """The fields of the models that mappings name, and of the lists inside them, by `fields_get`.

    A field's path is the mapping's: `addresses.street`. Reading a field of something related is
    always possible; writing goes into lists only.
    """
    version = client.version(operation="describe")
    objects = tuple(
        ObjectInfo(name=model, fields=tuple(_fields(client, model))) for model in models
    )
    return Description(system=SYSTEM, version=version, objects=objects)


def _fields(client: Client, model: str) -> Iterator[FieldInfo]:
    for name, field in sorted(client.fields(model, operation="describe").items()):
        yield _info(name, field)
    yield from described().get(model, ())


def _info(name: str, field: Mapping[str, Any]) -> FieldInfo:
    kind = str(field["type"])
    selection = field.get("selection")
    values: tuple[str, ...] = ()
    if isinstance(selection, list) and kind in ("selection", "multiselection"):
        values = tuple(str(value) for value, _ in selection if value)
    size = field.get("size")
    return FieldInfo(
        name=name,
        type=kind,
        label=str(field.get("string") or ""),
        # Whether it is required may depend on the record; Tryton says so only for some.
        required=bool(field.get("required")) and kind not in _LISTS,
        writable=not field.get("readonly"),
        max_length=size if isinstance(size, int) and size > 0 else None,
        values=values,
    )
