"""Tryton, the open ERP: parties, sales, shipments, invoices and complaints over its JSON-RPC."""
