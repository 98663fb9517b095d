"""The main job, told step by step."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console

from middleware.app import Application, set_up_logging
from middleware.demo.stage import (
    Api,
    DemoError,
    Teller,
    free,
    fresh_folder,
    serve,
    with_soap,
    with_tryton,
    write_settings,
)
from middleware.flows.keys import Scope, make_key
from middleware.sandbox import texts
from middleware.sandbox.world import Customer, World
from middleware.settings import load

PATIENCE_S = 90.0


@dataclass
class Figures:
    """What the demo ends with."""

    replacement_orders: int = 0
    cases: int = 0
    notes: int = 0
    orders_attached: int = 0
    complaints: int = 0
    linked: int = 0
    duplicates: int = 0
    seconds_from_complaint_to_person: float = 0.0
    seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "extra"} | self.extra


def run(*, erp: str, once: bool, as_json: bool, listen: str, out: Console) -> int:
    """Run the demo; answers the exit code."""
    set_up_logging("ERROR")
    logging.getLogger("spyne").setLevel("CRITICAL")
    if as_json:
        out = Console(stderr=True, highlight=False)
    tell = Teller(out)
    began = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            figures, address, key = _story(stack, tell, erp=erp, listen=listen)
            figures.seconds = round(time.monotonic() - began, 1)
            if as_json:
                print(json.dumps(figures.told()), flush=True)  # noqa: T201
            if not once:
                _leave_up(tell, address, key)
    except DemoError as error:
        out.print(str(error), style="red", markup=False)
        return 1
    return 0 if figures.duplicates == 0 and figures.replacement_orders == 1 else 1


def _story(
    stack: contextlib.ExitStack, tell: Teller, *, erp: str, listen: str
) -> tuple[Figures, str, str]:
    figures = Figures()
    folder = fresh_folder()
    host, port = free(listen)
    address = f"http://{host}:{port}"

    tell.step(
        f"Start the systems to connect: {'a real Tryton' if erp == 'tryton' else 'a SOAP ERP'}"
        ", a Salesforce-speaking CRM, a Chatwoot-speaking helpdesk"
    )
    remotes = (with_tryton if erp == "tryton" else with_soap)(stack, tell, address)
    tell.say(
        f"{len(remotes.world.customers)} customers, {len(remotes.world.orders)} orders,"
        f" all invented; settings in {folder / 'amends.toml'}"
    )
    write_settings(folder, remotes, host, port)

    tell.step("Start the hub on SQLite, and serve its API")
    application = Application(load(folder / "amends.toml"))
    stack.callback(application.close)
    application.open()
    application.start()
    serve(stack, application, host, port)
    _, key = make_key(application.hub, "demo agent", [Scope.ADMIN])
    _, other_key = make_key(application.hub, "another agent", [Scope.ADMIN])
    hub = Api(address, key)
    stack.callback(hub.close)
    tell.say(f"listening on {address}")

    tell.step("Both systems are synced by their schedule, page by page")
    for job in ("sync-erp", "sync-crm"):
        tell.say(_synced(hub, tell, job))

    tell.step("A customer writes to the helpdesk, whose signed webhook reaches the hub")
    customer = _customer(remotes.world)
    helpdesk = Api(remotes.desk_url, remotes.secrets_of_desk)
    stack.callback(helpdesk.close)
    tell.say(f"“{texts.BROKE}”")
    wrote = time.monotonic()
    conversation = _write(helpdesk, customer, texts.BROKE)
    for other, text in zip(_others(remotes.world, customer), texts.OTHERS, strict=False):
        _write(helpdesk, other, text)
    complaint = _enriched(hub, conversation, tell)
    figures.seconds_from_complaint_to_person = round(time.monotonic() - wrote, 2)
    for line in _who(complaint):
        tell.say(line)

    context = hub.get(f"/v1/complaints/{complaint['id']}/context")
    orders = context["orders"]["data"]
    figures.orders_attached = len(orders)
    match = complaint["order_match"]
    tell.step(f"The order history is beside it: {len(orders)} orders; which one is meant?")
    for ranked in match["ranked"][:3]:
        why = "; ".join(reason["what"] for reason in ranked["reasons"])
        tell.say(f"{ranked['number']}  {ranked['score']:6.1f} points  {why}")
    if match["chosen"] is None:
        meant = next(o for o in orders if o["status"] in ("delivered", "shipped"))
        tell.say(
            f"none stands out, so none is guessed; asked, the customer names {meant['number']}"
        )
        _write_again(helpdesk, conversation, f"It is order {meant['number']}.")
        complaint = _until_chosen(hub, complaint["id"], tell)
        match = complaint["order_match"]
    order = next(o for o in orders if o["ref"] == match["chosen"])
    line_id = match["chosen_lines"][0] if match["chosen_lines"] else order["lines"][0]["id"]
    line = next(x for x in order["lines"] if x["id"] == line_id)
    tell.say(
        f"→ {order['number']}, line {line['id']}: {line['quantity']} × {line['sku']}"
        f" {line['name'] or ''}"
    )

    tell.step("What would a rush replacement cost? A preview writes nothing")
    asked = {
        "operation": "replacement_order",
        "complaint_id": complaint["id"],
        "request": {
            "order": order["ref"],
            "lines": [{"line": line["id"], "sku": line["sku"], "quantity": "1"}],
            "speed": "rush",
            "reason": "damaged",
        },
        "case": {"priority": "high"},
        "note": "",
    }
    for step in hub.post("/v1/actions/preview", asked)["steps"]:
        for effect in step["effects"]:
            amount = effect["amount"]
            cost = f" ({amount['amount']} {amount['currency']})" if amount else ""
            tell.say(f"{step['connection']}: {effect['what']}{cost}")
        for warning in step["warnings"]:
            tell.say(f"   beware: {warning}")

    tell.step("The agent clicks: order in the ERP, then case in the CRM, then note in the helpdesk")
    click = str(uuid.uuid4())
    action = _ended(hub, hub.post("/v1/actions", asked, key=click))
    for step in action["steps"]:
        receipt = step["receipt"] or {}
        tell.say(
            f"{step['state']:6} {step['operation']:18} {receipt.get('number') or ''}"
            f" in {step['connection']}, key {step['key']}"
        )
    if action["state"] != "done":
        raise DemoError(f"the action ended {action['state']}: {json.dumps(action['steps'])}")

    tell.step("The agent clicks again, and a colleague clicks too")
    again = hub.post("/v1/actions", asked, key=click)
    tell.say(f"the same click: the same action, {again['id'] == action['id']}")
    colleague = Api(address, other_key)
    stack.callback(colleague.close)
    refused = colleague.refused(
        "/v1/actions",
        asked
        | {
            "request": asked["request"]
            | {"lines": [{"line": line["id"], "sku": line["sku"], "quantity": line["quantity"]}]}
        },
    )
    tell.say(f"the colleague: {refused['status']} {refused['title']}. {refused['detail']}")

    tell.step("Count in the remote systems, not in ours")
    for step in action["steps"]:
        made = remotes.count(step["operation"], step["key"])
        tell.say(f"{step['operation']} under our key: {made}")
        figures.duplicates += max(made - 1, 0)
        name = {"replacement_order": "replacement_orders", "case": "cases", "note": "notes"}
        setattr(figures, name[step["operation"]], made)
    complaints = hub.get("/v1/complaints?limit=50")["data"]
    figures.complaints = len(complaints)
    persons = [hub.get(f"/v1/people/{c['person_id']}") for c in complaints if c["person_id"]]
    figures.linked = sum(person["standing"] == "settled" for person in persons)
    tell.say(f"{figures.complaints} complaints came in, {figures.linked} of them with their person")
    return figures, address, key


# --- the people ------------------------------------------------------------------------------


def _customer(world: World) -> Customer:
    """A private customer of some history, whose only order of the last weeks was delivered.

    A small world may have nobody like that; then somebody who was delivered anything.
    """
    lately = world.now - timedelta(days=40)
    private = [c for c in world.customers if c.company is None]
    for customer in private[8:]:
        history = world.orders_of(customer.number)
        recent = [order for order in history if order.placed > lately]
        if len(recent) == 1 and recent[0].status == "delivered" and len(history) >= 3:
            return customer
    for customer in private[::-1]:
        if world.orders_of(customer.number, status="delivered"):
            return customer
    raise DemoError("nobody in this world has got a parcel")


def _others(world: World, first: Customer) -> list[Customer]:
    return [c for c in world.customers[::-1] if c.number != first.number and c.company is None]


def _write(helpdesk: Api, customer: Customer, text: str) -> str:
    """Somebody writes to the helpdesk; answers the conversation's id."""
    answer = helpdesk.post(
        "/_sandbox/write",
        {
            "conversation": "new",
            "text": text,
            "contact": {
                "name": f"{customer.given_name} {customer.family_name}",
                "email": customer.email,
                "phone": customer.phone,
            },
        },
    )
    return str(answer["conversation"])


