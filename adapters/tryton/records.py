"""From Tryton's rows to canonical records: what a mapping wants read, and what has no single path.

Beside Tryton's own fields a mapping may name `derived.*`: what must be chosen from a list, or
worked out, before one field can hold it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from adapters.tryton.client import SYSTEM, Client, Domain, Row
from adapters.tryton.settings import TrytonSettings
from middleware.contract.canonical import Kind, Record, Ref
from middleware.contract.capabilities import Connection, FieldInfo, Quarantined
from middleware.contract.errors import Missing, Rejected
from middleware.contract.mapping import Mapping as MappingFile
from middleware.contract.mapping import MappingError, to_record

MODELS: dict[Kind, str] = {
    Kind.CONTACT: "party.party",
    Kind.ACCOUNT: "party.party",
    Kind.ORDER: "sale.sale",
    Kind.SHIPMENT: "stock.shipment.out",
    Kind.INVOICE: "account.invoice",
    Kind.PRODUCT: "product.product",
    Kind.RETURN: "sale.complaint",
}

_MECHANISMS = tuple(
    f"contact_mechanisms.{name}" for name in ("type", "value", "value_compact", "name", "comment")
)

DERIVED: dict[str, dict[str, tuple[str, ...]]] = {
    "party.party": {
        "emails": _MECHANISMS,
        "phones": _MECHANISMS,
        "handles": _MECHANISMS,
        "identifiers": ("identifiers.type", "identifiers.code"),
        "account": (),  # and the relations, where the settings name one
    },
    "sale.sale": {"origin": ("origin",)},
    "stock.shipment.out": {},
    "account.invoice": {
        "type": ("total_amount",),
        "total": ("total_amount",),
        "order": ("sales", "lines.origin"),
        "key": ("sales", "lines.origin"),
    },
    "product.product": {"company_currency": ()},
    "sale.complaint": {
        "order": ("origin",),
        "made": ("actions.result",),
        "lines": (
            "origin",
            "actions.action",
            "actions.quantity",
            "actions.sale_lines.line",
            "actions.sale_lines.quantity",
        ),
    },
}
"""What can be derived for each model, and the fields of Tryton's that it takes."""

_GREATEST_ID = 2**31 - 1  # of PostgreSQL's integer
_RELATIONS = ("relations.to", "relations.type.name")
_PHONES = frozenset({"phone", "mobile"})


def described() -> dict[str, tuple[FieldInfo, ...]]:
    """The derived fields of each model, for linting mappings."""
    open_ended = {"handles": "object", "identifiers": "object"}
    return {
        model: tuple(
            FieldInfo(name=f"derived.{name}", type=open_ended.get(name, "string"), writable=False)
            for name in names
        )
        for model, names in DERIVED.items()
    }


