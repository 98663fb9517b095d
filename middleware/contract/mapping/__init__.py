"""Mapping files: *ours: theirs*, read once, applied both ways.

`MappingSet.load` reads a system's files and refuses wrong ones with every mistake and its place;
`Mapping.read` and `Mapping.write` translate records; `to_record` builds the canonical record.
Linting, fixtures and previews are in `lint`, `fixtures` and `preview`; the guide for the people
who write the files is `docs/mapping.md`.
"""

from middleware.contract.mapping.file import FaultRule, Idempotency, Match
from middleware.contract.mapping.issues import (
    AnswerUnreadable,
    Issue,
    MappingError,
    MappingInvalid,
    Place,
    Problem,
    Severity,
)
from middleware.contract.mapping.mapping import Mapping
from middleware.contract.mapping.mapping_set import MappingSet
from middleware.contract.mapping.records import to_record

__all__ = [
    "AnswerUnreadable",
    "FaultRule",
    "Idempotency",
    "Issue",
    "Mapping",
    "MappingError",
    "MappingInvalid",
    "MappingSet",
    "Match",
    "Place",
    "Problem",
    "Severity",
    "to_record",
]
