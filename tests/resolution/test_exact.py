"""Who it may be: evidence, scores and decisions, case by case."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.canonical import Handle, Kind, Ref
from middleware.domain.arrivals import Author
from middleware.domain.identity import Basis, Candidate, Decision, EvidenceKind, Outcome
from middleware.domain.understanding import Entity, EntityType
from middleware.resolution import AutoRules, Known, decide, score
from middleware.resolution.exact import WEIGHTS

K = EvidenceKind


def contact(id_: str, connection: str = "crm") -> Ref:
    return Ref(connection=connection, kind=Kind.CONTACT, id=id_)


def account(id_: str, connection: str = "erp") -> Ref:
    return Ref(connection=connection, kind=Kind.ACCOUNT, id=id_)


def named(type_: EntityType, value: str) -> Entity:
    return Entity(type=type_, value=value, start=0, end=1, confidence=0.9, why="test")


ON_X = Handle(network="x", handle="MSchmidt", native_id="2244994999")
MARIA = Known(
    ref=contact("1"),
    emails=("maria.schmidt@example.com",),
    phones=("+49 30 23125 101",),
    handles=(ON_X,),
    external_ids={"customer_number": "C-1001"},
    name="Maria Schmidt",
)
MAIL = Author(network="zendesk", native_id="9", emails=("Maria.Schmidt@example.com",))
TWEET = Author(network="twitter", native_id="2244994999", handle="mschmidt")


def resolved(
    author: Author, known: Sequence[Known], *mentioned: Entity, **options: object
) -> tuple[list[Candidate], Decision]:
    candidates = score(author, mentioned, known, **options)  # type: ignore[arg-type]
    return candidates, decide(candidates, auto=AutoRules())


CASES: dict[str, tuple[Author, list[Known], list[Entity], Outcome, set[EvidenceKind]]] = {
    "nobody": (MAIL, [], [], Outcome.NONE, set()),
    "somebody else": (
        MAIL,
        [Known(ref=contact("2"), emails=("x@example.com",))],
        [],
        Outcome.NONE,
        set(),
    ),
    "the helpdesk's e-mail": (MAIL, [MARIA], [], Outcome.LINK, {K.EMAIL}),
    "the network's id": (TWEET, [MARIA], [], Outcome.LINK, {K.NATIVE_ID}),
    "the network's id after a rename": (
        TWEET.model_copy(update={"handle": "maria_s"}),
        [MARIA],
        [],
        Outcome.LINK,
        {K.NATIVE_ID},
    ),
    "an id of another system": (
        Author(network="chatwoot", external_ids={"Customer_Number": "C-1001 "}),
        [MARIA],
        [],
        Outcome.LINK,
        {K.EXTERNAL_ID},
    ),
    "the same id of another system of another name": (
        Author(network="chatwoot", external_ids={"crm_id": "C-1001"}),
        [MARIA],
        [],
        Outcome.NONE,
        set(),
    ),
    "the number of a WhatsApp account": (
        Author(network="whatsapp", native_id="493023125101"),
        [MARIA],
        [],
        Outcome.LINK,
        {K.PHONE},
    ),
    "a phone in a helpdesk's field": (
        Author(network="zendesk", phones=("0049 30 23125101",)),
        [MARIA],
        [],
        Outcome.LINK,
        {K.PHONE},
    ),
    "a plus-alias": (
        Author(network="email", native_id="maria.schmidt+shop@example.com"),
        [MARIA],
        [],
        Outcome.REVIEW,
        {K.EMAIL_ALIAS},
    ),
    "a plus-alias and an order": (
        Author(network="email", native_id="maria.schmidt+shop@example.com"),
        [MARIA.model_copy(update={"order_numbers": ("SO-10002",)})],
        [named(EntityType.ORDER_NUMBER, "so 10002")],
        Outcome.LINK,
        {K.EMAIL_ALIAS, K.ORDER_NUMBER},
    ),
    "a handle without an id": (
        Author(network="x", handle="mschmidt"),
        [MARIA],
        [],
        Outcome.REVIEW,
        {K.HANDLE},
    ),
    "a handle on file without an id": (
        TWEET,
        [Known(ref=contact("1"), handles=(Handle(network="X", handle="@MSchmidt"),))],
        [],
        Outcome.REVIEW,
        {K.HANDLE},
    ),
    "the same handle on another network": (
        Author(network="instagram", handle="mschmidt"),
        [MARIA],
        [],
        Outcome.NONE,
        set(),
    ),
    "a handle and an order of theirs": (
        Author(network="x", handle="mschmidt"),
        [MARIA.model_copy(update={"order_numbers": ("SO-10002",)})],
        [named(EntityType.ORDER_NUMBER, "SO-10002")],
        Outcome.LINK,
        {K.HANDLE, K.ORDER_NUMBER},
    ),
    "a handle and a postcode of theirs": (
        Author(network="x", handle="mschmidt"),
        [MARIA.model_copy(update={"postcodes": ("D-10115",)})],
        [named(EntityType.POSTCODE, "10115")],
        Outcome.LINK,
        {K.HANDLE, K.POSTCODE_MENTIONED},
    ),
    "a handle and another postcode": (
        Author(network="x", handle="mschmidt"),
        [MARIA.model_copy(update={"postcodes": ("10115",)})],
        [named(EntityType.POSTCODE, "10117")],
        Outcome.REVIEW,
        {K.HANDLE},
    ),
    "an order number and a postcode, which anybody can type": (
        Author(network="x", native_id="5", handle="kim"),
        [MARIA.model_copy(update={"order_numbers": ("SO-10002",), "postcodes": ("SW1A 1AA",)})],
        [named(EntityType.ORDER_NUMBER, "SO-10002"), named(EntityType.POSTCODE, "sw1a1aa")],
        Outcome.REVIEW,
        {K.ORDER_NUMBER, K.POSTCODE_MENTIONED},
    ),
    "a postcode alone is nobody's": (
        Author(network="x", native_id="5", handle="kim"),
        [MARIA.model_copy(update={"postcodes": ("SW1A 1AA",)})],
        [named(EntityType.POSTCODE, "SW1A 1AA")],
        Outcome.NONE,
        set(),
    ),
    "an order number is not enough": (
        Author(network="x", native_id="5", handle="kim"),
        [MARIA.model_copy(update={"order_numbers": ("SO-10002",)})],
        [named(EntityType.ORDER_NUMBER, "SO-10002")],
        Outcome.REVIEW,
        {K.ORDER_NUMBER},
    ),
    "what anybody can type is not enough, however much": (
        Author(network="x", native_id="5", handle="kim"),
        [MARIA.model_copy(update={"order_numbers": ("SO-10002",)})],
        [
            named(EntityType.ORDER_NUMBER, "SO-10002"),
            named(EntityType.EMAIL, "maria.schmidt@example.com"),
            named(EntityType.PHONE, "+493023125101"),
        ],
        Outcome.REVIEW,
        {K.ORDER_NUMBER, K.EMAIL_MENTIONED, K.PHONE_MENTIONED},
    ),
    "the digits of an order": (
        Author(network="x", handle="mschmidt"),
        [MARIA.model_copy(update={"order_numbers": ("SO-10002",)})],
        [named(EntityType.ORDER_NUMBER, "10002")],
        Outcome.LINK,
        {K.HANDLE, K.ORDER_NUMBER},
    ),
    "a name is not even worth a review": (
        Author(network="x", native_id="5", display_name="maria SCHMIDT 🌻"),
        [MARIA],
        [],
        Outcome.NONE,
        {K.NAME},
    ),
    "a handle that has changed its owner": (
        TWEET.model_copy(update={"native_id": "777"}),
        [MARIA],
        [],
        Outcome.NONE,
        {K.HANDLE_CHANGED_OWNER},
    ),
    "a handle that has changed its owner, with the right e-mail": (
        TWEET.model_copy(update={"native_id": "777", "emails": MARIA.emails}),
        [MARIA],
        [],
        Outcome.REVIEW,
        {K.HANDLE_CHANGED_OWNER, K.EMAIL},
    ),
    "empty identifiers match nothing": (
        Author(network="x", native_id=" ", handle="@", emails=("",), external_ids={"a": " "}),
        [Known(ref=contact("9"), handles=(Handle(network="x", handle="@", native_id=""),))],
        [],
        Outcome.NONE,
        set(),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_decided(name: str) -> None:
    author, known, mentioned, outcome, kinds = CASES[name]
    candidates, decision = resolved(author, known, *mentioned)
    assert decision.outcome is outcome, decision
    assert {e.kind for c in candidates for e in c.evidence} == kinds
    assert decision.why


def test_a_handle_that_has_changed_its_owner_is_reviewed_however_much_agrees() -> None:
    asked = TWEET.model_copy(
        update={"native_id": "777", "emails": MARIA.emails, "phones": MARIA.phones}
    )
    candidates, decision = resolved(asked, [MARIA])
    assert candidates[0].score > AutoRules().link_from
    assert decision.outcome is Outcome.REVIEW
    assert "changed its owner" in decision.why


def test_an_agents_word_decides() -> None:
    asked = Author(network="x", native_id="5", handle="kim")
    candidates, decision = resolved(asked, [MARIA], said_by_agent=[str(MARIA.ref)])
    assert decision.outcome is Outcome.LINK
    assert candidates[0].basis is Basis.AGENT
    _, decision = resolved(
        asked, [Known(person_id="per_1", ref=contact("1"))], said_by_agent=["per_1"]
    )
    assert decision.outcome is Outcome.LINK


def test_national_numbers_need_a_region() -> None:
    asked = Author(network="zendesk", phones=("030 23125 101",))
    assert resolved(asked, [MARIA])[1].outcome is Outcome.NONE
    assert resolved(asked, [MARIA], regions=("DE",))[1].outcome is Outcome.LINK


def in_country(country: str | None) -> Known:
    return Known(ref=contact("1"), phones=("0664 1234567",), country=country)


def test_a_number_of_another_country_is_nobodys() -> None:
    asked = Author(network="zendesk", phones=("+49 664 1234567",))
    assert resolved(asked, [in_country("AT")], regions=("DE", "AT"))[1].outcome is Outcome.NONE
    assert resolved(asked, [in_country("DE")], regions=("AT",))[1].outcome is Outcome.LINK


@pytest.mark.parametrize("written", ["0664 1234567", "+49 664 1234567"])
def test_a_number_that_may_be_of_several_countries_links_nobody_alone(written: str) -> None:
    asked = Author(network="zendesk", phones=(written,))
    candidates, decision = resolved(asked, [in_country(None)], regions=("DE", "AT"))
    assert decision.outcome is Outcome.REVIEW
    (evidence,) = candidates[0].evidence
    assert "if it is of the same country" in evidence.detail
    assert resolved(asked, [in_country(None)], regions=("DE",))[1].outcome is Outcome.LINK


@pytest.mark.parametrize(
    ("handle", "bits"), [("abcdefg", 10.0), ("abcdef", 7.5), ("abcde", 7.5), ("abcd", 5.5)]
)
def test_short_handles_say_less(handle: str, bits: float) -> None:
    known = Known(ref=contact("1"), handles=(Handle(network="x", handle=handle),))
    (candidate,) = score(Author(network="x", handle=handle), (), [known])
    assert candidate.score == bits


@pytest.mark.parametrize(
    ("code", "bits"), [("10115", 6.0), ("SW1A 1AA", 10.0), ("1012 AB", 10.0), ("E1 6AN", 10.0)]
)
def test_the_code_of_a_town_says_less_than_that_of_a_street(code: str, bits: float) -> None:
    known = MARIA.model_copy(update={"postcodes": (code,)})
    (candidate,) = score(
        Author(network="x", handle="mschmidt"), (named(EntityType.POSTCODE, code),), [known]
    )
    (said,) = [e for e in candidate.evidence if e.kind is K.POSTCODE_MENTIONED]
    assert (said.weight, candidate.score) == (bits, 10 + bits)
    assert code not in said.detail


# One person in several systems, and several persons at one address.

ERP_MARIA = Known(
    ref=account("C-1001"),
    emails=("maria.schmidt@example.com",),
    external_ids={"customer_number": "C-1001"},
    name="Schmidt Floristik GmbH",
)


def test_records_with_one_id_in_a_third_system_are_one() -> None:
    candidates, decision = resolved(MAIL, [MARIA, ERP_MARIA])
    assert decision.outcome is Outcome.LINK
    assert [c.refs for c in candidates] == [(contact("1"), account("C-1001"))]
    assert EvidenceKind.SHARED not in {e.kind for e in candidates[0].evidence}


def test_records_with_one_name_and_one_address_are_one() -> None:
    erp = Known(ref=account("7"), emails=MARIA.emails, name="MARIA  SCHMIDT")
    assert resolved(MAIL, [MARIA, erp])[1].outcome is Outcome.LINK


def test_a_contact_and_its_account_are_one() -> None:
    one = MARIA.model_copy(update={"account": account("A", "crm"), "external_ids": {}})
    firm = Known(ref=account("A", "crm"), emails=MARIA.emails, name="Blumen GmbH")
    candidates, decision = resolved(MAIL, [one, firm])
    assert decision.outcome is Outcome.LINK
    assert len(candidates) == 1


def test_colleagues_of_one_account_stay_apart() -> None:
    firm = account("A", "crm")
    buyers = [
        Known(ref=contact("1"), emails=("info@example.com",), name="Kim Doe", account=firm),
        Known(ref=contact("2"), emails=("info@example.com",), name="Lee Roe", account=firm),
    ]
    asked = Author(network="zendesk", emails=("info@example.com",))
    candidates, decision = resolved(asked, [*buyers, Known(ref=firm, name="Firm")])
    assert decision.outcome is Outcome.REVIEW
    assert "share" in decision.why
    assert [c.refs for c in candidates] == [(contact("1"),), (contact("2"),)]
    assert all(K.SHARED in {e.kind for e in c.evidence} for c in candidates)


def couple() -> list[Known]:
    """Two people with one mailbox and one phone, each in the CRM and in the ERP."""
    shared = {"emails": ("home@example.com",), "phones": ("+493023125103",)}
    found = []
    for number, name in (("C-1003", "Anna Berg"), ("C-1004", "Bernd Berg")):
        ids = {"customer_number": number}
        found += [
            Known(ref=ref, name=name, external_ids=ids, **shared)
            for ref in (contact(number), account(number))
        ]
    return found


HOME = Author(network="zendesk", emails=("home@example.com",))


def test_a_couple_with_one_mailbox_is_for_a_person_to_tell_apart() -> None:
    candidates, decision = resolved(HOME, couple())
    assert decision.outcome is Outcome.REVIEW
    assert decision.margin == 0
    assert [len(c.refs) for c in candidates] == [2, 2]


def test_an_order_of_one_of_them_is_still_for_a_person() -> None:
    known = couple()
    known[2] = known[2].model_copy(update={"order_numbers": ("SO-10007",)})
    candidates, decision = resolved(HOME, known, named(EntityType.ORDER_NUMBER, "SO-10007"))
    assert decision.outcome is Outcome.REVIEW
    assert candidates[0].refs == (contact("C-1004"), account("C-1004"))
    other = {e.kind: e for e in candidates[1].evidence}
    assert other[K.ORDER_OF_SOMEBODY_ELSE].weight < 0


def test_an_id_that_only_one_of_them_bears_decides() -> None:
    asked = HOME.model_copy(update={"external_ids": {"customer_number": "C-1004"}})
    candidates, decision = resolved(asked, couple())
    assert decision.outcome is Outcome.LINK
    assert candidates[0].refs[0] == contact("C-1004")


def test_a_number_of_many_takes_nothing_from_an_address_of_one() -> None:
    switchboard = "+493023125100"
    staff = [
        Known(ref=contact(str(n)), emails=(f"s{n}@example.com",), phones=(switchboard,))
        for n in range(3)
    ]
    asked = Author(network="zendesk", emails=("s2@example.com",), phones=(switchboard,))
    candidates, decision = resolved(asked, staff)
    assert decision.outcome is Outcome.LINK
    assert candidates[0].refs == (contact("2"),)
    assert K.SHARED not in {e.kind for e in candidates[0].evidence}
    assert all(K.SHARED in {e.kind for e in c.evidence} for c in candidates[1:])


@pytest.mark.parametrize(
    ("address", "name", "known", "phones", "outcome"),
    [
        ("info@example.com", "Otto Other", contact("1"), (), Outcome.REVIEW),
        ("no-reply@example.com", None, contact("1"), (), Outcome.REVIEW),
        ("info@example.com", "Owner, Ines", contact("1"), (), Outcome.LINK),
        ("info@example.com", "Otto Other", account("1"), (), Outcome.LINK),
        ("ines@example.com", "Otto Other", contact("1"), (), Outcome.LINK),
        ("info@example.com", None, contact("1"), ("+493023125101",), Outcome.LINK),
    ],
)
def test_a_mailbox_of_many_names_nobody(
    address: str, name: str | None, known: Ref, phones: tuple[str, ...], outcome: Outcome
) -> None:
    ines = Known(ref=known, name="Ines Owner", emails=(address,), phones=("+493023125101",))
    asked = Author(network="zendesk", emails=(address,), phones=phones, display_name=name)
    candidates, decision = resolved(asked, [ines])
    assert decision.outcome is outcome
    assert (K.SHARED in {e.kind for e in candidates[0].evidence}) is (outcome is Outcome.REVIEW)


def test_a_mailbox_and_a_number_of_many_name_nobody() -> None:
    switchboard = ("+493023125100",)
    staff = [
        Known(ref=contact("1"), emails=("info@example.com",), phones=switchboard),
        Known(ref=contact("2"), emails=("two@example.com",), phones=switchboard),
    ]
    asked = Author(network="zendesk", emails=("info@example.com",), phones=switchboard)
    assert resolved(asked, staff)[1].outcome is Outcome.REVIEW


def test_two_people_of_one_name_stay_apart() -> None:
    other = Known(ref=contact("2"), emails=("m.schmidt@example.net",), name="Maria Schmidt")
    asked = MAIL.model_copy(update={"display_name": "Maria Schmidt"})
    candidates, decision = resolved(asked, [MARIA, other])
    assert len(candidates) == 2
    assert (decision.outcome, decision.candidate) == (Outcome.LINK, candidates[0])
    assert candidates[0].refs == (contact("1"),)


def test_two_persons_of_the_hub_are_never_put_together() -> None:
    known = [
        MARIA.model_copy(update={"person_id": "per_1"}),
        ERP_MARIA.model_copy(update={"person_id": "per_2"}),
    ]
    candidates, decision = resolved(MAIL, known)
    assert [c.person_id for c in candidates] == ["per_1", "per_2"]
    assert decision.outcome is Outcome.REVIEW


def test_a_record_without_a_person_joins_the_person() -> None:
    known = [ERP_MARIA, MARIA.model_copy(update={"person_id": "per_1"})]
    candidates, decision = resolved(MAIL, known)
    assert decision.outcome is Outcome.LINK
    assert (candidates[0].person_id, len(candidates[0].refs)) == ("per_1", 2)


def test_two_records_of_one_system_are_two() -> None:
    twin = MARIA.model_copy(update={"ref": contact("1b")})
    assert resolved(MAIL, [MARIA, twin])[1].outcome is Outcome.REVIEW


def test_somebody_who_names_an_order_of_another_is_still_known_by_the_address() -> None:
    other = Known(ref=contact("5"), name="Lee Roe", order_numbers=("SO-10009",))
    candidates, decision = resolved(
        MAIL, [other, MARIA], named(EntityType.ORDER_NUMBER, "SO-10009")
    )
    assert decision.outcome is Outcome.LINK
    assert candidates[0].refs == (contact("1"),)
    assert K.ORDER_OF_SOMEBODY_ELSE in {e.kind for e in candidates[0].evidence}


# Rules.


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        (AutoRules(), Outcome.LINK),
        (AutoRules(enabled=False), Outcome.REVIEW),
        (AutoRules(link_from=21), Outcome.REVIEW),
        (AutoRules(review_from=21, link_from=30), Outcome.NONE),
    ],
)
def test_the_operator_decides_how_far_links_go_by_themselves(
    rules: AutoRules, outcome: Outcome
) -> None:
    assert decide(score(MAIL, (), [MARIA]), auto=rules).outcome is outcome


def test_likeness_links_only_where_it_is_allowed() -> None:
    asked = Author(network="x", native_id="5", display_name="Maria Schmidt")
    low = {"link_from": 3.0, "review_from": 1.0}
    candidates = score(asked, (), [MARIA])
    assert candidates[0].basis is Basis.INFERRED
    assert decide(candidates, auto=AutoRules(**low)).outcome is Outcome.REVIEW
    assert decide(candidates, auto=AutoRules(**low, inferred=True)).outcome is Outcome.LINK


def test_a_close_second_is_a_doubt() -> None:
    other = Known(ref=contact("2"), handles=(Handle(network="x", native_id="2244994999"),))
    asked = TWEET.model_copy(update={"emails": MARIA.emails})
    mine = MARIA.model_copy(update={"handles": ()})
    decision = resolved(asked, [mine, other])[1]
    assert decision.outcome is Outcome.REVIEW
    assert decision.margin == WEIGHTS[K.NATIVE_ID].bits - WEIGHTS[K.EMAIL].bits


def test_details_hold_no_whole_address_or_number() -> None:
    asked = Author(
        network="whatsapp",
        native_id="493023125101",
        handle="mschmidt",
        emails=MARIA.emails,
        external_ids={"customer_number": "C-1001"},
    )
    text = score(asked, (), [MARIA])[0].model_dump_json()
    for secret in ("maria.schmidt@", "23125", "C-1001", "mschmidt"):
        assert secret not in text.lower()


def test_a_mailbox_of_many_takes_no_longer() -> None:
    many = [
        Known(ref=contact(str(n)), emails=("info@example.com",), name=f"Kim {n % 50}")
        for n in range(400)
    ]
    asked = Author(network="zendesk", emails=("info@example.com",))
    begin = time.process_time()
    _, decision = resolved(asked, many)
    assert decision.outcome is Outcome.REVIEW
    assert time.process_time() - begin < 2


PEOPLE = st.lists(
    st.builds(
        Known,
        person_id=st.sampled_from([None, None, "per_1", "per_2"]),
        ref=st.builds(
            Ref,
            connection=st.sampled_from(["crm", "erp"]),
            kind=st.sampled_from([Kind.CONTACT, Kind.ACCOUNT]),
            id=st.sampled_from(["1", "2", "3"]),
        ),
        emails=st.lists(
            st.sampled_from(["a@example.com", "a+x@example.com", "b@example.com"]), max_size=2
        ).map(tuple),
        handles=st.lists(
            st.builds(
                Handle,
                network=st.just("x"),
                handle=st.sampled_from([None, "kim", "Lee"]),
                native_id=st.sampled_from([None, "1", "2"]),
            ),
            max_size=2,
        ).map(tuple),
        external_ids=st.dictionaries(st.just("n"), st.sampled_from(["1", "2"])),
        name=st.sampled_from([None, "Kim", "Lee"]),
        order_numbers=st.lists(st.just("SO-1000"), max_size=1).map(tuple),
    ),
    max_size=6,
)
ASKERS = st.builds(
    Author,
    network=st.sampled_from(["x", "email"]),
    native_id=st.sampled_from([None, "1", "a@example.com"]),
    handle=st.sampled_from([None, "@Kim", "lee"]),
    display_name=st.sampled_from([None, "kim"]),
    emails=st.lists(st.sampled_from(["A@example.com", "b+y@example.com"]), max_size=2).map(tuple),
    external_ids=st.dictionaries(st.just("n"), st.sampled_from(["1", "2"])),
)


@given(ASKERS, PEOPLE, st.randoms())
def test_scores_add_up_and_order_does_not_matter(
    asker: Author, known: list[Known], chance: random.Random
) -> None:
    mentioned = [named(EntityType.ORDER_NUMBER, "SO-1000")]
    candidates = score(asker, mentioned, known)
    for candidate in candidates:
        assert candidate.score == pytest.approx(sum(e.weight for e in candidate.evidence))
    assert [c.score for c in candidates] == sorted((c.score for c in candidates), reverse=True)
    refs = [ref for c in candidates for ref in c.refs if c.person_id is None]
    assert len(refs) == len(set(refs)), "a record is in one candidate"
    persons = [c.person_id for c in candidates if c.person_id]
    assert len(persons) == len(set(persons))
    decision = decide(candidates, auto=AutoRules())
    if decision.outcome is Outcome.LINK:
        assert decision.candidate is not None
        assert decision.candidate.basis is not Basis.INFERRED
        assert K.HANDLE_CHANGED_OWNER not in {e.kind for e in decision.candidate.evidence}
    chance.shuffle(candidates)
    assert decide(candidates, auto=AutoRules()).outcome is decision.outcome