def _write_again(helpdesk: Api, conversation: str, text: str) -> None:
    helpdesk.post("/_sandbox/write", {"conversation": int(conversation), "text": text})


# --- the hub, through its API ----------------------------------------------------------------


def _synced(hub: Api, tell: Teller, job: str) -> str:
    """Wait for the run that the schedule owed at the start; answers what it saw."""
    end = time.monotonic() + PATIENCE_S
    with tell.working(f"{job} …") as update:
        while True:
            run = next(iter(hub.get(f"/v1/jobs/{job}/runs?limit=1")["data"]), None)
            if run is not None and run["state"] not in ("queued", "running"):
                break
            if time.monotonic() > end:
                raise DemoError(f"{job} takes longer than {PATIENCE_S:g} s")
            counts = run["counts"].values() if run else ()
            update(f"{job}: {sum(c['seen'] for c in counts)} records")
            time.sleep(0.2)
    if run["state"] != "done":
        raise DemoError(f"{job} failed: {run['error']}")
    told = ", ".join(f"{c['seen']} {kind}s" for kind, c in run["counts"].items() if c["seen"])
    return f"{job}: {told}"


def _enriched(hub: Api, conversation: str, tell: Teller) -> dict[str, Any]:
    """Wait until the complaint of a conversation is understood and its person looked for."""
    end = time.monotonic() + PATIENCE_S
    with tell.working("waiting for the complaint …"):
        while time.monotonic() < end:
            for complaint in hub.get("/v1/complaints?connection=desk&limit=50")["data"]:
                if complaint["conversation"] == conversation:
                    whole = hub.get(f"/v1/complaints/{complaint['id']}")
                    if whole["resolution"] is not None:
                        return whole
            time.sleep(0.1)
    raise DemoError("the complaint never arrived")


