"""Chatwoot, the open helpdesk: notes on conversations, and its contacts."""
