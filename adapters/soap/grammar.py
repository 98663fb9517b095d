"""The bindings file read and checked, by itself and against the connection's mapping files.

It uses the mapping files' own reader, so that both speak of mistakes in the same way:
`file:line:column: error CODE message`. Codes that begin with M are the mapping files' own
(unknown key, wrong shape, missing key); those that begin with B are only found here:

- B001 a write that could not be looked up by its key
- B002 a mapping file is missing
- B003 an argument names something that is not known at its place
- B005 pages that can skip a record
- B006 an unknown prefix or type
- B007 an unknown kind of record or operation
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from adapters.soap.arguments import put
from adapters.soap.bindings import (
    Argument,
    Bindings,
    Call,
    Changes,
    EffectRule,
    ErrorRule,
    Header,
    Lookup,
    Manner,
    Orders,
    Outcome,
    Paging,
    PreviewRule,
    Write,
)
from middleware.contract.actions import COMPOSED, REQUESTS, Operation
from middleware.contract.canonical import CANONICAL, Kind
from middleware.contract.mapping import Mapping as MappingFile
from middleware.contract.mapping import MappingInvalid, MappingSet, document
from middleware.contract.mapping.document import Block, Node, Scalar, Sequence, plain
from middleware.contract.mapping.issues import Place, did_you_mean
from middleware.contract.mapping.steps import STEPS
from middleware.contract.mapping.vocabulary import (
    Either,
    Flag,
    Key,
    Keys,
    Many,
    Named,
    Report,
    StepShape,
    Template,
    Text,
    Value,
    Whole,
    Words,
    Zone,
    template_parts,
)

VERSION = 1
FILE_NAME = "bindings.yaml"

OUTCOMES = (
    "already_done", "dead_letter", "reject", "retry", "missing", "unauthorised", "ambiguous",
)  # fmt: skip
QUOTES = ("refuse", "backslash", "doubled")
STYLES = ("token", "page", "offset")

_LOOKUPS = ("emails", "phones", "handles", "external_ids", "name")

RECEIPT_KINDS: Mapping[Operation, Kind] = {
    Operation.REPLACEMENT_ORDER: Kind.ORDER,
    Operation.RETURN: Kind.RETURN,
    Operation.CREDIT: Kind.INVOICE,
    Operation.STORE_CREDIT: Kind.INVOICE,
    Operation.CANCELLATION: Kind.ORDER,
    Operation.CASE: Kind.CASE,
    Operation.CALL_BACK: Kind.TASK,
    Operation.NOTE: Kind.NOTE,
}
"""What a write makes, unless the file says otherwise; a withdrawal changes what was made."""

_WORDS = tuple(operation.value for operation in Operation if operation not in COMPOSED)


# What it may look like.

_PATH = Text(r"[^.\s]+(\.[^.\s]+)*", "a path such as Orders.Order")
_OPERATION = Text(r"[^\s.:{}]+", "the name of an operation")
_MATCH = Named(
    Either(Value(), None, Many(Value(), "values"), what="a value, or a list of them"), "paths"
)
_TEMPLATE = Text(r"(?s:.+)", "text with {paths}")

_ARGUMENT = Either(
    _PATH,
    Keys(
        {
            "from": Key(_PATH, "where the value comes from"),
            "const": Key(Value(), "the same value always"),
            "template": Key(Template(), "text put together from {paths}, quoted"),
            "quote": Key(Words(QUOTES), "what happens to quotes in the values of a template"),
            "format": Key(Text(r"(?s:.+)"), "how a moment or a day is written, such as %d.%m.%Y"),
            "default": Key(Value(), "the value where there is none"),
            "use": Key(Many(StepShape(), "steps"), "named steps, applied from left to right"),
        }
    ),
    what="where the value comes from, or a block",
)
_ARGUMENTS = Named(_ARGUMENT, "elements of the operation's input", low=0)
_MORE = Keys(
    {
        "operation": Key(_OPERATION, "the operation that answers the next part"),
        "arguments": Key(_ARGUMENTS, "its arguments"),
        "result": Key(_PATH, "where its rows lie, if elsewhere than in the first part"),
    },
    required=("operation", "arguments"),
)
_PAGING = Keys(
    {
        "style": Key(Words(STYLES), "how parts are counted"),
        "next": Key(_PATH, "the token of the next part, or the next page's number; empty: no more"),
        "pages": Key(_PATH, "how many pages there are"),
        "total": Key(_PATH, "how many rows there are in all"),
        "done": Key(_PATH, "an element that is true on the last part"),
        "size": Key(Whole(1, 100_000), "rows per part; fewer mean that it was the last"),
        "start": Key(Whole(0, 1), "the first page's number"),
        "stable": Key(Flag(), "the remote keeps the result as it was, so that no row can slip"),
        "more": Key(_MORE, "the operation for the following parts, if it is another one"),
    },
    required=("style",),
)
_CALL_KEYS = {
    "operation": Key(_OPERATION, "the operation that is called"),
    "arguments": Key(_ARGUMENTS, "its input: theirs: ours"),
    "result": Key(_PATH, "where its rows lie in the answer"),
    "id": Key(_PATH, "a row's identifier"),
    "only": Key(_MATCH, "rows with other values are passed over"),
    "paging": Key(_PAGING, "how the answer comes in parts"),
}
_CALL = Keys(_CALL_KEYS, required=("operation", "result", "id"))
_LOOKUP = Keys(
    {
        "by": Key(
            Text(
                r"(emails|phones|name|handles(\.[^.\s]+)?|external_ids\.[^.\s]+)",
                "emails, phones, name, handles, handles.<network> or external_ids.<system>",
            ),
            "the part of the clue",
        ),
        **_CALL_KEYS,
    },
    required=("by", "arguments"),
)
_FINDS = Keys(
    {**_CALL_KEYS, "lookups": Key(Many(_LOOKUP, "lookups"), "one call for each part of a clue")},
    required=("lookups",),
)
_OUTCOME = Keys(
    {
        "outcome": Key(Words(OUTCOMES), "what it means for us"),
        "message": Key(Template(("code", "faultstring")), "what people are shown"),
        "masks": Key(Words(("credentials",)), "what else the remote gives this fault for"),
    },
    required=("outcome",),
)
_QNAME = Text(r"([^\s:{}]+:[^\s:{}]+|\{[^{}]+\}[^\s:{}]+)", "prefix:Name or {namespace}Name")
_MANNER_KEYS = {
    "headers": Key(
        Many(
            Keys(
                {
                    "element": Key(_QNAME, "the header's element"),
                    "values": Key(Named(Value(), "paths"), "what stands in it, by path"),
                },
                required=("element",),
            ),
            "headers",
        ),
        "SOAP headers that are always the same; credentials belong into the connection",
    ),
    "within": Key(_PATH, "the element that all paths of answers begin at"),
    "error": Key(
        Keys(
            {
                "at": Key(_PATH, "the element that holds the error"),
                "when": Key(_MATCH, "it is an error only if these have these values"),
                "code": Key(_PATH, "its code, below `at`"),
                "message": Key(_PATH, "words that people may be shown, below `at`"),
                "field": Key(_PATH, "the field that was refused, below `at`"),
            },
            required=("code",),
        ),
        "errors inside answers with status 200",
    ),
    "faults": Key(Named(_OUTCOME, "fault codes"), "fault codes, exact or with * at the end"),
    "fault_code": Key(_PATH, "the code inside a fault's detail; * is any name"),
}
_MANNER = Keys(
    {
        **_MANNER_KEYS,
        "action": Key(Text(), "the SOAPAction, where the WSDL's is wrong"),
        "types": Key(
            Named(
                _QNAME,
                "paths",
            ),
            "the types that stand in for abstract ones, by path",
        ),
    }
)
_EFFECT = Keys(
    {
        "what": Key(_TEMPLATE, "what happens, in words, with {paths}"),
        "each": Key(_PATH, "one line for each of these rows"),
        "only": Key(_MATCH, "rows with other values are passed over"),
        "amount": Key(_PATH, "what it comes to"),
        "currency": Key(_PATH, "the currency's path, or a code such as EUR"),
    },
    required=("what",),
)
_PREVIEW = Keys(
    {
        "operation": Key(_OPERATION, "the operation that simulates"),
        "arguments": Key(_ARGUMENTS, "what it takes beside what the mapping writes"),
        "mapped": Key(Flag(), "false where it takes its arguments only, such as one that reads"),
        "effects": Key(Many(_EFFECT, "effects"), "what would change"),
        "warnings": Key(Many(_EFFECT, "warnings"), "what stands against it"),
    },
    required=("operation", "effects"),
)
_FIND = Keys(
    {
        **_CALL_KEYS,
        "key": Key(_PATH, "our key in a row; rows with another are passed over"),
        "gone": Key(Flag(), "a record that is not there any more counts as taken back"),
    },
    required=("operation", "arguments", "result", "id"),
)
_WRITE_KEYS = {
    "operation": Key(_OPERATION, "the operation, if the mapping file names none"),
    "arguments": Key(_ARGUMENTS, "what it takes beside what the mapping writes"),
    "result": Key(_PATH, "where the mapping's `response` begins in the answer"),
    "kind": Key(Words(tuple(k.value for k in Kind)), "the kind of record that is made"),
    "native": Key(Flag(), "the remote itself refuses or merges a second write with our key"),
    "settle_s": Key(
        Whole(0, 86_400), "seconds in which a write may still happen after its answer was lost"
    ),
    "find": Key(_FIND, "how the write is found again by our key"),
    "receipt": Key(
        Named(_PATH, "parts of a receipt"), "number, status, at and url in a row of `find`"
    ),
    "existed": Key(
        Keys(
            {
                "path": Key(_PATH, "an element of the answer"),
                "is": Key(Value(), "its value when the record was there before"),
            },
            required=("path", "is"),
        ),
        "how the answer says that the record was there before",
    ),
    "preview": Key(_PREVIEW, "the operation that says what the write would do"),
}
_WRITE = Keys(
    {
        **_WRITE_KEYS,
        "of": Key(
            Named(Keys(_WRITE_KEYS), "operations"),
            "of a withdrawal: how it is taken back, by the operation that made it",
        ),
    }
)
_LIST_KEYS = {
    **_CALL_KEYS,
    "deleted": Key(_PATH, "the identifiers of deleted records"),
    "as_of": Key(_PATH, "the remote's own time of the answer"),
    "overlap_s": Key(Whole(0, 86_400), "seconds that are read again by the next run"),
    "count": Key(_PATH, "how many records the whole answer has, whatever part of it this is"),
}

FILE = Keys(
    {
        "bindings": Key(Whole(VERSION, VERSION), "the version of the file format"),
        "system": Key(Text("[a-z][a-z0-9_]*", "a name such as sandbox_erp"), "the system's name"),
        "title": Key(Text(), "what it is, in words"),
        "owner": Key(Text(), "who answers when something does not fit"),
        "wsdl_lock": Key(
            Text("sha256:[0-9a-f]{64}", "sha256: and 64 hex digits"),
            "the hash of the WSDL that the file was written against",
        ),
        "service": Key(Text(), "the WSDL's service, if not the first"),
        "port": Key(Text(), "the WSDL's port, if not the first"),
        "timezone": Key(Zone(), "of days, and of moments without an offset"),
        "namespaces": Key(Named(Text(), "prefixes"), "prefixes for types"),
        **_MANNER_KEYS,
        "operations": Key(Named(_MANNER, "operations"), "what differs for single operations"),
        "check": Key(
            Keys(
                {
                    "operation": Key(_OPERATION, "an operation that changes nothing"),
                    "arguments": Key(_ARGUMENTS, "its arguments"),
                    "version": Key(_PATH, "the remote's version in the answer"),
                },
                required=("operation",),
            ),
            "how credentials are proved",
        ),
        "find_contacts": Key(_FINDS, "finds people"),
        "find_accounts": Key(_FINDS, "finds customers"),
        "read_orders": Key(
            Keys(
                {
                    "read": Key(_CALL, "an order by its id"),
                    "find": Key(_CALL, "an order by its number"),
                    "of": Key(_CALL, "a customer's orders"),
                    "kinds": Key(
                        Many(Words(("account", "contact")), "kinds"), "whose orders `of` answers"
                    ),
                    "newest_first": Key(Flag(), "`of` answers the newest order first"),
                },
                required=("read", "find", "of"),
            ),
            "reads orders",
        ),
        "read_shipments": Key(_CALL, "an order's shipments"),
        "read_invoices": Key(_CALL, "an order's invoices and credits"),
        "list_changes": Key(
            Named(Keys(_LIST_KEYS, required=("operation", "result", "id")), "kinds"),
            "records changed since a moment, by kind",
        ),
        "writes": Key(Named(_WRITE, "operations"), "what can be changed"),
    },
    required=("bindings", "system"),
)

_SCOPE: Mapping[str, tuple[str, ...]] = {
    "check": (),
    "lookup": ("value", "limit"),
    "read": ("id",),
    "find": ("number",),
    "of": ("customer", "since", "limit"),
    "part": ("order",),
    "changes": ("since", "until", "limit"),
    "found": ("key", "request"),
    "write": ("key", "request"),
}
_PAGED = ("page", "token", "offset")


def read(path: Path, mappings: MappingSet) -> Bindings:
    """Read a bindings file; raises MappingInvalid with every mistake and its place."""
    node = document.read(path)
    report = Report()
    if not isinstance(node, Block):
        report.error("M000", "a bindings file is a block of keys", node.place)
        raise MappingInvalid(report.issues)
    FILE.check(node, report)
    if report.errors:
        raise MappingInvalid(report.issues)
    bindings = _Reader(path, node, mappings, report).bindings()
    if report.errors:
        raise MappingInvalid(report.issues)
    return bindings


class _Reader:
    """Builds the dataclasses from a file whose shape is right, and reports what does not fit."""

    def __init__(self, path: Path, root: Block, mappings: MappingSet, report: Report) -> None:
        self._path, self._root, self._mappings, self._report = path, root, mappings, report
        self._zone = ZoneInfo(_text(root, "timezone") or "UTC")
        self._spaces = {n: str(v) for n, v in _plain(root, "namespaces").items()}

    def bindings(self) -> Bindings:
        root = self._root
        usual = self._manner(root, Manner())
        operations = _block(root, "operations")
        check = _block(root, "check")
        orders = _block(root, "read_orders")
        bound = Bindings(
            path=self._path,
            place=root.place,
            system=_text(root, "system"),
            lock=_text(root, "wsdl_lock") or None,
            lock_place=root.place_of("wsdl_lock"),
            service=_text(root, "service") or None,
            port=_text(root, "port") or None,
            zone=self._zone,
            usual=usual,
            manners={
                name: self._manner(entry.node, usual)
                for name, entry in operations.entries.items()
                if isinstance(entry.node, Block)
            },
            manner_places={n: e.key.place for n, e in operations.entries.items()},
            check=self._call(check, "check") if check.entries else None,
            version=_text(check, "version"),
            contacts=self._lookups("find_contacts", Kind.CONTACT),
            accounts=self._lookups("find_accounts", Kind.ACCOUNT),
            orders=self._orders(orders) if orders.entries else None,
            shipments=self._part("read_shipments", Kind.SHIPMENT),
            invoices=self._part("read_invoices", Kind.INVOICE),
            changes=self._changes(),
            writes=self._writes(),
            withdrawals=self._withdrawals(),
        )
        if not any(
            (bound.contacts, bound.accounts, bound.orders, bound.shipments, bound.invoices,
             bound.changes, bound.writes, bound.withdrawals)
        ):  # fmt: skip
            self._report.error("B007", "the file binds nothing", root.place)
        return bound

    # Parts that several keys share.

    def _manner(self, block: Block, usual: Manner) -> Manner:
        types: dict[tuple[str, ...], str] = {}
        for name, entry in _block(block, "types").entries.items():
            resolved = self._type(entry.node)
            if resolved is not None:
                types[tuple(name.split("."))] = resolved
        error = usual.error
        if "error" in block.entries:
            stated = _block(block, "error")
            error = ErrorRule(
                at=_text(stated, "at"),
                when=_match(stated, "when"),
                code=_text(stated, "code"),
                message=_text(stated, "message"),
                field=_text(stated, "field"),
            )
            if not error.at and not error.when:
                self._report.error(
                    "M012", "say where the error is (at), or when it is one", stated.place
                )
        own = tuple(
            Outcome(
                code=code,
                outcome=_text(entry.node, "outcome"),
                texts=template_parts(message) if (message := _text(entry.node, "message")) else (),
                masks=_text(entry.node, "masks"),
            )
            for code, entry in _block(block, "faults").entries.items()
            if isinstance(entry.node, Block)
        )
        codes = {rule.code for rule in own}
        return Manner(
            action=_text(block, "action") or usual.action,
            within=_text(block, "within") if "within" in block.entries else usual.within,
            error=error,
            faults=own + tuple(rule for rule in usual.faults if rule.code not in codes),
            fault_code=_text(block, "fault_code") or usual.fault_code,
            headers=self._headers(block) if "headers" in block.entries else usual.headers,
            types=types,
            type_places={
                tuple(name.split(".")): entry.node.place
                for name, entry in _block(block, "types").entries.items()
            },
        )

    def _headers(self, block: Block) -> tuple[Header, ...]:
        listed = block.get("headers")
        made: list[Header] = []
        for item in listed.items if isinstance(listed, Sequence) else ():
            stated = item.get("element") if isinstance(item, Block) else None
            if not isinstance(item, Block) or stated is None:
                continue
            name = self._type(stated)
            if name is None:
                continue
            values: dict[str, Any] = {}
            for path, value in _plain(item, "values").items():
                put(values, tuple(path.split(".")), value)
            made.append(Header(name, values, stated.place))
        return tuple(made)

    def _type(self, node: Node) -> str | None:
        written = node.text if isinstance(node, Scalar) else ""
        if written.startswith("{"):
            return written
        prefix, _, name = written.partition(":")
        if prefix not in self._spaces:
            self._report.error(
                "B006",
                f"no namespace has the prefix {prefix!r}{did_you_mean(prefix, self._spaces)}",
                node.place,
            )
            return None
        return f"{{{self._spaces[prefix]}}}{name}"

    def _call(
        self,
        block: Block,
        place: str,
        *,
        above: Block | None = None,
        request: Operation | None = None,
        operation: str = "",
    ) -> Call:
        """A call; what it leaves out it takes from the block `above`."""
        outer = above or Block(block.place)

        def said(key: str) -> str:
            return _text(block, key) or _text(outer, key)

        paging_block = block if "paging" in block.entries else outer
        paging = self._paging(_block(paging_block, "paging"), place, request)
        allowed = _SCOPE[place] + (_PAGED if paging is not None else ())
        where = block.place_of("operation") if "operation" in block.entries else block.place
        call = Call(
            operation=said("operation") or operation,
            place=where,
            arguments=self._arguments(_block(block, "arguments"), allowed, request),
            result=said("result"),
            id=said("id"),
            only=_match(block if "only" in block.entries else outer, "only"),
            paging=paging,
        )
        if not call.operation:
            self._report.error("M012", "key 'operation' is missing", block.place)
        return call

    def _paging(self, block: Block, place: str, request: Operation | None) -> Paging | None:
        if not block.entries:
            return None
        more = _block(block, "more")
        style = _text(block, "style")
        paging = Paging(
            style=style,
            place=block.place_of("style"),
            next=_text(block, "next"),
            pages=_text(block, "pages"),
            total=_text(block, "total"),
            done=_text(block, "done"),
            size=_number(block, "size", 0),
            start=_number(block, "start", 1),
            stable=_flag(block, "stable"),
            more=Call(
                operation=_text(more, "operation"),
                place=more.place_of("operation"),
                arguments=self._arguments(
                    _block(more, "arguments"), _SCOPE[place] + _PAGED, request
                ),
                result=_text(more, "result"),
            )
            if more.entries
            else None,
        )
        if style == "token" and not paging.next:
            self._report.error("M012", "style token needs `next`, the token's path", block.place)
        if style != "token" and not (paging.next or paging.pages or paging.total or paging.size
                                     or paging.done):  # fmt: skip
            self._report.error(
                "M012",
                f"style {style} needs next, pages, total, done or size to know the last part",
                block.place,
            )
        return paging

    def _arguments(
        self, block: Block, allowed: tuple[str, ...], request: Operation | None
    ) -> tuple[Argument, ...]:
        made = [
            self._argument(name, entry.key.place, entry.node, allowed, request)
            for name, entry in block.entries.items()
        ]
        return tuple(argument for argument in made if argument is not None)

    def _argument(
        self,
        name: str,
        place: Place,
        node: Node,
        allowed: tuple[str, ...],
        request: Operation | None,
    ) -> Argument | None:
        path = tuple(name.split("."))
        if not all(path):
            self._report.error("M013", f"{name!r} is not a path", place)
            return None
        if isinstance(node, Scalar):
            self._known(node.text, node.place, allowed, request)
            return Argument(path, place, source=tuple(node.text.split(".")))
        if not isinstance(node, Block):
            return None
        origins = [key for key in ("from", "const", "template") if key in node.entries]
        if len(origins) != 1:
            self._report.error(
                "M002", f"{name!r} needs exactly one of from, const and template", place
            )
            return None
        (origin,) = origins
        texts: tuple[str, ...] = ()
        source: tuple[str, ...] = ()
        said = node.entries[origin].node
        if origin == "template":
            texts = template_parts(_text(node, "template"))
            for inner in texts[1::2]:
                self._known(inner, said.place, allowed, request)
        if origin == "from":
            source = tuple(_text(node, "from").split("."))
            self._known(_text(node, "from"), said.place, allowed, request)
        if "quote" in node.entries and origin != "template":
            self._report.error("M015", "quote goes with template", node.place_of("quote"))
        return Argument(
            path,
            place,
            source=source,
            const=said.value if origin == "const" and isinstance(said, Scalar) else None,
            texts=texts,
            quote=_text(node, "quote") or "refuse",
            format=_text(node, "format") or None,
            default=_value(node, "default"),
            steps=tuple(_steps(node.get("use"))),
        )

    def _known(
        self, path: str, place: Place, allowed: tuple[str, ...], request: Operation | None
    ) -> None:
        first, _, rest = path.partition(".")
        if first not in allowed:
            self._report.error(
                "B003",
                f"{path!r} is not known here; there is {', '.join(allowed) or 'nothing'}"
                f"{did_you_mean(first, allowed)}",
                place,
            )
        elif first == "request" and request is not None:
            fields = REQUESTS[request].model_fields
            name = rest.partition(".")[0]
            if name not in fields:
                self._report.error(
                    "B003",
                    f"a request for a {request} has no {name!r}{did_you_mean(name, fields)}",
                    place,
                )

    def _needs_pull(self, kind: Kind, place: Place) -> None:
        if not self._mappings.has_pull(kind):
            self._report.error(
                "B002", f"no mapping file says how their record becomes a {kind}", place
            )

    # The capabilities.

    def _lookups(self, name: str, kind: Kind) -> tuple[Lookup, ...]:
        block = _block(self._root, name)
        if not block.entries:
            return ()
        self._needs_pull(kind, self._root.place_of(name))
        made: list[Lookup] = []
        listed = block.get("lookups")
        for node in listed.items if isinstance(listed, Sequence) else ():
            if not isinstance(node, Block):
                continue
            call = self._call(node, "lookup", above=block)
            for key in ("result", "id"):
                if not getattr(call, key):
                    self._report.error("M012", f"key {key!r} is missing", node.place)
            made.append(Lookup(_text(node, "by"), call))
        return tuple(made)

    def _orders(self, block: Block) -> Orders:
        self._needs_pull(Kind.ORDER, self._root.place_of("read_orders"))
        kinds = block.get("kinds")
        return Orders(
            read=self._call(_block(block, "read"), "read"),
            find=self._call(_block(block, "find"), "find"),
            of=self._call(_block(block, "of"), "of"),
            kinds=tuple(Kind(k) for k in plain(kinds)) if kinds is not None else (Kind.ACCOUNT,),
            newest_first=_flag(block, "newest_first"),
        )

    def _part(self, name: str, kind: Kind) -> Call | None:
        block = _block(self._root, name)
        if not block.entries:
            return None
        self._needs_pull(kind, self._root.place_of(name))
        return self._call(block, "part")

    def _changes(self) -> dict[Kind, Changes]:
        block = _block(self._root, "list_changes")
        made: dict[Kind, Changes] = {}
        for name, entry in block.entries.items():
            kinds = [kind.value for kind in CANONICAL]
            if name not in kinds:
                self._report.error(
                    "B007",
                    f"{name!r} is no kind of record{did_you_mean(name, kinds)}",
                    entry.key.place,
                )
                continue
            if not isinstance(entry.node, Block):
                continue
            kind = Kind(name)
            self._needs_pull(kind, entry.key.place)
            call = self._call(entry.node, "changes")
            if not any(a.source[:1] == ("since",) or "since" in a.texts[1::2]
                       for a in call.arguments):  # fmt: skip
                self._report.error(
                    "M012", "no argument takes `since`; all records would be read each time",
                    entry.node.place,
                )  # fmt: skip
            paging = call.paging
            if (
                paging is not None
                and paging.style != "token"
                and not (paging.stable or paging.total)
            ):
                self._report.error(
                    "B005",
                    "counting pages can skip a record that moves while we read; name `total`, "
                    "or say `stable: true` if the remote keeps the result as it was",
                    paging.place,
                )
            made[kind] = Changes(
                call=call,
                deleted=_text(entry.node, "deleted"),
                as_of=_text(entry.node, "as_of"),
                overlap=timedelta(seconds=_number(entry.node, "overlap_s", 300)),
                count=_text(entry.node, "count") or (paging.total if paging is not None else ""),
            )
        return made

    def _writes(self) -> dict[Operation, Write]:
        made: dict[Operation, Write] = {}
        for operation, place, block in self._by_operation(_block(self._root, "writes"), _WORDS):
            if operation is Operation.WITHDRAWAL:
                continue
            if "of" in block.entries:
                self._report.error(
                    "M015", f"`of` goes with a withdrawal, not a {operation}", block.place_of("of")
                )
            write = self._write(operation, operation, place, block)
            if write is not None:
                made[operation] = write
        return made

    def _withdrawals(self) -> dict[Operation, Write]:
        """How writes are taken back; each has its own operation and its own proof."""
        name = Operation.WITHDRAWAL.value
        entry = _block(self._root, "writes").entries.get(name)
        if entry is None or not isinstance(entry.node, Block):
            return {}
        for other in entry.node.entries:
            if other != "of":
                self._report.error(
                    "M015",
                    f"a withdrawal has `of` only; put {other!r} below the operation that is taken "
                    "back",
                    entry.node.place_of(other),
                )
        if "of" not in entry.node.entries:
            self._report.error(
                "M012", "key 'of' is missing: say by operation how it is taken back",
                entry.key.place,
            )  # fmt: skip
        made: dict[Operation, Write] = {}
        words = tuple(word for word in _WORDS if word != name)
        for operation, place, block in self._by_operation(_block(entry.node, "of"), words):
            own = f"withdraw_{operation}"
            mapping = own if self._mappings.has_push(own) else name
            write = self._write(Operation.WITHDRAWAL, mapping, place, block, made_by=operation)
            if write is not None:
                made[operation] = write
        return made

    def _by_operation(
        self, block: Block, words: tuple[str, ...]
    ) -> Iterator[tuple[Operation, Place, Block]]:
        for name, entry in block.entries.items():
            if name not in words:
                self._report.error(
                    "B007", f"{name!r} is no operation{did_you_mean(name, words)}", entry.key.place
                )
            elif isinstance(entry.node, Block):
                yield Operation(name), entry.key.place, entry.node

    def _write(
        self,
        operation: Operation,
        canonical: str,
        place: Place,
        block: Block,
        *,
        made_by: Operation | None = None,
    ) -> Write | None:
        what = operation if made_by is None else f"withdrawal of a {made_by}"
        if "find" not in block.entries:
            self._report.error(
                "B001",
                f"{what} has no `find`: a write that cannot be looked up by its key cannot be "
                "offered, because nobody could tell whether it happened",
                place,
            )
            return None
        find_block = _block(block, "find")
        find = self._call(find_block, "found", request=operation)
        by_key = any("key" in (a.source[:1] + a.texts[1::2]) for a in find.arguments)
        gone = _flag(find_block, "gone")
        self._proves(find_block, operation, by_key=by_key, only=bool(find.only), gone=gone)
        if not self._mappings.has_push(canonical):
            self._report.error(
                "B002", f"no mapping file says how a {operation} becomes their request", place
            )
            return None
        mapping = self._mappings.push(canonical)
        stated = _text(block, "kind")
        kind = Kind(stated) if stated else RECEIPT_KINDS[made_by or operation]
        receipt = {n: str(v) for n, v in _plain(block, "receipt").items()}
        for part in receipt:
            if part not in ("number", "status", "at", "url"):
                self._report.error(
                    "M001",
                    f"unknown key {part!r}; a receipt has number, status, at and url",
                    _block(block, "receipt").place_of(part),
                )
        if made_by is None:
            # What is taken back has an identifier already.
            self._answers(mapping)
        existed = _block(block, "existed")
        return Write(
            operation=operation,
            mapping=canonical,
            place=place,
            call=self._call(block, "write", request=operation, operation=mapping.operation or ""),
            find=find,
            key=_text(find_block, "key"),
            by_key=by_key,
            kind=kind,
            native=_flag(block, "native"),
            settle=timedelta(seconds=_number(block, "settle_s", 60)),
            receipt=receipt,
            gone=gone,
            existed=(_text(existed, "path"), str(_value(existed, "is")))
            if existed.entries
            else None,
            preview=self._preview(_block(block, "preview"), operation),
        )

    def _proves(
        self, find: Block, operation: Operation, *, by_key: bool, only: bool, gone: bool
    ) -> None:
        """B001: what `find` answers must be proof that the write happened, and was ours."""
        if gone and operation is not Operation.WITHDRAWAL:
            self._report.error("M015", "gone goes with a withdrawal", find.place_of("gone"))
        if by_key:
            return
        if operation is Operation.WITHDRAWAL:
            if not (only or gone):
                self._report.error(
                    "B001",
                    "`find` takes any row for proof; say with `only` in which state a record was "
                    "taken back, whoever did it",
                    find.place,
                )
            return
        if operation is not Operation.CANCELLATION:
            self._report.error(
                "B001", "`find` does not look by our key; give an argument `key`", find.place
            )
        if not _text(find, "key") and not only:
            self._report.error(
                "B001",
                "`find` takes any row for proof; say which with `key` or `only`",
                find.place,
            )

    def _answers(self, mapping: MappingFile) -> None:
        if "external_id" not in {rule.key for rule in mapping.file.answer}:
            self._report.error(
                "M012",
                f"{mapping.path.name} does not say which part of the answer is the new record's "
                "identifier (response: external_id)",
                mapping.file.places.get("response", mapping.file.place),
            )

    def _preview(self, block: Block, operation: Operation) -> PreviewRule | None:
        if not block.entries:
            return None
        return PreviewRule(
            call=self._call(block, "write", request=operation),
            mapped=_value(block, "mapped") is not False,
            effects=self._effects(block.get("effects")),
            warnings=self._effects(block.get("warnings")),
        )

    @staticmethod
    def _effects(node: Node | None) -> tuple[EffectRule, ...]:
        return tuple(
            EffectRule(
                what=template_parts(_text(item, "what")),
                each=_text(item, "each"),
                only=_match(item, "only"),
                amount=_text(item, "amount"),
                currency=_text(item, "currency"),
            )
            for item in (node.items if isinstance(node, Sequence) else ())
            if isinstance(item, Block)
        )


def _block(block: Block, key: str) -> Block:
    node = block.get(key)
    return node if isinstance(node, Block) else Block(block.place_of(key))


def _text(node: Node, key: str) -> str:
    inner = node.get(key) if isinstance(node, Block) else None
    return inner.text if isinstance(inner, Scalar) else ""


def _value(block: Block, key: str) -> Any:
    node = block.get(key)
    return node.value if isinstance(node, Scalar) else None


def _number(block: Block, key: str, default: int) -> int:
    value = _value(block, key)
    return value if isinstance(value, int) else default


def _flag(block: Block, key: str) -> bool:
    return _value(block, key) is True


def _plain(block: Block, key: str) -> dict[str, Any]:
    node = block.get(key)
    return dict(plain(node)) if isinstance(node, Block) else {}


def _match(block: Block, key: str) -> dict[str, tuple[str, ...]]:
    out: dict[str, tuple[str, ...]] = {}
    for path, entry in _block(block, key).entries.items():
        nodes = entry.node.items if isinstance(entry.node, Sequence) else (entry.node,)
        out[path] = tuple(node.text for node in nodes if isinstance(node, Scalar))
    return out


def _steps(node: Node | None) -> Iterator[Callable[[Any], Any]]:
    for item in node.items if isinstance(node, Sequence) else ():
        if isinstance(item, Scalar):
            yield STEPS[item.text].forward(None)
        elif isinstance(item, Block):
            ((name, entry),) = item.entries.items()
            yield STEPS[name].forward(plain(entry.node))
