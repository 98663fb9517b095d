"""Salesforce: contacts, accounts, orders, cases, and comments on cases."""
