"""Every code that an issue may bear, what it means and how it is mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from middleware.contract.mapping.issues import Issue, Place, Severity


@dataclass(frozen=True, slots=True)
class Code:
    code: str
    meaning: str
    remedy: str
    severity: Severity = Severity.ERROR


_W = Severity.WARNING
_ALL = (
    Code("M000", "not a readable YAML 1.2 document", "mend the syntax at the place"),
    Code("M001", "unknown key", "take the suggested one, or delete the line"),
    Code("M002", "no source, or several",
         "give exactly one of from, first_of, all_of, template, const, each"),
    Code("M003", "unknown step, or a step without its value", "take one from the list of steps"),
    Code("M004", "unknown table, or a table file that cannot be used",
         "name a table of `tables:`; a file has two columns and lies in the mappings directory"),
    Code("M005", "a two-way table is not one-to-one",
         "make every target value unique, or say direction: pull"),
    Code("M006", "an unquoted code that YAML reads as a number or boolean",
         "put it in quotes: \"0100\""),
    Code("M007", "a mapping without fixtures", "add <object>.fixtures.yaml beside it", _W),
    Code("M008", "a write without a key that can be looked up",
         "add idempotency: {field: …} and fill that field from key"),
    Code("M009", "a field has no way back",
         "say direction: pull, name push_to, or use steps that can be undone"),
    Code("M010", "two lines write the same place", "delete one; for a reference write account.id"),
    Code("M011", "a value that the key does not take", "write what the message asks for"),
    Code("M012", "something is missing", "add it"),
    Code("M013", "not a path", "join words by single dots; quote a segment that holds a dot"),
    Code("M014", "two files for the same thing", "delete one, or name a connection in each"),
    Code("M015", "the canonical record has no such field",
         "take the suggested one; otherwise the value is kept in `extra`", _W),
    Code("M016", "a key without effect", "delete it", _W),
    Code("R101", "no such remote object or field", "take the suggested one"),
    Code("R102", "the remote's type cannot be converted", "take a type that fits, or a table"),
    Code("R103", "the table and the remote's list of values differ",
         "add the values to the table, or give it an otherwise"),
    Code("R104", "the remote field is read-only", "say direction: pull"),
    Code("R105", "a remote field is neither mapped nor ignored", "map it, or list it in `ignore:`",
         _W),
    Code("R106", "longer than the remote takes", "set max_length, or truncate"),
    Code("R107", "the identifier is not unique in the remote", "match by a unique field", _W),
    Code("R201", "no such element in the operation", "take the suggested one"),
    Code("R202", "a required element is not mapped, or may be empty",
         "map it; set required: true or a default"),
    Code("R203", "the WSDL is not the one that the file was written against",
         "check the file against the new WSDL, then update wsdl_lock"),
)  # fmt: skip

CODES: Mapping[str, Code] = MappingProxyType({code.code: code for code in _ALL})


def issue(code: str, message: str, place: Place, severity: Severity | None = None) -> Issue:
    """An issue with its code's own severity, or a milder one."""
    return Issue(code, message, place, severity or CODES[code].severity)
