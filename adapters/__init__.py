"""The adapters, by name. Strings only: one is imported when a connection first needs it."""

ADAPTERS: dict[str, str] = {
    "chatwoot": "adapters.chatwoot.adapter:ChatwootAdapter",
    "memory": "adapters.memory.adapter:MemoryAdapter",
    "salesforce": "adapters.salesforce.adapter:SalesforceAdapter",
    "soap": "adapters.soap.adapter:SoapAdapter",
    "tryton": "adapters.tryton.adapter:TrytonAdapter",
}