class Records:
    """Reads rows by their ids and makes canonical records of them."""

    def __init__(self, client: Client, connection: Connection, settings: TrytonSettings) -> None:
        self._client = client
        self._connection = connection
        self._settings = settings

    def mapping(self, kind: Kind) -> MappingFile:
        """The mapping file for a kind; raises NotOffered."""
        return self._connection.mappings.pull(str(kind))

    def rows(self, kind: Kind, ids: Sequence[int], *, operation: str) -> list[Row]:
        """The active rows of a kind with these ids, with all that its mapping wants."""
        mapping = self.mapping(kind)
        model = MODELS[kind]
        fields, derived = wanted(mapping)
        for name in derived:
            fields |= set(DERIVED[model].get(name, ()))
        if "account" in derived and self._settings.employer_relation:
            fields |= set(_RELATIONS)
        if kind is Kind.CONTACT and self._settings.person_category:
            fields.add("categories.name")
        if kind is Kind.RETURN:
            fields.add("actions.action")
        rows = self._client.read(
            model, ids, fields, operation=operation, inactive=kind is Kind.PRODUCT
        )
        self._derive(model, derived, rows, operation)
        return rows

    def record(self, kind: Kind, row: Row) -> Record:
        """The canonical record of a row; raises MappingError."""
        values = self.mapping(kind).read(row)
        return to_record(kind, connection=self._connection.name, id=str(row["id"]), values=values)

    def quarantined(self, kind: Kind, row: Row, error: MappingError) -> Quarantined:
        """The row that could not become a record, with the first reason."""
        problem = error.problems[0]
        return Quarantined(
            kind=kind,
            id=str(row["id"]),
            field=problem.field,
            reason=problem.reason,
            place=problem.place,
            payload=json.loads(json.dumps(row, default=_as_text)),
        )

    def sale(self, ref: Ref, fields: Iterable[str], operation: str) -> Row:
        """Fields of one sale; raises Missing."""
        id_ = self.id_of(ref, (Kind.ORDER,), operation)
        rows = self._client.read("sale.sale", [id_], fields, operation=operation)
        if not rows:
            raise missing(ref.kind, operation)
        return rows[0]

    def ids(
        self,
        model: str,
        domain: Domain,
        operation: str,
        *,
        limit: int,
        order: Sequence[tuple[str, str]] = (("id", "ASC"),),
    ) -> list[int]:
        """The ids of what a domain finds."""
        rows = self._client.search_read(
            model, domain, ("id",), operation=operation, limit=limit, order=order
        )
        return [row["id"] for row in rows]

    def id_of(self, ref: Ref, kinds: tuple[Kind, ...], operation: str) -> int:
        """Tryton's id in a reference of this connection; raises Missing or Rejected."""
        if ref.connection != self._connection.name or ref.kind not in kinds:
            raise rejected(
                f"a {ref.kind} of {ref.connection} is nothing that this connection knows",
                str(ref.kind),
                operation,
            )
        if not re.fullmatch(r"[1-9]\d{0,9}", ref.id, re.ASCII) or int(ref.id) > _GREATEST_ID:
            raise missing(ref.kind, operation)
        return int(ref.id)

    def belongs(self, kind: Kind, row: Row) -> bool:
        """Whether a row is a record of this kind; rows of one model can be of several."""
        if kind is Kind.RETURN:
            return any(one["action"] == "sale_return" for one in row["actions"])
        return kind is not Kind.CONTACT or self.is_person(row)

    def domain(self, kind: Kind) -> list[list[str]]:
        """What `belongs` asks of a row, as Tryton searches for it."""
        category = self._settings.person_category
        if kind is not Kind.CONTACT or category is None:
            return []
        return [["categories.name", "=", category]]

    def is_person(self, row: Row) -> bool:
        """Whether a party is somebody, by the category that the settings name."""
        category = self._settings.person_category
        return category is None or any(c["name"] == category for c in row["categories"] or ())

    def _derive(self, model: str, names: set[str], rows: list[Row], operation: str) -> None:
        currency = self._company_currency(operation) if "company_currency" in names else None
        orders: dict[int, int] = {}
        keys: dict[int, str] = {}
        if model == "account.invoice" and names & {"order", "key"}:
            orders, keys = self._behind_credits(rows, operation)
        returns = self._returns(rows, operation) if model == "sale.complaint" else {}
        for row in rows:
            made: Row = {}
            if model == "party.party":
                made = _of_party(row, names, self._settings.employer_relation)
            elif model == "sale.sale" and "origin" in names:
                made["origin"] = _origin(row.get("origin"))
            elif model == "account.invoice":
                total = row.get("total_amount")
                made["type"] = "credit" if isinstance(total, Decimal) and total < 0 else "invoice"
                made["total"] = abs(total) if isinstance(total, Decimal) else None
                made["order"] = next(iter(row.get("sales") or ()), orders.get(row["id"]))
                made["key"] = keys.get(row["id"])
            elif model == "sale.complaint":
                made = returns[row["id"]]
            elif model == "product.product":
                made["company_currency"] = currency
            row["derived"] = made

    def _company_currency(self, operation: str) -> str | None:
        company = self._client.log_in(operation=operation).get("company")
        if company is None:
            return None
        fields = ("currency.code",)
        (row,) = self._client.read("company.company", [company], fields, operation=operation)
        code: str = row["currency"]["code"]
        return code

    def _behind_credits(
        self, rows: list[Row], operation: str
    ) -> tuple[dict[int, int], dict[int, str]]:
        """For each credit note that a complaint made: the sale behind it, and the complaint's
        reference, which bears our key where it is ours.

        Such a credit note bills no sale; its lines name the complaint, the complaint names the
        invoice (or its line, or the sale), and the invoice names the sale.
        """
        complaint_of = {
            row["id"]: id_
            for row in rows
            if not row.get("sales")
            for line in row.get("lines") or ()
            if (id_ := _id_in(line.get("origin"), "sale.complaint")) is not None
        }
        if not complaint_of:
            return {}, {}
        complaints = self._client.read(
            "sale.complaint",
            sorted(set(complaint_of.values())),
            ("origin", "reference"),
            operation=operation,
        )
        origins = {row["id"]: row["origin"] for row in complaints}
        references = {row["id"]: row["reference"] for row in complaints if row["reference"]}
        sale_of = self._sales_behind(set(filter(None, origins.values())), operation)
        orders = {
            invoice: sale
            for invoice, complaint in complaint_of.items()
            if (sale := sale_of.get(origins.get(complaint) or "")) is not None
        }
        keys = {
            invoice: references[complaint]
            for invoice, complaint in complaint_of.items()
            if complaint in references
        }
        return orders, keys

    def _returns(self, rows: list[Row], operation: str) -> dict[int, Row]:
        """The order of each complaint, the sale that it made, and what of the order comes back."""
        sale_of = self._sales_behind({r["origin"] for r in rows if r.get("origin")}, operation)
        results = {
            row["id"]: next(
                (i for one in row.get("actions") or () for i in ids_in(one["result"], "sale.sale")),
                None,
            )
            for row in rows
            if "result" in next(iter(row.get("actions") or ({},)))
        }
        made = {
            one["id"]: one
            for one in self._client.read(
                "sale.sale",
                sorted({id_ for id_ in results.values() if id_ is not None}),
                ("number", "state", "shipment_state"),
                operation=operation,
            )
        }
        lines = self._lines_of(sorted(set(sale_of.values())), operation)
        out: dict[int, Row] = {}
        for row in rows:
            sale = sale_of.get(row.get("origin") or "")
            out[row["id"]] = {
                "order": sale,
                "made": made.get(results.get(row["id"]) or 0),
                "lines": _coming_back(row, lines.get(sale or 0, {})),
            }
        return out

    def _lines_of(self, sales: Sequence[int], operation: str) -> dict[int, dict[int, Row]]:
        """The lines of sales, by their ids."""
        fields = [f"line_lines.{name}" for name in ("product.code", "quantity", "unit.symbol")]
        rows = self._client.read("sale.sale", sales, fields, operation=operation)
        return {row["id"]: {line["id"]: line for line in row["line_lines"]} for row in rows}

    def _sales_behind(self, origins: set[str], operation: str) -> dict[str, int]:
        """For `account.invoice,7` and its kin the sale that it belongs to."""
        found: dict[str, int] = {}
        for model, path in (
            ("sale.sale", ()),
            ("sale.line", ("sale",)),
            ("account.invoice", ("sales",)),
            ("account.invoice.line", ("invoice.sales",)),
        ):
            ids = {id_: origin for origin in origins if (id_ := _id_in(origin, model)) is not None}
            if model == "sale.sale":
                found |= {origin: id_ for id_, origin in ids.items()}
                continue
            for row in self._client.read(model, sorted(ids), path, operation=operation):
                parent = row.get("invoice", row)
                sales = parent.get("sales", parent.get("sale"))
                sale = next(iter(sales), None) if isinstance(sales, list) else sales
                if sale is not None:
                    found[ids[row["id"]]] = sale
        return found