def _until_chosen(hub: Api, complaint_id: str, tell: Teller) -> dict[str, Any]:
    """Wait until the order that a complaint means is known."""
    end = time.monotonic() + PATIENCE_S
    with tell.working("waiting for the answer …"):
        while time.monotonic() < end:
            complaint = hub.get(f"/v1/complaints/{complaint_id}")
            if (complaint["order_match"] or {}).get("chosen"):
                return complaint
            time.sleep(0.1)
    raise DemoError("no order was chosen, although its number was named")


def _who(complaint: dict[str, Any]) -> Iterator[str]:
    resolution, understood = complaint["resolution"], complaint["understanding"]
    if not resolution["candidates"]:
        yield f"who: nobody on file ({resolution['why']})"
        return
    candidate = resolution["candidates"][0]
    yield f"who: {', '.join(candidate['refs'])} → {resolution['outcome']}"
    for evidence in candidate["evidence"]:
        weight, basis = evidence["weight"], evidence["basis"]
        yield f"  because {evidence['detail']} ({weight:+.0f} bits, {basis})"
    judged = {
        name: understood[name]["value"] for name in ("intent", "reason", "sentiment", "severity")
    }
    yield "understood as " + ", ".join(f"{k} {v}" for k, v in judged.items())
    urgency = complaint["priority"]
    yield f"priority {urgency['points']:.1f}, due {complaint['due_at'] or 'at no set time'}"
    for term in urgency["terms"]:
        if term["points"]:
            yield f"  {term['points']:+.1f} {term['why']}"


def _ended(hub: Api, action: dict[str, Any]) -> dict[str, Any]:
    """Wait for an action's end."""
    end = time.monotonic() + PATIENCE_S
    while action["state"] in ("queued", "running", "waiting"):
        if time.monotonic() > end:
            raise DemoError(f"the action is still {action['state']}")
        time.sleep(0.2)
        action = hub.get(f"/v1/actions/{action['id']}")
    return hub.get(f"/v1/actions/{action['id']}")


def _leave_up(tell: Teller, address: str, key: str) -> None:
    tell.step("Yours now; the API stays up until Ctrl-C")
    tell.say(f"""\
export AMENDS_KEY={key}
curl -H "Authorization: Bearer $AMENDS_KEY" {address}/v1/complaints
curl -H "Authorization: Bearer $AMENDS_KEY" {address}/v1/actions
curl -H "Authorization: Bearer $AMENDS_KEY" {address}/v1/events
open {address}/openapi.json, or docs/README.md""")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
