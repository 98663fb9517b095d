"""Inlets: one source's webhooks each, from raw bytes to arrivals. Pure; the api stores first."""

from collections.abc import Mapping
from types import MappingProxyType

from middleware.inlets.chatwoot import ChatwootInlet
from middleware.inlets.delivery import (
    Answer,
    Delivery,
    Headers,
    Ignored,
    Inlet,
    Reading,
    Trust,
    Unreadable,
    Verdict,
)
from middleware.inlets.freshdesk import FreshdeskInlet
from middleware.inlets.generic import GenericInlet
from middleware.inlets.meta import MetaInlet
from middleware.inlets.parsing import MalformedBody, parse_json
from middleware.inlets.x import XInlet
from middleware.inlets.zammad import ZammadInlet
from middleware.inlets.zendesk import ZendeskInlet

INLETS: Mapping[str, Inlet] = MappingProxyType(
    {
        inlet.source: inlet
        for inlet in (
            ZendeskInlet(),
            ChatwootInlet(),
            FreshdeskInlet(),
            ZammadInlet(),
            MetaInlet(),
            XInlet(),
            GenericInlet(),
        )
    }
)
"""Every inlet by the name that connections use for it."""

__all__ = [
    "INLETS",
    "Answer",
    "Delivery",
    "Headers",
    "Ignored",
    "Inlet",
    "MalformedBody",
    "Reading",
    "Trust",
    "Unreadable",
    "Verdict",
    "parse_json",
]
