"""Weeks of made-up traffic with the truth beside it: a pure function of a seed.

`history(seed)` answers a `History`: a company with customers and orders, what arrived when and
where, which arrivals are one issue, and which belong to which burst. `records_of` gives the
company as canonical records for the store. Everybody in it is invented.
"""

from tests.histories.company import Company, Customer, Order, OrderLine, company, records_of
from tests.histories.week import Burst, History, Issue, Received, history

__all__ = [
    "Burst",
    "Company",
    "Customer",
    "History",
    "Issue",
    "Order",
    "OrderLine",
    "Received",
    "company",
    "history",
    "records_of",
]
