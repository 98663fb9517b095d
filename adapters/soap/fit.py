"""The bindings against the WSDL: every operation, argument, required element, answer and type.

- B004 the WSDL has no such operation
- B006 the WSDL has no such type
- R201 an operation's input or answer has no such element
- R202 a required element is not mapped
- R203 the WSDL is not the one that the file was written against
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adapters.soap.bindings import Bindings, Call
from adapters.soap.interface import Interface
from middleware.contract.mapping import Mapping as MappingFile
from middleware.contract.mapping import MappingSet
from middleware.contract.mapping.issues import Issue, Place, did_you_mean
from middleware.contract.mapping.preview import pushed
from middleware.contract.mapping.vocabulary import Report

Path = tuple[str, ...]


def against(bindings: Bindings, mappings: MappingSet, wsdl: Interface) -> list[Issue]:
    """What does not fit the WSDL: operations, arguments, required elements, answers, types."""
    report = Report()
    known = list(wsdl.operations())
    for name, place in bindings.manner_places.items():
        if name not in known:
            _no_operation(report, name, place, known)
    for manner in bindings.manners.values():
        for path, kind in manner.types.items():
            if not wsdl.knows_type(kind):
                place = manner.type_places[path]
                report.error("B006", f"the WSDL has no type {kind}", place)
    for call in bindings.calls():
        if call.operation not in known:
            _no_operation(report, call.operation, call.place, known)
    if report.errors:
        return report.issues
    written: dict[int, MappingFile] = {}
    for write in bindings.every_write():
        mapping = mappings.push(write.mapping)
        written[id(write.call)] = mapping
        if write.preview is not None and write.preview.mapped:
            written[id(write.preview.call)] = mapping
    for call in bindings.calls():
        _check_input(report, bindings, call, written.get(id(call)), wsdl)
        _check_answer(report, bindings, call, wsdl)
    for write in bindings.every_write():
        _check_rows(report, bindings, write.find, [write.key, *write.receipt.values()], wsdl)
    for changes in bindings.changes.values():
        stated = [changes.deleted, changes.as_of, changes.count]
        _check_paths(report, bindings, changes.call, stated, wsdl)
    for mapping in mappings.mappings:
        if mapping.wsdl_lock is not None:
            _check_lock(report, mapping.wsdl_lock, mapping.file.place, wsdl)
    if bindings.lock is not None:
        _check_lock(report, bindings.lock, bindings.lock_place, wsdl)
    seen: dict[tuple[Any, ...], Issue] = {}
    for issue in report.issues:
        seen.setdefault((issue.place, issue.code, issue.message), issue)
    return list(seen.values())


def _check_lock(report: Report, lock: str, place: Place, wsdl: Interface) -> None:
    if wsdl.lock != lock:
        report.error(
            "R203",
            f"the WSDL is not the one that the file was written against; it is {wsdl.lock} now. "
            "Look what changed, then write the new hash here",
            place,
        )


def _no_operation(report: Report, name: str, place: Place, known: list[str]) -> None:
    report.error("B004", f"the WSDL has no operation {name!r}{did_you_mean(name, known)}", place)


def _check_input(
    report: Report,
    bindings: Bindings,
    call: Call,
    mapping: MappingFile | None,
    wsdl: Interface,
) -> None:
    types = bindings.manner(call.operation).types
    given: list[tuple[Path, Place]] = [(a.path, a.place) for a in call.arguments]
    if mapping is not None:
        given += [(path, rule.place) for path, rule in pushed(mapping.fields, mapping)]
    for path, place in given:
        if wsdl.lacks(call.operation, path, types):
            report.error("R201", f"{call.operation} has no element {'.'.join(path)!r}", place)
    at = call.place if mapping is None else mapping.file.places["fields"]
    for missing in wsdl.needs(call.operation, [path for path, _ in given], types):
        report.error("R202", f"required element {missing!r} of {call.operation} is not mapped", at)


def _check_answer(report: Report, bindings: Bindings, call: Call, wsdl: Interface) -> None:
    within = bindings.manner(call.operation).within
    if within and wsdl.lacks_answer(call.operation, tuple(within.split("."))):
        message = f"the answer of {call.operation} has no element {within!r}"
        report.error("R201", message, call.place)
        return
    _check_rows(report, bindings, call, ["", call.id, *call.only], wsdl)
    paging = call.paging
    if paging is not None and paging.more is None:
        stated = [paging.next, paging.pages, paging.total, paging.done]
        _check_paths(report, bindings, call, stated, wsdl)


def _check_rows(
    report: Report, bindings: Bindings, call: Call, paths: Iterable[str], wsdl: Interface
) -> None:
    """Paths below a row of the answer; the empty one is the row itself."""
    below = [".".join(part for part in (call.result, path) if part) for path in paths]
    _check_paths(report, bindings, call, below, wsdl)


def _check_paths(
    report: Report, bindings: Bindings, call: Call, paths: Iterable[str], wsdl: Interface
) -> None:
    """Paths in the answer; the empty one is not stated."""
    within = bindings.manner(call.operation).within
    for path in paths:
        whole = tuple(f"{within}.{path}".strip(".").split("."))
        if path and wsdl.lacks_answer(call.operation, whole):
            message = f"the answer of {call.operation} has no element {path!r}"
            report.error("R201", message, call.place)