def wanted(mapping: MappingFile) -> tuple[set[str], set[str]]:
    """The fields of Tryton's that a mapping reads, and the derived ones by their first name.

    An index, as in `addresses.0.street`, is the mapping's business: Tryton answers whole lists.
    """
    fields: set[str] = set()
    derived: set[str] = set()
    for path in mapping.remote_fields:
        head, _, rest = path.partition(".")
        if head == "derived":
            derived.add(rest.partition(".")[0])
        else:
            fields.add(".".join(part for part in path.split(".") if not part.isdecimal()))
    return fields, derived


def _coming_back(row: Row, lines: Mapping[int, Row]) -> list[Row]:
    """What of a sale's lines a complaint takes back; without any named, all of them."""
    found: list[Row] = []
    whole = _id_in(row.get("origin"), "sale.line")
    for action in row.get("actions") or ():
        if action.get("action") != "sale_return":
            continue
        wanted = [(one["line"], one["quantity"]) for one in action.get("sale_lines") or ()]
        if whole is not None:
            wanted = [(whole, action.get("quantity"))]
        for id_, quantity in wanted or [(id_, None) for id_ in lines]:
            line = lines.get(id_, {})
            found.append(
                {
                    "line": id_,
                    "sku": (line.get("product") or {}).get("code"),
                    "quantity": line.get("quantity") if quantity is None else quantity,
                    "unit": (line.get("unit") or {}).get("symbol"),
                }
            )
    return found


