"""Learning the articles that stored orders and products name.

Storing a record teaches them; this is for records that a version without a catalogue has stored.
Each start owes it, once for as long as the engine remembers: a batch of pages a run, which owes the
next. What is known already is left as it is.
"""

from __future__ import annotations

from middleware.contract.canonical import Kind, Ref
from middleware.flows.hub import Hub
from middleware.store.records import key_of

PAGE = 500
PAGES = 20
"""Pages of one run, each in a transaction of its own."""
FLOW = "sync.articles"


def owe(hub: Hub) -> None:
    with hub.database.begin() as uow:
        hub.engine.enqueue(uow, FLOW, "", name=FLOW)


def learn(hub: Hub, after: str) -> None:
    """Learn from the records that follow one, `after`; all of them where that is empty."""
    last = key_of(Ref.parse(after)) if after else None
    for turn in range(1, PAGES + 1):
        with hub.database.begin() as uow:
            page = uow.records.after(last, (Kind.ORDER, Kind.PRODUCT), limit=PAGE)
            uow.articles.learn(page)
            if len(page) < PAGE:
                return
            last = key_of(page[-1].ref)
            if turn == PAGES:
                reached = str(page[-1].ref)
                hub.engine.enqueue(uow, FLOW, reached, name=f"{FLOW}:{reached}")
