"""The org's rows and the rules that a write must keep.

Rows live in memory, and in a SQLite file too when there is one: a change is in the file before
its answer leaves, so that a killed process has lost nothing it said yes to. Every change is one
transaction: all of its rows or none.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from middleware.sandbox.crm import ids, schema
from middleware.sandbox.crm.schema import Field, SObject
from middleware.sandbox.crm.soql import Refused, instant

Row = Mapping[str, Any]

_EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[^@\s,;<>()]+")
_NUMBERED = {"Case": "CaseNumber", "Order": "OrderNumber", "OrderItem": "OrderItemNumber"}


class Rows:
    """All rows of all objects. `now` tells the org's time."""

    def __init__(self, now: Callable[[], datetime], path: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.now = now
        self.user = ids.make("005", 1)
        self._rows: dict[str, dict[str, dict[str, Any]]] = {
            sobject.name: {} for sobject in schema.OBJECTS.values()
        }
        self._unique: dict[tuple[str, str, str], str] = {}
        self._serials: dict[str, int] = {}
        self._changed: dict[tuple[str, str], dict[str, Any] | None] | None = None
        self._file: sqlite3.Connection | None = None
        if path is not None:
            self._file = sqlite3.connect(path, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS rows (object TEXT, id TEXT PRIMARY KEY, data TEXT)"
            )
            for name, key, data in self._file.execute("SELECT object, id, data FROM rows"):
                row = json.loads(data)
                self._rows[name][key] = row
                self._index(name, row)
                self._serials[name] = max(self._serials.get(name, 0), row["_serial"])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def empty(self) -> bool:
        return not any(self._rows.values())

    def all(self, name: str) -> list[Row]:
        """Every row of an object, oldest first, deleted ones too."""
        with self.lock:
            return list(self._rows[name].values())

    def get(self, name: str, key: str) -> Row | None:
        """The row with this 18-character id, deleted or not."""
        with self.lock:
            return self._rows[name].get(key)

    def by(self, name: str, field: str, value: str) -> list[Row]:
        """Living rows with this value in an external id field, in any case."""
        wanted = value.casefold()
        return [
            row
            for row in self.all(name)
            if not row["IsDeleted"] and str(row.get(field) or "").casefold() == wanted
        ]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Changes made inside are kept together, or not at all when it raises."""
        with self.lock:
            if self._changed is not None:
                yield
                return
            self._changed = {}
            serials = dict(self._serials)
            unique = dict(self._unique)
            try:
                yield
            except BaseException:
                for (name, key), before in self._changed.items():
                    if before is None:
                        self._rows[name].pop(key, None)
                    else:
                        self._rows[name][key] = before
                self._serials, self._unique = serials, unique
                raise
            else:
                self._keep(self._changed)
            finally:
                self._changed = None

    def _keep(self, changed: Iterable[tuple[str, str]]) -> None:
        if self._file is None:
            return
        with self._file:
            self._file.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)",
                [(name, key, json.dumps(self._rows[name][key])) for name, key in changed],
            )

    def _put(self, name: str, row: dict[str, Any]) -> None:
        assert self._changed is not None
        self._changed.setdefault((name, row["Id"]), self._rows[name].get(row["Id"]))
        self._rows[name][row["Id"]] = row

    def _index(self, name: str, row: Row) -> None:
        for field in schema.OBJECTS[name.lower()].fields.values():
            if field.unique and row.get(field.name) is not None and not row["IsDeleted"]:
                self._unique[name, field.name, row[field.name].casefold()] = row["Id"]

    # Writes.

    def create(
        self, sobject: SObject, values: Mapping[str, Any], *, trusted: bool = False
    ) -> dict[str, Any]:
        """Insert a row; `trusted` lets a seed set what only the system sets."""
        with self.transaction():
            given = self._checked(sobject, values, creating=True, trusted=trusted)
            serial = self._serials.get(sobject.name, 0) + 1
            self._serials[sobject.name] = serial
            now = instant(self.now())
            row: dict[str, Any] = {field.name: None for field in sobject.fields.values()}
            for field in sobject.fields.values():
                if field.type == "boolean":
                    row[field.name] = False
                if field.default is not None:
                    row[field.name] = field.default
            row |= {
                "Id": ids.make(sobject.prefix, serial),
                "_serial": serial,
                "CreatedDate": now,
                "CreatedById": self.user,
                "LastModifiedDate": now,
                "LastModifiedById": self.user,
                "SystemModstamp": now,
            }
            if "OwnerId" in row:
                row["OwnerId"] = self.user
            if sobject.name in _NUMBERED:
                row[_NUMBERED[sobject.name]] = f"{serial:010d}" if serial > 10**7 else (
                    f"{1000 + serial:08d}"
                )  # fmt: skip
            row |= given
            self._derive(sobject, row, None, trusted=trusted)
            self._claim(sobject, row)
            self._put(sobject.name, row)
            self._roll_up(sobject, row)
            return row

    def update(
        self,
        sobject: SObject,
        key: str,
        values: Mapping[str, Any],
        *,
        trusted: bool = False,
    ) -> dict[str, Any]:
        """Change a row's fields."""
        with self.transaction():
            before = self.living(sobject, key)
            given = self._checked(sobject, values, creating=False, trusted=trusted)
            row = dict(before)
            self._stamp(row)
            row |= given
            self._derive(sobject, row, before, trusted=trusted)
            self._claim(sobject, row)
            self._put(sobject.name, row)
            self._roll_up(sobject, row)
            return row

    def delete(self, sobject: SObject, key: str) -> None:
        """Put a row, and what hangs on it, into the recycle bin."""
        with self.transaction():
            row = {**self.living(sobject, key), "IsDeleted": True}
            self._stamp(row)
            self._put(sobject.name, row)
            for field in sobject.fields.values():
                if field.unique and row.get(field.name) is not None:
                    self._unique.pop((sobject.name, field.name, row[field.name].casefold()), None)
            for child in sobject.children.values():
                if child.cascades:
                    for hanging in self.all(child.object):
                        if hanging[child.field] == key and not hanging["IsDeleted"]:
                            self.delete(schema.OBJECTS[child.object.lower()], hanging["Id"])
            self._roll_up(sobject, row)

    def living(self, sobject: SObject, key: str) -> Row:
        """The row with this id; raises what Salesforce says when it is gone or was never there."""
        row = self._rows[sobject.name].get(ids.read(key) or "")
        if row is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        if row["IsDeleted"]:
            raise Refused("ENTITY_IS_DELETED", "entity is deleted", status=404)
        return row

    def _stamp(self, row: dict[str, Any]) -> None:
        now = instant(self.now())
        row |= {
            "LastModifiedDate": now,
            "LastModifiedById": self.user,
            "SystemModstamp": max(now, row["SystemModstamp"]),
        }

    def _checked(
        self, sobject: SObject, values: Mapping[str, Any], *, creating: bool, trusted: bool
    ) -> dict[str, Any]:
        given: dict[str, Any] = {}
        locked: list[str] = []
        for name, value in values.items():
            if name == "attributes":
                continue
            field = sobject.field(name)
            if field is None:
                raise Refused(
                    "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}"
                )
            if not trusted and not (field.createable if creating else field.updateable):
                locked.append(field.name)
                continue
            given[field.name] = self._value(field, value, trusted=trusted)
        if locked:
            raise Refused(
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {', '.join(locked)}. Please check the security "
                "settings of this field and verify that it is read/write for your profile or "
                "permission set.",
                *locked,
            )
        missing = [
            field.name
            for field in sobject.fields.values()
            if field.required
            and (given.get(field.name) is None if creating or field.name in given else False)
        ]
        if missing:
            raise Refused(
                "REQUIRED_FIELD_MISSING",
                f"Required fields are missing: [{', '.join(missing)}]",
                *missing,
            )
        return given

    def _value(self, field: Field, value: Any, *, trusted: bool) -> Any:
        kind = field.type
        if value is None or value == "":
            return False if kind == "boolean" else None
        if kind in ("double", "currency", "int"):
            return self._number(field, value)
        if kind == "boolean":
            if not isinstance(value, bool):
                raise _unreadable("boolean", value)
            return value
        if kind == "date":
            try:
                return date.fromisoformat(str(value)[:10]).isoformat()
            except ValueError:
                raise _unreadable("date", value) from None
        if kind == "datetime":
            try:
                moment = datetime.fromisoformat(str(value))
            except ValueError:
                raise _unreadable("datetime", value) from None
            return instant(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if isinstance(value, (dict, list)):
            raise _unreadable("string", value)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if kind == "reference":
            return self._reference(field, text)
        text = text if kind == "textarea" else text.strip()
        # A comment's limit counts bytes, every other one characters.
        size = len(text.encode()) if field.name == "CommentBody" else len(text)
        if size > field.length:
            raise Refused(
                "STRING_TOO_LONG",
                f"{field.name}: data value too large: {text[:255]} (max length={field.length})",
                field.name,
            )
        if kind == "email" and not _EMAIL.fullmatch(text):
            raise Refused(
                "INVALID_EMAIL_ADDRESS", f"{field.name}: invalid email address: {text}", field.name
            )
        if kind == "picklist" and field.restricted and text not in field.values and not trusted:
            raise Refused(
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                f"{field.name}: bad value for restricted picklist field: {text}",
                field.name,
            )
        return text or None

    def _number(self, field: Field, value: Any) -> float | int:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise _unreadable("double", value)
        if not math.isfinite(number) or abs(number) >= 10**16:
            raise Refused(
                "NUMBER_OUTSIDE_VALID_RANGE", f"{field.name}: value outside of valid range",
                field.name,
            )  # fmt: skip
        return int(number) if field.type == "int" else round(number, field.scale)

    def _reference(self, field: Field, text: str) -> str:
        key = ids.read(text)
        targets = [schema.OBJECTS[name.lower()] for name in field.refers_to]
        if key is None or not any(key.startswith(target.prefix) for target in targets):
            raise Refused(
                "MALFORMED_ID",
                f"{field.label or field.name}: id value of incorrect type: {text}",
                field.name,
            )
        for target in targets:
            row = self._rows[target.name].get(key)
            if row is not None:
                if row["IsDeleted"]:
                    raise Refused("ENTITY_IS_DELETED", "entity is deleted", field.name)
                return key
        raise Refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field.name)

    def _claim(self, sobject: SObject, row: Row) -> None:
        for field in sobject.fields.values():
            if not field.unique:
                continue
            before = self._rows[sobject.name].get(row["Id"])
            if before is not None and before.get(field.name) not in (None, row.get(field.name)):
                self._unique.pop((sobject.name, field.name, before[field.name].casefold()), None)
            if row.get(field.name) is None:
                continue
            mark = (sobject.name, field.name, row[field.name].casefold())
            holder = self._unique.setdefault(mark, row["Id"])
            if holder != row["Id"]:
                raise Refused(
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {field.name} duplicates value on record with id: "
                    f"{holder[:15]}",
                )

    # What the system works out by itself.

    def _derive(
        self, sobject: SObject, row: dict[str, Any], before: Row | None, *, trusted: bool
    ) -> None:
        match sobject.name:
            case "Contact":
                row["Name"] = " ".join(filter(None, (row["FirstName"], row["LastName"])))
            case "Case":
                row["IsClosed"] = row["Status"] == "Closed"
                closed = before is not None and before["IsClosed"]
                if row["IsClosed"] and not closed:
                    row["ClosedDate"] = row["SystemModstamp"]
                elif not row["IsClosed"]:
                    row["ClosedDate"] = None
                if row["ContactId"] and not row["AccountId"]:
                    row["AccountId"] = self._rows["Contact"][row["ContactId"]]["AccountId"]
            case "Order":
                self._derive_order(row, before, trusted=trusted)
            case "OrderItem":
                self._derive_item(row, before, trusted=trusted)
            case "Event":
                self._derive_event(row, before)
            case "PricebookEntry":
                row["ProductCode"] = self._rows["Product2"][row["Product2Id"]]["ProductCode"]
            case "User":
                row["Name"] = row["Name"] or row["Username"]

    def _derive_order(self, row: dict[str, Any], before: Row | None, *, trusted: bool) -> None:
        codes = {"Draft": "D", "Cancelled": "C"}
        row["StatusCode"] = codes.get(row["Status"], "A")
        if row["TotalAmount"] is None:
            row["TotalAmount"] = 0.0
        if trusted:
            return
        if before is None and row["StatusCode"] != "D":
            raise Refused(
                "FAILED_ACTIVATION",
                "Choose a valid order status and save your changes again. Ask your admin for "
                "details.",
            )
        if before is not None and before["StatusCode"] == "D" and row["StatusCode"] == "A":
            items = [i for i in self._rows["OrderItem"].values() if i["OrderId"] == row["Id"]]
            if not any(not item["IsDeleted"] for item in items):
                raise Refused("FAILED_ACTIVATION", "An order must have at least one product.")

    def _derive_item(self, row: dict[str, Any], before: Row | None, *, trusted: bool) -> None:
        order = self._rows["Order"][row["OrderId"]]
        if not trusted and before is None and order["StatusCode"] != "D":
            raise Refused(
                "FIELD_INTEGRITY_EXCEPTION",
                "field integrity exception: PricebookEntryId (unable to add a product to an "
                "activated order)",
                "PricebookEntryId",
            )
        entry = self._rows["PricebookEntry"].get(row["PricebookEntryId"] or "")
        if entry is None:
            raise Refused(
                "REQUIRED_FIELD_MISSING",
                "Required fields are missing: [PricebookEntryId]",
                "PricebookEntryId",
            )
        if entry["Pricebook2Id"] != order["Pricebook2Id"] or (
            entry["CurrencyIsoCode"] != order["CurrencyIsoCode"]
        ):
            raise Refused(
                "FIELD_INTEGRITY_EXCEPTION",
                "field integrity exception: PricebookEntryId (pricebook entry is not in the "
                "order's price book, or has another currency)",
                "PricebookEntryId",
            )
        if not trusted and before is None and not entry["IsActive"]:
            raise Refused(
                "FIELD_INTEGRITY_EXCEPTION",
                "field integrity exception: PricebookEntryId (pricebook entry is inactive)",
                "PricebookEntryId",
            )
        row["Product2Id"] = entry["Product2Id"]
        row["ListPrice"] = entry["UnitPrice"]
        row["TotalPrice"] = round(row["Quantity"] * row["UnitPrice"], 2)
        row["CurrencyIsoCode"] = order["CurrencyIsoCode"]

    def _derive_event(self, row: dict[str, Any], before: Row | None) -> None:
        """Start and end by the Object Reference: two of start, end and duration make the third."""
        if before is not None and row["StartDateTime"] != before["StartDateTime"]:
            row["ActivityDateTime"] = row["StartDateTime"]
        start = row["StartDateTime"] or row["ActivityDateTime"]
        if row["ActivityDateTime"] not in (None, start):
            raise Refused(
                "FIELD_INTEGRITY_EXCEPTION",
                "field integrity exception: ActivityDateTime, StartDateTime (they must match)",
                "ActivityDateTime",
            )
        missing = [] if start else ["ActivityDateTime"]
        minutes, end = row["DurationInMinutes"], row["EndDateTime"]
        if before is not None and end != before["EndDateTime"]:
            minutes = None
        elif before is not None and (minutes, start) != (
            before["DurationInMinutes"],
            before["StartDateTime"],
        ):
            end = None
        if end is None and minutes is None:
            missing.insert(0, "DurationInMinutes")
        if missing:
            raise Refused(
                "REQUIRED_FIELD_MISSING",
                f"Required fields are missing: [{', '.join(missing)}]",
                *missing,
            )
        begins = datetime.fromisoformat(start)
        ends = datetime.fromisoformat(end) if end else begins + timedelta(minutes=minutes)
        lasts = int((ends - begins) / timedelta(minutes=1))
        if minutes not in (None, lasts) or not 0 <= lasts <= 14 * 24 * 60:
            raise Refused(
                "FIELD_INTEGRITY_EXCEPTION",
                "field integrity exception: EndDateTime, DurationInMinutes (an event ends after it "
                "begins, within 14 days, and both must agree)",
                "EndDateTime",
            )
        row |= {
            "StartDateTime": start,
            "ActivityDateTime": start,
            "EndDateTime": instant(ends),
            "DurationInMinutes": lasts,
        }
        about = self._rows["Account"].get(row["WhatId"] or "")
        who = self._rows["Contact"].get(row["WhoId"] or "")
        row["AccountId"] = about["Id"] if about else who["AccountId"] if who else None

    def _roll_up(self, sobject: SObject, row: Row) -> None:
        """An order's total is a roll-up: a change of its products is a change of the order."""
        if sobject.name != "OrderItem":
            return
        order = self._rows["Order"].get(row["OrderId"])
        if order is None or order["IsDeleted"]:
            return
        total = sum(
            item["TotalPrice"]
            for item in self._rows["OrderItem"].values()
            if item["OrderId"] == order["Id"] and not item["IsDeleted"]
        )
        changed = {**order, "TotalAmount": round(total, 2)}
        self._stamp(changed)
        self._put("Order", changed)


def _unreadable(kind: str, value: Any) -> Refused:
    sort = {
        bool: "VALUE_TRUE" if value is True else "VALUE_FALSE",
        dict: "START_OBJECT",
        list: "START_ARRAY",
        int: "VALUE_NUMBER_INT",
        float: "VALUE_NUMBER_FLOAT",
    }.get(type(value), "VALUE_STRING")
    return Refused(
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {kind} from {sort} value {json.dumps(value)} or request "
        "may be missing a required field at [line:1, column:1]",
    )
