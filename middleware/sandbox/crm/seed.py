"""Fills the org with the sandbox's world, the way a real CRM would hold it.

A real CRM was typed by people: phone numbers stand in national spelling, a mail address may be in
capitals, handles may have an @, and buyers of one company share its account.
"""

from __future__ import annotations

from datetime import timedelta

from middleware.sandbox.crm.app import Crm
from middleware.sandbox.crm.soql import instant
from middleware.sandbox.world import DAYS_OF_HISTORY, Customer, World

_STATUS = {
    "draft": "Draft",
    "processing": "Processing",
    "shipped": "Shipped",
    "delivered": "Delivered",
    "cancelled": "Cancelled",
}
_COUNTRY = {
    "AT": "Austria",
    "CH": "Switzerland",
    "DE": "Germany",
    "FR": "France",
    "NL": "Netherlands",
    "US": "United States",
}


def fill(crm: Crm, world: World, *, orders: bool = True) -> None:
    """Put the world's customers, products and orders into an empty org, dated as they happened.

    Without `orders` the org is a CRM that leaves orders to the ERP.
    """
    latest = min(world.now, crm.now() - timedelta(hours=1))
    begun = instant(latest - timedelta(days=DAYS_OF_HISTORY + 1))
    dated = {"CreatedDate": begun, "LastModifiedDate": begun, "SystemModstamp": begun}
    with crm.rows.transaction():
        book = next(row["Id"] for row in crm.rows.all("Pricebook2"))
        entries = {}
        for product in world.products:
            item = crm.seed(
                "Product2",
                Name=product.name,
                ProductCode=product.sku,
                IsActive=True,
                QuantityUnitOfMeasure=product.unit,
                CurrencyIsoCode=product.currency,
                **dated,
            )
            entries[product.sku] = crm.seed(
                "PricebookEntry",
                Pricebook2Id=book,
                Product2Id=item,
                UnitPrice=product.price,
                IsActive=True,
                CurrencyIsoCode=product.currency,
                **dated,
            )
        accounts: dict[str, str] = {}
        contacts: dict[str, str] = {}
        for place, customer in enumerate(world.customers):
            # The buyers of one company are one account there.
            if customer.name not in accounts or customer.company is None:
                accounts[customer.name] = _account(crm, customer, place, dated)
            contacts[customer.number] = _contact(
                crm, customer, accounts[customer.name], place, dated
            )
        customers = {customer.number: customer for customer in world.customers}
        at_home = {row["Id"]: row["AccountId"] for row in crm.rows.all("Contact")}
        for order in world.orders if orders else ():
            customer = customers[order.customer]
            moment = order.delivered or order.shipped or order.placed
            contact = contacts[order.customer]
            key = crm.seed(
                "Order",
                AccountId=at_home[contact],
                BillToContactId=contact,
                ShipToContactId=contact,
                Pricebook2Id=book,
                EffectiveDate=order.placed.date().isoformat(),
                Status=_STATUS[order.status],
                Type="Sale",
                Name=f"Order {order.number}",
                OrderReferenceNumber=order.number,
                ShippingStreet=customer.street,
                ShippingCity=customer.city,
                ShippingPostalCode=customer.postal_code,
                ShippingCountry=_COUNTRY[customer.country],
                ShippingCountryCode=customer.country,
                CurrencyIsoCode="EUR",
                CreatedDate=instant(min(order.placed, latest)),
            )
            for line in order.lines:
                crm.seed(
                    "OrderItem",
                    OrderId=key,
                    PricebookEntryId=entries[line.sku],
                    Quantity=line.quantity,
                    UnitPrice=line.unit_price,
                )
            stamp = instant(min(moment, latest))
            crm.touch("Order", key, LastModifiedDate=stamp, SystemModstamp=stamp)


def _account(crm: Crm, customer: Customer, place: int, dated: dict[str, str]) -> str:
    return crm.seed(
        "Account",
        Name=customer.name,
        AccountNumber=customer.number,
        Type="Customer",
        Phone=spelled(customer.phone, place),
        SLA__c=("Silver", "Gold", "Bronze", "Platinum")[place % 4] if place % 3 else None,
        BillingStreet=customer.street,
        BillingCity=customer.city,
        BillingPostalCode=customer.postal_code,
        BillingCountry=_COUNTRY[customer.country],
        BillingCountryCode=customer.country,
        **dated,
    )


def _contact(crm: Crm, customer: Customer, account: str, place: int, dated: dict[str, str]) -> str:
    handles = {}
    for network, field in (("x", "X"), ("instagram", "Instagram"), ("facebook", "Facebook")):
        if network in customer.handles:
            handle = customer.handles[network]
            handles[f"{field}_Handle__c"] = f"@{handle.handle}" if place % 4 == 1 else handle.handle
            handles[f"{field}_User_Id__c"] = handle.native_id
    return crm.seed(
        "Contact",
        AccountId=account,
        FirstName=customer.given_name,
        LastName=customer.family_name,
        Email=customer.email.title() if place % 5 == 4 else customer.email,
        MobilePhone=spelled(customer.phone, place),
        MailingStreet=customer.street,
        MailingCity=customer.city,
        MailingPostalCode=customer.postal_code,
        MailingCountry=_COUNTRY[customer.country],
        MailingCountryCode=customer.country,
        Language__c={"FR": "fr", "NL": "nl", "US": "en"}.get(customer.country, "de"),
        Customer_Number__c=customer.number,
        **handles,
        **dated,
    )


def spelled(phone: str, place: int) -> str:
    """An E.164 number as people type it."""
    if phone.startswith("+1"):
        return f"({phone[2:5]}) {phone[5:8]}-{phone[8:]}"
    if place % 2:
        return phone
    return f"0{phone[3:5]} {phone[5:]}"
