"""Amends: an ERP/CRM integration hub for social customer service."""

__version__ = "0.1.0"