def _of_party(row: Row, names: set[str], employer_relation: str | None) -> Row:
    made: Row = {"account": row["id"]}
    mechanisms: Iterable[Row] = row.get("contact_mechanisms") or ()
    emails: list[str] = []
    phones: list[str] = []
    handles: dict[str, list[Row]] = {}
    for one in mechanisms:
        if one["type"] == "email":
            emails.append(one["value"])
        elif one["type"] in _PHONES:
            phones.append(one["value_compact"] or one["value"])
        elif one["type"] == "other" and one["name"]:
            network = "_".join(one["name"].lower().split())
            handles.setdefault(network, []).append(
                {"id": one["id"], "value": one["value"], "comment": one["comment"]}
            )
    made |= {"emails": emails, "phones": phones, "handles": handles}
    identifiers: dict[str, str] = {}
    for one in row.get("identifiers") or ():
        identifiers.setdefault(one["type"] or "other", one["code"])
    made["identifiers"] = identifiers
    if employer_relation:
        for relation in row.get("relations") or ():
            if relation["type"] and relation["type"]["name"] == employer_relation:
                made["account"] = relation["to"]
    return {name: value for name, value in made.items() if name in names}


_ORIGINS = {"sale.complaint": "case", "sale.sale": "order"}


def _origin(reference: str | None) -> str | None:
    """`sale.complaint,3` as `case:3`; None for origins that the hub has no kind for."""
    model, _, id_ = (reference or "").partition(",")
    return f"{_ORIGINS[model]}:{id_}" if model in _ORIGINS and id_ else None


def _id_in(reference: object, model: str) -> int | None:
    """The id in `model,id`, where it is of this model."""
    name, _, id_ = reference.partition(",") if isinstance(reference, str) else ("", "", "")
    return int(id_) if name == model and id_.isdecimal() else None


def _as_text(value: object) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


def ids_in(value: object, model: str = "") -> list[int]:
    """The ids in a relation's value, however Tryton gives it: one, several, nested, `model,id`."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int):
        return [value]
    if isinstance(value, str):
        found = _id_in(value, model)
        return [] if found is None else [found]
    if isinstance(value, Mapping):
        return ids_in(value.get("id"))
    if isinstance(value, Iterable):
        return [id_ for one in value for id_ in ids_in(one, model)]
    return []


def rejected(reason: str, field: str, operation: str) -> Rejected:
    """A request that Tryton would refuse, or that cannot be put to it."""
    return Rejected(reason, system=SYSTEM, operation=operation, field=field or None)


def missing(kind: Kind, operation: str) -> Missing:
    """A record that a request refers to and Tryton does not have."""
    return Missing(f"the {kind} does not exist in Tryton", system=SYSTEM, operation=operation)
