"""`amends demo`: the main job, told step by step, against systems that speak their real wire.

A SOAP ERP (or a real Tryton), a Salesforce-speaking CRM and a Chatwoot-speaking helpdesk run on
loopback. Everything goes through the hub's REST API and signed inlet, as a customer's tools would;
what is counted at the end is counted in the remote systems.
"""
