"""Fill a fresh Tryton database with the sandbox's world; runs in Tryton's own environment.

usage: seed.py TRYTOND.CONF DATABASE WORLD.JSON ACCESS.JSON MANIFEST.JSON

Reads the world that the other sandboxes show as well, and the login that the hub will use. Writes
a manifest: what was made and the ids that a test cannot guess. Imports Tryton and nothing of ours.
"""
import datetime as dt
import json
import pathlib
import sys
from decimal import Decimal

CONF, DATABASE, WORLD, ACCESS, MANIFEST = sys.argv[1:6]

from trytond import config as tconfig

tconfig.update_etc(CONF)
from proteus import Model, config as pconfig

session = pconfig.set_trytond(database=DATABASE, user="admin", config_file=CONF)
session.skip_warning = True  # warnings ask a person; the past is what we want here

from trytond.modules.account.tests.tools import (
    create_chart,
    create_fiscalyear,
    create_tax,
    get_accounts,
)
from trytond.modules.account_invoice.tests.tools import (
    create_payment_term,
    set_fiscalyear_invoice_sequences,
)
from trytond.modules.company.tests.tools import create_company, get_company

GROUPS = (
    # What the adapter needs; the admin of a real Tryton gives its integration user the same.
    "Party Administration",
    "Product Administration",
    "Sales",
    "Sales Administrator",
    "Stock",
    "Accounting Party",
    "Account",
    "Accounting",
)
PAID = 3  # of four delivered orders' invoices, so many are paid


