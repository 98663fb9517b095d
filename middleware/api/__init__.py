"""The REST API: thin doors to the flows, each answer with a request id, each error a problem."""

from middleware.api.app import create_api, exported
from middleware.api.openapi import openapi_document

__all__ = ["create_api", "exported", "openapi_document"]
