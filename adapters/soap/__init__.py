"""Any SOAP system: a WSDL and a bindings file say which operation does what."""