def main():
    world = json.loads(pathlib.Path(WORLD).read_text(encoding="utf-8"))
    access = json.loads(pathlib.Path(ACCESS).read_text(encoding="utf-8"))
    now = dt.datetime.fromisoformat(world["now"])
    for item in Model.get("ir.module.config_wizard.item").find([("state", "!=", "done")]):
        item.state = "done"
        item.save()
    books = Books(now.date())
    first = min(dt.datetime.fromisoformat(order["placed"]) for order in world["orders"])
    goods = Goods(world["products"], books, before=first.date() - dt.timedelta(days=1))
    people = People(world["customers"], books)
    orders = Orders(world["orders"], books, goods, people)
    manifest = {
        "company": books.company.id,
        "users": users(access, books),
        "complaint_types": complaint_types(),
        "parties": {number: party.id for number, party in people.buyers.items()},
        "persons": {number: party.id for number, party in people.persons.items()},
        "products": {sku: product.id for sku, product in goods.products.items()},
        "sales": orders.made,
    }
    pathlib.Path(MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


class Books:
    """The company, its accounts, taxes and sequences."""

    def __init__(self, today):
        Party = Model.get("party.party")
        owner = Party(name="Lumen & Oak Versand GmbH")
        owner.save()
        create_company(party=owner, currency="EUR", config=session)
        self.company = get_company()
        self.company.timezone = "Europe/Berlin"
        self.company.save()
        create_chart(config=session)
        year = set_fiscalyear_invoice_sequences(create_fiscalyear(today=today))
        year.click("create_period")
        self.accounts = get_accounts()
        self.tax = create_tax(Decimal(".19"))
        self.tax.save()
        self.term = create_payment_term()
        self.term.save()
        journal, = Model.get("account.journal").find([("code", "=", "CASH")], limit=1)
        self.cash = Model.get("account.invoice.payment.method")()
        self.cash.name = "Cash"
        self.cash.journal = journal
        self.cash.credit_account = self.accounts["cash"]
        self.cash.debit_account = self.accounts["cash"]
        self.cash.save()
        Type = Model.get("ir.sequence.type")
        for kind, prefix, first in (("Sale", "SO-", 10001), ("Customer Complaint", "CMP-", 1)):
            sequence, = Model.get("ir.sequence").find(
                [("sequence_type", "=", Type.find([("name", "=", kind)])[0].id)]
            )
            sequence.prefix = prefix
            sequence.number_next = first
            sequence.save()


class Goods:
    """Products with their stock."""

    def __init__(self, rows, books, before):
        Category = Model.get("product.category")
        category = Category(name="Goods", accounting=True)
        category.account_expense = books.accounts["expense"]
        category.account_revenue = books.accounts["revenue"]
        category.customer_taxes.append(books.tax)
        category.save()
        Uom = Model.get("product.uom")
        piece, = Uom.find([("name", "=", "Unit")])
        kilogram, = Uom.find([("name", "=", "Kilogram")])
        box = Uom(name="Box", symbol="box", category=piece.category)
        box.rate = 1.0
        box.factor = 1.0
        box.rounding = 1.0
        box.digits = 0
        box.save()
        self.units = {"piece": piece, "kg": kilogram, "box": box}
        self.products = {}
        Template = Model.get("product.template")
        for row in rows:
            template = Template(name=row["name"], type="goods", salable=True)
            template.default_uom = self.units[row["unit"]]
            template.list_price = Decimal(row["price"])
            template.account_category = category
            template.products[0].suffix_code = row["sku"]
            template.save()
            self.products[row["sku"]] = template.products[0]
        storage, = Model.get("stock.location").find([("code", "=", "STO")])
        inventory = Model.get("stock.inventory")(location=storage, date=before)
        for row in rows:
            if row["stock"]:
                line = inventory.lines.new(product=self.products[row["sku"]])
                line.quantity = float(row["stock"])
                line.expected_quantity = 0.0
        inventory.click("confirm")


class People:
    """A party per person, and one per company that persons buy for."""

    def __init__(self, rows, books):
        Category = Model.get("party.category")
        self.person = Category(name="Person")
        self.person.save()
        self.organisation = Category(name="Organisation")
        self.organisation.save()
        RelationType = Model.get("party.relation.type")
        employs = RelationType(name="Employs")
        employs.save()
        employed = RelationType(name="Employed by", reverse=employs)
        employed.save()
        employs.reverse = employed
        employs.save()
        Country = Model.get("country.country")
        self.countries = {}
        for code in sorted({row["country"] for row in rows}):
            self.countries[code] = Country(name=code, code=code)
            self.countries[code].save()
        Relation = Model.get("party.relation.all")
        self.companies = {}
        self.persons = {}
        self.buyers = {}
        for row in rows:
            party = self._party(
                row, f"{row['given_name']} {row['family_name']}", self.person, row["number"], books
            )
            party.contact_mechanisms.new(type="email", value=row["email"])
            party.contact_mechanisms.new(type="phone", value=row["phone"])
            for network, (handle, native_id) in row["handles"].items():
                # The type comes last: given a value, Tryton guesses one.
                party.contact_mechanisms.new(
                    value=handle, name=network, comment=native_id, type="other"
                )
            party.identifiers.new(code=f"CRM-{row['number'][2:]}")
            party.save()
            self.persons[row["number"]] = self.buyers[row["number"]] = party
            if row["company"]:
                company = self.companies.get(row["company"])
                if company is None:
                    number = f"A-{2001 + len(self.companies)}"
                    company = self._party(row, row["company"], self.organisation, number, books)
                    company.identifiers.new(code=f"CRM-{number}")
                    company.save()
                    self.companies[row["company"]] = company
                self.buyers[row["number"]] = company
                relation = Relation()
                relation.from_ = party
                relation.to = company
                relation.type = employed
                relation.save()

    def _party(self, row, name, category, number, books):
        party = Model.get("party.party")(name=name, code=number)
        party.customer_payment_term = books.term
        party.categories.append(Model.get("party.category")(category.id))
        address = party.addresses[0]
        address.street = row["street"]
        address.city = row["city"]
        address.postal_code = row["postal_code"]
        address.country = self.countries[row["country"]]
        return party


class Orders:
    """Sales in every state, with their shipments, invoices and payments.

    Each button is pressed once for all that need it: one by one takes four times as long.
    """

    def __init__(self, rows, books, goods, people):
        sales = [self._sale(row, books, goods, people) for row in rows]
        Sale = Model.get("sale.sale")
        Sale.save(sales)
        press(sales, "quote")
        for row, sale in zip(rows, sales, strict=True):
            # Numbers come from the sequence, as in life: the rows are in its order.
            if sale.number != row["number"]:
                raise SystemExit(f"expected {row['number']}, Tryton numbered it {sale.number}")
        by_status = {}
        for row, sale in zip(rows, sales, strict=True):
            by_status.setdefault(row["status"], []).append((row, sale))
        shipped = by_status.get("shipped", [])
        delivered = by_status.get("delivered", [])
        under_way = shipped + delivered
        press([sale for _, sale in by_status.get("draft", [])], "draft")
        press([sale for _, sale in by_status.get("cancelled", [])], "cancel")
        press([sale for _, sale in under_way + by_status.get("processing", [])], "confirm")
        self._pack(under_way)
        press([parcel for _, sale in shipped for parcel in sale.shipments], "ship")
        press([parcel for _, sale in delivered for parcel in sale.shipments], "do")
        self._bill(delivered, books)
        self.made = {row["number"]: sale.id for row, sale in zip(rows, sales, strict=True)}

    def _sale(self, row, books, goods, people):
        sale = Model.get("sale.sale")(party=people.buyers[row["customer"]])
        sale.payment_term = books.term
        sale.invoice_method = "order"
        sale.sale_date = dt.datetime.fromisoformat(row["placed"]).date()
        person = people.persons[row["customer"]]
        if person.id != sale.party.id:
            sale.contact = next(m for m in person.contact_mechanisms if m.type == "email")
        for sku, quantity, unit_price in row["lines"]:
            line = sale.lines.new()
            line.product = goods.products[sku]
            line.quantity = float(quantity)
            line.unit_price = Decimal(unit_price)
        return sale

    def _pack(self, pairs):
        parcels = []
        for row, sale in pairs:
            for parcel in sale.shipments:
                parcel.reference = row["tracking"]
                parcel.effective_date = dt.datetime.fromisoformat(row["shipped"]).date()
                parcels.append(parcel)
        Model.get("stock.shipment.out").save(parcels)
        for button in ("assign_force", "pick", "pack"):
            press(parcels, button)

    def _bill(self, pairs, books):
        bills = []
        for row, sale in pairs:
            for bill in sale.invoices:
                bill.invoice_date = dt.datetime.fromisoformat(row["shipped"]).date()
                bills.append((row, bill))
        Invoice = Model.get("account.invoice")
        Invoice.save([bill for _, bill in bills])
        press([bill for _, bill in bills], "post")
        for n, (row, bill) in enumerate(bills):
            if n % 4 < PAID:
                payment = bill.click("pay")
                payment.form.payment_method = books.cash
                payment.form.date = dt.datetime.fromisoformat(row["delivered"]).date()
                payment.execute("choice")


def press(records, button):
    """Press a button for all records in one call, and see what became of them."""
    if records:
        type(records[0]).click(records, button)
        for record in records:
            record.reload()


def complaint_types():
    Type = Model.get("sale.complaint.type")
    IrModel = Model.get("ir.model")
    made = {}
    for name, origin in (
        ("Order problem", "sale.sale"),
        ("Order line problem", "sale.line"),
        ("Invoice problem", "account.invoice"),
        ("Invoice line problem", "account.invoice.line"),
    ):
        kind = Type(name=name)
        kind.origin, = IrModel.find([("name", "=", origin)])
        kind.save()
        made[origin] = kind.id
    return made


def users(access, books):
    """The hub's user, and one that may read parties and nothing else."""
    Party = Model.get("party.party")
    Group = Model.get("res.group")
    made = {}
    for row in access["users"]:
        party = Party(name=row["name"])
        party.addresses.clear()
        party.save()
        employee = Model.get("company.employee")(party=party, company=get_company())
        employee.save()
        user = Model.get("res.user")(name=row["name"], login=row["user"])
        user.password = row["password"]
        if row["groups"]:
            for group in Group.find([("name", "in", list(GROUPS))]):
                user.groups.append(Group(group.id))
        user.companies.append(get_company())
        user.company = get_company()
        user.save()
        user.employees.append(employee)
        user.employee = employee
        user.save()
        made[row["user"]] = {"id": user.id, "groups": [group.name for group in user.groups]}
    return made


if __name__ == "__main__":
    main()
