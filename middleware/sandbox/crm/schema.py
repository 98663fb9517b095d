"""The objects and fields of the sandbox's org, as `describe` tells them.

Standard names, types and lengths follow Salesforce's object reference (API 60.0). The org has
several currencies, and an administrator has prepared it for a hub: `Amends_Key__c`, an external id
with the Unique attribute, on Case, Order and Activity (which is how an Event gets it); fields for
what became of a call and why something was taken back; and for what people are called elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

TEXT_TYPES = frozenset(
    {"string", "textarea", "picklist", "phone", "email", "url", "id", "reference"}
)


@dataclass(frozen=True)
class Field:
    """One field of an object. `only` says when it can be written: create, update, both, never."""

    name: str
    type: str = "string"
    length: int = 0
    label: str = ""
    required: bool = False
    default: Any = None
    writable: str = "both"
    unique: bool = False
    external_id: bool = False
    values: tuple[str, ...] = ()
    restricted: bool = False
    refers_to: tuple[str, ...] = ()
    relationship: str | None = None
    filterable: bool = True
    scale: int = 0

    @property
    def createable(self) -> bool:
        return self.writable in ("both", "create")

    @property
    def updateable(self) -> bool:
        return self.writable in ("both", "update")

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    def describe(self) -> dict[str, Any]:
        """What `describe` says of it."""
        return {
            "name": self.name,
            "label": self.label or _label(self.name),
            "type": self.type,
            "length": self.length,
            "byteLength": self.length * 3,
            "precision": 18 if self.type in ("double", "currency") else 0,
            "scale": self.scale,
            "digits": 0,
            "nillable": not self.required and self.type not in ("id", "boolean"),
            "createable": self.createable,
            "updateable": self.updateable,
            "defaultedOnCreate": self.default is not None or self.type == "boolean",
            "calculated": False,
            "autoNumber": self.name in ("CaseNumber", "OrderNumber", "OrderItemNumber"),
            "custom": self.custom,
            "externalId": self.external_id,
            "unique": self.unique,
            "caseSensitive": False,
            "idLookup": self.external_id or self.type == "id" or self.name == "Email",
            "filterable": self.filterable,
            "sortable": self.filterable,
            "groupable": self.filterable and self.type != "textarea",
            "nameField": self.name in ("Name", "CaseNumber"),
            "picklistValues": [
                {"active": True, "defaultValue": value == self.default, "label": value,
                 "validFor": None, "value": value}
                for value in self.values
            ],
            "restrictedPicklist": self.restricted,
            "referenceTo": list(self.refers_to),
            "relationshipName": self.relationship,
            "soapType": _SOAP_TYPES.get(self.type, "xsd:string"),
        }  # fmt: skip


@dataclass(frozen=True)
class Child:
    """A child relationship: `SELECT (SELECT Id FROM <name>) FROM parent`."""

    name: str
    object: str
    field: str
    cascades: bool = False


@dataclass(frozen=True)
class SObject:
    """One object: its fields by lower-case name, its key prefix, its children."""

    name: str
    prefix: str
    plural: str
    fields: Mapping[str, Field]
    children: Mapping[str, Child]
    queryable: bool = True
    writable: bool = True

    def field(self, name: str) -> Field | None:
        """The field with this name in any case, as in SOQL and JSON bodies."""
        return self.fields.get(name.lower())

    def reference(self, relationship: str) -> Field | None:
        """The lookup field behind a relationship such as `Account` or `Order__r`."""
        wanted = relationship.lower()
        return next(
            (f for f in self.fields.values() if (f.relationship or "").lower() == wanted), None
        )

    def describe(self, version: str) -> dict[str, Any]:
        """The whole `describe` answer."""
        return {
            **self.summary(version),
            "fields": [field.describe() for field in self.fields.values()],
            "childRelationships": [
                {
                    "childSObject": child.object,
                    "field": child.field,
                    "relationshipName": child.name,
                    "cascadeDelete": child.cascades,
                    "deprecatedAndHidden": False,
                }
                for child in self.children.values()
            ],
            "recordTypeInfos": [],
        }

    def summary(self, version: str) -> dict[str, Any]:
        """Its entry in the global describe."""
        base = f"/services/data/v{version}/sobjects/{self.name}"
        return {
            "name": self.name,
            "label": _label(self.name),
            "labelPlural": self.plural,
            "keyPrefix": self.prefix,
            "custom": self.name.endswith("__c"),
            "createable": self.writable,
            "updateable": self.writable,
            "deletable": self.writable,
            "undeletable": self.writable,
            "queryable": self.queryable,
            "retrieveable": self.queryable,
            "searchable": self.queryable,
            "replicateable": self.queryable,
            "deprecatedAndHidden": False,
            "urls": {
                "sobject": base,
                "describe": f"{base}/describe",
                "rowTemplate": f"{base}/{{ID}}",
            },
        }


_SOAP_TYPES = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "double": "xsd:double",
    "currency": "xsd:double",
    "int": "xsd:int",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
}


def _label(name: str) -> str:
    words = "".join(f" {c}" if c.isupper() else c for c in name.removesuffix("__c")).split()
    return " ".join(words).replace("_", " ").removesuffix(" Id")


def _text(name: str, length: int = 255, **more: Any) -> Field:
    return Field(name, "string", length, **more)


def _pick(name: str, *values: str, **more: Any) -> Field:
    return Field(name, "picklist", 255, values=values, **more)


def _to(name: str, *objects: str, **more: Any) -> Field:
    relationship = name[:-1] + "r" if name.endswith("__c") else name.removesuffix("Id")
    return Field(name, "reference", 18, refers_to=objects, relationship=relationship, **more)


def _auto(name: str, length: int = 30) -> Field:
    return Field(name, "string", length, writable="never")


def _money(name: str, **more: Any) -> Field:
    return Field(name, "currency", scale=2, **more)


def _address(prefix: str) -> tuple[Field, ...]:
    return (
        Field(f"{prefix}Street", "textarea", 255),
        _text(f"{prefix}City", 40),
        _text(f"{prefix}State", 80),
        _text(f"{prefix}PostalCode", 20),
        _text(f"{prefix}Country", 80),
        _pick(f"{prefix}CountryCode", "AT", "CH", "DE", "FR", "NL", "US", restricted=True),
    )


_KEY = _text("Amends_Key__c", 64, label="Amends Key", unique=True, external_id=True)
_WITHDRAWN = _text("Amends_Withdrawn__c", 255, label="Amends Withdrawn")
_ORDER_NUMBER = _text("Order_Number__c", 80, label="Order Number")
_CURRENCY = _pick("CurrencyIsoCode", "CHF", "EUR", "USD", default="EUR", restricted=True)


def _object(
    name: str,
    prefix: str,
    plural: str,
    *fields: Field,
    children: tuple[Child, ...] = (),
    owned: bool = True,
    writable: bool = True,
) -> SObject:
    system = [
        Field("Id", "id", 18, writable="never"),
        Field("IsDeleted", "boolean", writable="never"),
    ]
    if owned:
        system.append(_to("OwnerId", "User"))
    system += fields
    for moment in ("Created", "LastModified"):
        system.append(Field(f"{moment}Date", "datetime", writable="never"))
        system.append(_to(f"{moment}ById", "User", writable="never"))
    system.append(Field("SystemModstamp", "datetime", writable="never"))
    return SObject(
        name,
        prefix,
        plural,
        {field.name.lower(): field for field in system},
        {child.name.lower(): child for child in children},
        writable=writable,
    )


OBJECTS: Mapping[str, SObject] = {
    sobject.name.lower(): sobject
    for sobject in (
        _object(
            "Account", "001", "Accounts",
            _text("Name", 255, required=True),
            _to("MasterRecordId", "Account", writable="never"),
            _text("AccountNumber", 40),
            _pick("Type", "Customer", "Prospect", "Partner"),
            Field("Phone", "phone", 40),
            Field("Website", "url", 255),
            _money("AnnualRevenue"),
            *_address("Billing"),
            *_address("Shipping"),
            _pick("SLA__c", "Platinum", "Gold", "Silver", "Bronze", restricted=True),
            Field("Description", "textarea", 32000, filterable=False),
            _CURRENCY,
            children=(
                Child("Contacts", "Contact", "AccountId", cascades=True),
                Child("Cases", "Case", "AccountId"),
                Child("Orders", "Order", "AccountId"),
                Child("Events", "Event", "WhatId", cascades=True),
            ),
        ),
        _object(
            "Contact", "003", "Contacts",
            _to("AccountId", "Account"),
            _to("MasterRecordId", "Contact", writable="never"),
            _text("FirstName", 40),
            _text("LastName", 80, required=True),
            _text("Name", 121, writable="never"),
            Field("Email", "email", 80),
            Field("Phone", "phone", 40),
            Field("MobilePhone", "phone", 40),
            _text("Title", 128),
            *_address("Mailing"),
            _pick("Language__c", "de", "en", "fr", "nl"),
            _text("Customer_Number__c", 20, external_id=True),
            _text("X_Handle__c", 50),
            _text("X_User_Id__c", 30),
            _text("Instagram_Handle__c", 50),
            _text("Instagram_User_Id__c", 30),
            _text("Facebook_Handle__c", 80),
            _text("Facebook_User_Id__c", 30),
            Field("HasOptedOutOfEmail", "boolean", default=False),
            Field("Description", "textarea", 32000, filterable=False),
            _CURRENCY,
            children=(
                Child("Cases", "Case", "ContactId"),
                Child("Events", "Event", "WhoId", cascades=True),
            ),
        ),
        _object(
            "Case", "500", "Cases",
            _auto("CaseNumber"),
            _to("ContactId", "Contact"),
            _to("AccountId", "Account"),
            _to("ParentId", "Case"),
            _pick("Type", "Mechanical", "Electrical", "Electronic", "Structural", "Other"),
            _pick("Status", "New", "Working", "Escalated", "On Hold", "Closed", default="New"),
            _pick(
                "Reason", "Installation", "Equipment Complexity", "Performance", "Breakdown",
                "Equipment Design", "Feedback", "Damaged", "Wrong Item", "Missing Item", "Delivery",
                "Billing", "Other", restricted=True,
            ),
            _pick("Origin", "Phone", "Email", "Web", "Social"),
            _pick("Priority", "High", "Medium", "Low", default="Medium", restricted=True),
            _text("Subject", 255),
            Field("Description", "textarea", 32000, filterable=False),
            Field("IsClosed", "boolean", writable="never"),
            Field("ClosedDate", "datetime", writable="never"),
            _to("Order__c", "Order"),
            _ORDER_NUMBER,
            _WITHDRAWN,
            _KEY,
            _CURRENCY,
            children=(
                Child("CaseComments", "CaseComment", "ParentId", cascades=True),
                Child("Events", "Event", "WhatId", cascades=True),
            ),
        ),
        _object(
            "CaseComment", "00a", "Case Comments",
            _to("ParentId", "Case", required=True, writable="create"),
            Field("IsPublished", "boolean", default=False),
            Field("CommentBody", "textarea", 4000, filterable=False),
            owned=False,
        ),
        _object(
            "Product2", "01t", "Products",
            _text("Name", 255, required=True),
            _text("ProductCode", 255),
            Field("Description", "textarea", 4000, filterable=False),
            Field("IsActive", "boolean", default=False),
            _pick("QuantityUnitOfMeasure", "piece", "kg", "box"),
            _CURRENCY,
            owned=False,
            children=(Child("PricebookEntries", "PricebookEntry", "Product2Id", cascades=True),),
        ),
        _object(
            "Pricebook2", "01s", "Price Books",
            _text("Name", 255, required=True),
            Field("IsActive", "boolean", default=False),
            Field("IsStandard", "boolean", writable="never"),
            owned=False,
        ),
        _object(
            "PricebookEntry", "01u", "Price Book Entries",
            _to("Pricebook2Id", "Pricebook2", required=True, writable="create"),
            _to("Product2Id", "Product2", required=True, writable="create"),
            _money("UnitPrice", required=True),
            Field("IsActive", "boolean", default=False),
            _text("ProductCode", 255, writable="never"),
            _CURRENCY,
            owned=False,
        ),
        _object(
            "Order", "801", "Orders",
            _auto("OrderNumber"),
            _to("AccountId", "Account", required=True),
            _to("Pricebook2Id", "Pricebook2"),
            Field("EffectiveDate", "date", required=True),
            Field("EndDate", "date"),
            _pick(
                "Status", "Draft", "Activated", "Processing", "Shipped", "Delivered", "Cancelled",
                required=True, restricted=True,
            ),
            _pick("StatusCode", "D", "A", "C", writable="never"),
            _pick("Type", "Sale", "Replacement"),
            _text("Name", 80),
            _text("PoNumber", 80),
            _text("OrderReferenceNumber", 80),
            _to("BillToContactId", "Contact"),
            _to("ShipToContactId", "Contact"),
            *_address("Billing"),
            *_address("Shipping"),
            Field("Description", "textarea", 32000, filterable=False),
            _money("TotalAmount", writable="never"),
            _pick("Speed__c", "Standard", "Rush", restricted=True),
            _pick(
                "Reason__c", "Damaged", "Defective", "Wrong Item", "Missing Item", "Late", "Lost",
                "Other", restricted=True,
            ),
            Field("Deliver_By__c", "date"),
            _to("Replaces__c", "Order"),
            _to("Case__c", "Case"),
            _WITHDRAWN,
            _KEY,
            _CURRENCY,
            children=(
                Child("OrderItems", "OrderItem", "OrderId", cascades=True),
                Child("Events", "Event", "WhatId", cascades=True),
            ),
        ),
        _object(
            "Event", "00U", "Events",
            _to("WhoId", "Contact"),
            _to("WhatId", "Account", "Case", "Order"),
            _to("AccountId", "Account", writable="never"),
            _text("Subject", 255),
            _text("Location", 255),
            Field("IsAllDayEvent", "boolean", default=False),
            Field("ActivityDateTime", "datetime"),
            Field("StartDateTime", "datetime"),
            Field("EndDateTime", "datetime"),
            Field("DurationInMinutes", "int"),
            _pick("ShowAs", "Busy", "OutOfOffice", "Free", default="Busy", restricted=True),
            Field("Description", "textarea", 32000, filterable=False),
            Field("IsArchived", "boolean", writable="never"),
            _pick("Call_Back_Status__c", "Planned", "Done", "Cancelled", restricted=True),
            _ORDER_NUMBER,
            _WITHDRAWN,
            _KEY,
            _CURRENCY,
        ),
        _object(
            "OrderItem", "802", "Order Products",
            _auto("OrderItemNumber"),
            _to("OrderId", "Order", required=True, writable="create"),
            _to("Product2Id", "Product2", writable="create"),
            _to("PricebookEntryId", "PricebookEntry", writable="create"),
            Field("Quantity", "double", required=True, scale=2),
            _money("UnitPrice", required=True),
            _money("ListPrice", writable="never"),
            _money("TotalPrice", writable="never"),
            _text("Description", 255),
            _text("Replaces_Line__c", 18),
            replace(_CURRENCY, writable="never"),
            owned=False,
        ),
        _object(
            "User", "005", "Users",
            _text("Username", 80), _text("Name", 121, writable="never"),
            Field("IsActive", "boolean", default=True),
            owned=False, writable=False,
        ),
        _object(
            "Organization", "00D", "Organizations",
            _text("Name", 80), Field("IsSandbox", "boolean"), _text("OrganizationType", 40),
            owned=False, writable=False,
        ),
    )
}  # fmt: skip
"""Every object of the org, by lower-case name."""

MULTI_CURRENCY = "currencyisocode"


def find(name: str) -> SObject | None:
    """The object with this name in any case."""
    return OBJECTS.get(name.lower())
