"""Likeness: what is compared, what it is worth, what is decided, and the model file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from middleware.contract.canonical import Account, Address, Contact, Handle, Kind, Ref
from middleware.domain.arrivals import Author
from middleware.domain.identity import (
    Basis,
    Candidate,
    Decision,
    Evidence,
    EvidenceKind,
    Outcome,
)
from middleware.domain.likeness import Bearer, Looked
from middleware.resolution import AutoRules, Known, decide, score
from middleware.resolution.compare import PATTERNS, Agreement, Rarity, compare, pattern
from middleware.resolution.fitting import FOLDS, Labelled, calibration, fit, outcomes
from middleware.resolution.likely import Likely, likely, reasons
from middleware.resolution.model import (
    BENDS,
    Model,
    ModelError,
    among,
    commonness,
    posteriors,
    read_model,
    shipped,
    write_model,
)
from middleware.resolution.profiles import asking, key, likeness_of, profile_of, read, word_key

ALLOWED = AutoRules(inferred=True)


def contact(id_: str = "1", name: str = "Kim Wexler", **more: Any) -> Contact:
    ref = Ref(connection="crm", kind=Kind.CONTACT, id=id_)
    return Contact(ref=ref, display_name=name, **more)


def writes(name: str | None = "Kim Wexler", handle: str | None = "kwx", **more: Any) -> Author:
    return Author(network="x", native_id="9", handle=handle, display_name=name, **more)


def index(author: Author, *contacts: Contact, population: int = 100_000, common: int = 3) -> Looked:
    """What an index of many others answers, in which every word of a name is so common."""
    asked = asking(author)
    wanted = {k for k, _ in asked.wanted}
    bearers = []
    counts: dict[int, int] = {}
    for one in contacts:
        likeness = likeness_of(one)
        assert likeness is not None
        if hit := wanted & set(likeness.keys):
            where = (one.ref.connection, one.ref.kind.value, one.ref.id)
            bearers.append(Bearer(*where, likeness.profile))
            for k in hit:
                counts[k] = counts.get(k, 0) + 1
    return Looked(population, tuple(bearers), counts, dict.fromkeys(asked.words, common))


def decided(author: Author, looked: Looked) -> tuple[list[Candidate], Decision, Likely]:
    found = likely(asking(author), looked, shipped())
    known = [Known(ref=one.ref) for one in found.nearest]
    candidates = score(author, (), known, likely=found)
    return candidates, decide(candidates, auto=ALLOWED), found


LEVELS: dict[str, tuple[Author, Contact, dict[str, str]]] = {
    "the same name": (writes(), contact(), {"name": "same"}),
    "the other way round": (writes("Wexler, Kim"), contact(), {"name": "same"}),
    "family name first": (writes("Wexler Kim"), contact(), {"name": "same"}),
    "a middle name more": (writes("Kim Louise Wexler"), contact(), {"name": "within"}),
    "in one word": (writes("kimwexler", "kw"), contact(), {"name": "joined"}),
    "a short form": (
        writes("Bob Wexler"),
        contact(name="Robert Wexler"),
        {"name": "short", "handle_in_name": "none"},
    ),
    "a slip": (writes("Kim Wexelr"), contact(), {"name": "misspelt", "handle_in_name": "none"}),
    "an initial": (writes("K Wexler"), contact(), {"name": "initial", "handle_in_name": "none"}),
    "one word, and the rest in the handle": (
        writes("Kim", "kim_wexler"),
        contact(),
        {"name": "single", "handle_in_name": "whole"},
    ),
    "the family in the same town": (
        writes("Ada Wexler", location="Vienna"),
        contact(address=Address(city="Wien")),
        {"name": "family", "handle_in_name": "none", "place": "same_town"},
    ),
    "another script": (writes("Иван Петров"), contact(name="Ivan Petrov"), {"name": "same"}),
    "a script without blanks": (
        writes("王小明"),
        contact(name="Xiaoming Wang"),
        {"name": "joined"},
    ),
    "a script without blanks on file, family name apart": (
        writes("Wang Xiaoming"),
        Contact(ref=contact().ref, given_name="小明", family_name="王"),
        {"name": "joined"},
    ),
    "a name of two words in one": (
        writes("Anna Lena Berg"),
        contact(name="Annalena Berg"),
        {"name": "joined"},
    ),
    "the handle is the name": (writes(None, "kimwexler"), contact(), {"handle_in_name": "whole"}),
    "the handle has the name in it": (
        writes(None, "therealkimwexler"),
        contact(),
        {"handle_in_name": "affixed"},
    ),
    "the handle elsewhere": (
        writes(None, "zorblax"),
        contact(handles=(Handle(network="github", handle="Zorblax"),)),
        {"other_handle": "exact_long", "handle_in_name": "none"},
    ),
    "a short form that a handle made of the name spells too": (
        writes("Bob Wexler", "robertwexler"),
        contact(name="Robert Wexler", handles=(Handle(network="github", handle="robertwexler"),)),
        {
            "name": "short",
            "handle_in_name": "whole",
            "other_handle_of_namesake": "exact_of_name",
        },
    ),
    "a namesake's handle": (
        writes(handle="kimwexler"),
        contact(handles=(Handle(network="github", handle="kimwexler"),)),
        {"name": "same", "other_handle_of_namesake": "exact_of_name"},
    ),
    "a namesake's handle that has nothing to do with the name": (
        writes(handle="zorbl"),
        contact(handles=(Handle(network="github", handle="zorbl"),)),
        {"name": "same", "other_handle_of_namesake": "exact_middle"},
    ),
    "a short handle elsewhere": (
        writes(handle="zo1"),
        contact(handles=(Handle(network="github", handle="zo1"),)),
        {"name": "same", "other_handle_of_namesake": "exact_short"},
    ),
    "the given name as a handle": (
        writes("Marina Wexler", "marina"),
        contact(name="Marina Wexler", handles=(Handle(network="github", handle="marina"),)),
        {"name": "same", "other_handle_of_namesake": "exact_of_name"},
    ),
    "other digits behind a handle": (
        writes(handle="zorblax7"),
        contact(handles=(Handle(network="github", handle="zorblax99"),)),
        {"name": "same", "other_handle_of_namesake": "letters"},
    ),
    "other digits behind the name": (
        writes(handle="kimwexler7"),
        contact(handles=(Handle(network="github", handle="kimwexler99"),)),
        {"name": "same", "other_handle_of_namesake": "letters_of_name"},
    ),
    "a handle in a handle": (
        writes(handle="zorblax"),
        contact(handles=(Handle(network="github", handle="mezorblaxo"),)),
        {"name": "same", "other_handle_of_namesake": "contained"},
    ),
    "the name in both handles": (
        writes(handle="kimwexler"),
        contact(handles=(Handle(network="github", handle="kimwexlerdraws"),)),
        {"name": "same", "other_handle_of_namesake": "contained_of_name"},
    ),
    "the town": (
        writes(location="Wien"),
        contact(address=Address(city="Vienna", country="AT")),
        {"name": "same", "place": "same_town"},
    ),
    "another country": (
        writes(location="Berlin, Germany"),
        contact(address=Address(city="Boston", country="US")),
        {"name": "same", "place": "other_country"},
    ),
    "a link in the bio": (
        writes(bio="code at github.com/zorb"),
        contact(handles=(Handle(network="github", handle="zorb"),)),
        {"name": "same", "profile_link": "same", "other_handle_of_namesake": "different"},
    ),
    "their own domain": (
        writes(url="https://blog.wexler.dev"),
        contact(emails=("me@wexler.dev",)),
        {"name": "same", "site": "same"},
    ),
}


@pytest.mark.parametrize("case", LEVELS)
def test_compared(case: str) -> None:
    author, filed, expected = LEVELS[case]
    looked = index(author, filed)
    assert looked.bearers, "blocking leads to it"
    found = compare(asking(author), read(looked.bearers[0].profile), Rarity.of(looked))
    assert {a.comparison: a.level for a in found} == expected


def test_what_is_stored_reads_back() -> None:
    filed = contact(
        handles=(Handle(network="GitHub", handle="@Kim_W"),),
        emails=("kim.wexler@wexler.dev",),
        address=Address(city="Wien", country="AT", postal_code="1010"),
    )
    likeness = likeness_of(filed)
    assert likeness is not None
    assert read(likeness.profile) == profile_of(filed)
    assert len(set(likeness.keys)) == len(likeness.keys)
    assert set(likeness.names) == {word_key("kim"), word_key("wexler")}
    assert all(-(2**63) <= k < 2**63 for k in likeness.keys)
    assert filed.display_name == "Kim Wexler"


def test_an_account_is_found_by_its_company() -> None:
    ref = Ref(connection="erp", kind=Kind.ACCOUNT, id="7")
    likeness = likeness_of(Account(ref=ref, name="Wexler Legal, Inc."))
    assert likeness is not None
    assert key("company", "wexler legal") in likeness.keys
    assert likeness_of(Account(ref=ref)) is None


def test_the_rarer_the_name_the_more_it_says() -> None:
    author = writes()
    scores = []
    for common in (1, 30, 1000, 30_000):
        _, _, found = decided(author, index(author, contact(), common=common))
        scores.append(found.nearest[0].score if found.nearest else -math.inf)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


def test_rarity_counts_the_others_and_takes_few_for_fewer() -> None:
    asked = asking(writes())
    looked = index(writes(), contact(), population=1_000_000, common=1)
    (found,) = compare(asked, read(looked.bearers[0].profile), Rarity.of(looked))
    assert found.expected == pytest.approx(0.5 * 0.5 / 1e6)
    two = index(writes(), contact(), contact("2"), population=1_000_000, common=2)
    (found,) = compare(asked, read(two.bearers[0].profile), Rarity.of(two))
    assert found.expected == pytest.approx(1 + 1.5 * 1.5 / 1e6)


def test_what_rarity_is_worth_follows_the_others_and_not_the_size_of_the_index() -> None:
    model = shipped()
    rare, common = (
        [
            model.prior_bits(n) + model.bits(Agreement("name", "same", expected, n))
            for n in (10_000, 1_000_000)
        ]
        for expected in (1e-3, 2.0)
    )
    assert rare[0] == pytest.approx(rare[1])
    assert common[0] == pytest.approx(common[1])
    assert rare[0] > common[0] + 3


def test_commonness_is_measured_from_bend_to_bend() -> None:
    assert commonness(BENDS[0] / 10) == []
    assert commonness(BENDS[1]) == [pytest.approx(math.log2(BENDS[1] / BENDS[0]))]
    beyond = commonness(4 * BENDS[-1])
    assert len(beyond) == len(BENDS)
    assert beyond[-1] == pytest.approx(2.0)
    assert sum(beyond) == pytest.approx(math.log2(4 * BENDS[-1] / BENDS[0]))


@pytest.mark.parametrize("expected", [1e-7, 1e-5, 2e-4, 3e-4, 1e-2, 0.4, 0.5, 70.0])
def test_bits_fall_with_the_power_of_each_stretch(expected: float) -> None:
    level = next(
        level
        for one in shipped().comparisons
        if one.comparison == "name"
        for level in one.levels
        if level.level == "same"
    )
    assert level.by_rarity is not None
    fallen = sum(p * n for p, n in zip(level.by_rarity.powers, commonness(expected), strict=False))
    bits = math.log2(level.m / level.by_rarity.factor * 1000) - fallen
    assert shipped().bits(Agreement("name", "same", expected, 1000)) == pytest.approx(bits)


def test_what_a_probability_meant_is_kept_by_what_was_compared() -> None:
    body = shipped().model_dump(mode="json")
    body["calibration"] = [{"said": 0, "right": 0}, {"said": 1, "right": 0.5}]
    body["calibration_by"] = {
        "name and place": [{"said": 0, "right": 0.2}, {"said": 1, "right": 1}]
    }
    model = Model.model_validate(body)
    assert model.calibrated(0.5) == model.calibrated(0.5, "name") == pytest.approx(0.25)
    assert model.calibrated(0.5, "name and place") == pytest.approx(0.6)
    name, place = Agreement("name", "same"), Agreement("place", "same_town")
    handle = Agreement("other_handle_of_namesake", "different")
    told = [pattern(some) for some in ([name], [name, place], [name, handle], [place, handle])]
    assert told == [*PATTERNS]


def test_the_more_are_on_file_the_less_likely_before_anything_is_compared() -> None:
    model = shipped()
    assert model.prior_bits(1000) - model.prior_bits(2000) == pytest.approx(1.0)
    assert model.prior_bits(0) == model.prior_bits(1)


def test_a_rare_name_links_and_every_bit_is_accounted_for() -> None:
    author = writes(location="Wien")
    filed = contact(address=Address(city="Vienna", country="AT"))
    candidates, decision, found = decided(author, index(author, filed, common=1))
    assert decision.outcome is Outcome.LINK, decision
    (best,) = candidates
    assert best.score == pytest.approx(sum(e.weight for e in best.evidence), abs=1e-9)
    assert {e.kind for e in best.evidence} == {
        EvidenceKind.NAME,
        EvidenceKind.LOCATION,
        EvidenceKind.PRIOR,
    }
    name = next(e for e in best.evidence if e.kind is EvidenceKind.NAME)
    assert name.compared == "display name with name"
    assert name.rarity is not None
    assert best.score == found.nearest[0].score
    assert best.probability is not None
    assert best.probability >= shipped().thresholds.link


def test_likeness_alone_is_reviewed_where_the_operator_has_not_allowed_it() -> None:
    author = writes(location="Wien")
    filed = contact(address=Address(city="Vienna", country="AT"))
    candidates, _, _ = decided(author, index(author, filed, common=1))
    decision = decide(candidates, auto=AutoRules())
    assert decision.outcome is Outcome.REVIEW
    assert "only likeness" in decision.why
    rules = AutoRules(inferred_networks=frozenset(("twitter",)))
    assert decide(candidates, auto=rules.on("x")).outcome is Outcome.LINK
    assert decide(candidates, auto=rules.on("instagram")).outcome is Outcome.REVIEW


def test_namesakes_are_not_told_apart_by_their_name() -> None:
    author = writes()
    candidates, decision, _ = decided(author, index(author, contact("1"), contact("2"), common=2))
    assert len(candidates) == 2
    assert decision.outcome is not Outcome.LINK
    assert all((c.probability or 0) < 0.9 for c in candidates)


def test_a_handle_alone_links_nobody_by_name() -> None:
    author = writes(None, "kimwexler")
    _, decision, _ = decided(author, index(author, contact(), common=1, population=50))
    assert decision.outcome is not Outcome.LINK


def test_what_likeness_misses_says_nothing_against_an_address() -> None:
    author = writes("Somebody Else", emails=("kim@example.com",), location="Lima")
    filed = contact(emails=("kim@example.com",), address=Address(city="Boston"))
    known = Known(ref=filed.ref, emails=filed.emails, name="Kim Wexler")
    found = likely(asking(author), index(author, filed), shipped())
    (candidate,) = score(author, (), [known], likely=found)
    assert {e.kind for e in candidate.evidence} == {EvidenceKind.EMAIL}
    assert decide([candidate], auto=AutoRules()).outcome is Outcome.LINK


def test_a_handle_that_another_account_had_counts_against() -> None:
    author = writes("Kim Wexler", "kimw")
    known = Known(ref=contact().ref, handles=(Handle(network="x", handle="kimw"),))
    (candidate,) = score(author, (), [known], handle_had_other_owner=True)
    assert [e.kind for e in candidate.evidence] == [EvidenceKind.HANDLE_CHANGED_OWNER]
    assert decide([candidate], auto=ALLOWED).outcome is Outcome.NONE


@given(st.lists(st.floats(min_value=-60, max_value=60), max_size=8))
def test_probabilities_leave_room_for_a_stranger(scores: list[float]) -> None:
    found = posteriors(scores)
    assert all(0 <= p <= 1 for p in found)
    assert sum(found) <= 1 + 1e-9
    if len(scores) == 1:
        assert found[0] == pytest.approx(1 / (1 + 2.0 ** -scores[0]))


# --- the model file --------------------------------------------------------------------------


def test_the_shipped_model_reads_and_was_fitted() -> None:
    model = shipped()
    assert model.fitted.askers > 1000
    assert model.calibrated(0.0) <= model.calibrated(0.5) <= model.calibrated(1.0)


def test_a_model_is_written_as_it_is_read(tmp_path: Path) -> None:
    write_model(shipped(), tmp_path / "m.json")
    assert read_model(tmp_path / "m.json") == shipped()


MISTAKES: dict[str, tuple[list[Any], Any, str]] = {
    "a probability of two": (["comparisons", 0, "levels", 0, "m"], 2, "comparisons.0.levels.0.m"),
    "no such comparison": (["comparisons", 0, "comparison"], "shoes", "there is no comparison"),
    "a level twice": (["comparisons", 0, "levels", 0, "level"], "none", "needs the levels"),
    "thresholds crossed": (["thresholds", "review"], 0.999, "review begins below link"),
    "calibration that falls": (["calibration"], [{"said": 0, "right": 1}, {"said": 1, "right": 0}],
                               "calibration rises"),
    "a format of the past": (["format"], 1, "format"),
    "a format of the future": (["format"], 3, "format"),
    "a pattern that there is not": (["calibration_by"],
                                    {"x": [{"said": 0, "right": 0}, {"said": 1, "right": 1}]},
                                    "there is no pattern 'x'"),
    "a bend too few": (["comparisons", 0, "levels", 0, "by_rarity"],
                       {"factor": 1, "powers": [0.5]}, "comparisons.0.levels.0.by_rarity.powers"),
    "a typo": (["prior", "onfile"], 0.5, "prior.onfile"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_model_is_refused_with_the_place(mistake: str, tmp_path: Path) -> None:
    path, value, says = MISTAKES[mistake]
    body = shipped().model_dump(mode="json")
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    file = tmp_path / "m.json"
    file.write_text(json.dumps(body))
    with pytest.raises(ModelError, match=says.replace(".", r"\.")):
        read_model(file)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        read_model(tmp_path / "none.json")
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ModelError, match="is no JSON"):
        read_model(tmp_path / "m.json")


# --- fitting ---------------------------------------------------------------------------------


def test_fitting_learns_what_the_labels_say() -> None:
    """Namesakes with another place are strangers in these labels, with the same they are not."""
    author = writes(location="Wien")
    here = contact(address=Address(city="Vienna", country="AT"))
    there = contact("2", address=Address(city="Boston", country="US"))
    asked = asking(author)

    def labelled(filed: Contact, truth: int | None) -> Labelled:
        looked = index(author, filed, common=300)
        found = compare(asked, read(looked.bearers[0].profile), Rarity.of(looked))
        return Labelled(looked.population, (tuple(found),), truth)

    labels = [labelled(here, 0)] * 90 + [labelled(there, None)] * 90 + [labelled(here, None)] * 10
    model = fit(labels, shipped(), version="t", note="test")
    (_, same, _), (_, other, _) = outcomes([labels[0], labels[90]], model)
    assert same > 0.8
    assert other < 0.2
    assert model.calibrated(same) == pytest.approx(0.9, abs=0.03)


def test_what_was_said_of_somebody_is_by_a_model_of_the_others() -> None:
    """A level that only those of one fold have says nothing before it is seen in others."""
    author, filed = writes(), contact()
    looked = index(author, filed, common=300)
    found = tuple(compare(asking(author), read(looked.bearers[0].profile), Rarity.of(looked)))

    def labelled(who: int, level: str, truth: int | None) -> Labelled:
        handle = Agreement("other_handle_of_namesake", level)
        return Labelled(looked.population, ((*found, handle),), truth, who=f"{who}")

    levels = ["exact_long", "exact_middle", "letters", "contained", "alike"]
    of_fold = {labelled(who, "alike", 0).fold: who for who in range(50)}
    labels = [
        labelled(of_fold[fold], levels[fold], 0 if fold % 2 else None)
        for fold in range(FOLDS)
        for _ in range(80)
    ]
    together = fit([replace(one, who="") for one in labels], shipped(), version="t", note="")
    apart = fit(labels, shipped(), version="t", note="")
    surest = max(said for _, said, _ in outcomes(labels, together))
    assert together.calibrated(surest) > 0.9
    assert apart.calibrated(surest) < together.calibrated(surest) - 0.1


def test_of_equals_the_right_one_counts_by_its_share() -> None:
    found = (Agreement("name", "same", 0.01, 1000),)
    labels = [Labelled(1000, (found, found), 1), Labelled(1000, (found, found), None)]
    assert [right for _, _, right in outcomes(labels, shipped())] == [0.5, 0.0]


def test_a_point_with_one_wrong_more_than_the_rest_would_say_is_drawn_to_them() -> None:
    seen = [(p, k < p * 1000) for p in (0.5, 0.9, 0.95, 0.999) for k in range(1000)]
    seen += [(0.99, k >= 20) for k in range(1000)]  # ten more are wrong than were to be
    right = {point.said: point.right for point in calibration(seen, 1000)}
    assert 0.981 < right[0.99] < 0.989
    assert 0.99 < right[0.999] < 1


def test_where_more_are_strangers_the_same_evidence_says_less() -> None:
    assert among(0.99, strangers=0.8, counted=0.5) == pytest.approx(0.99 / (0.99 + 4 * 0.01))
    assert among(0.99, strangers=0.2, counted=0.5) == 0.99, "never surer than was counted"
    with pytest.raises(ValueError, match="below one"):
        among(0.99, strangers=1.0, counted=0.5)
    known = Candidate(person_id="P1", refs=(), score=9.0, probability=0.995, evidence=(_named(),))
    bold = ALLOWED.model_copy(update={"strangers": 0.5})
    assert decide([known], auto=bold).outcome is Outcome.LINK
    careful = decide([known], auto=ALLOWED)
    assert careful.outcome is Outcome.REVIEW
    assert "98.0% sure where 80% are strangers" in careful.why


def _named() -> Evidence:
    return Evidence(
        kind=EvidenceKind.NAME, detail="the same name", weight=9.0, basis=Basis.INFERRED
    )


def test_calibration_rises_and_knows_the_shares() -> None:
    seen = [(0.2, k % 5 == 0) for k in range(100)] + [(0.9, k % 10 != 0) for k in range(100)]
    points = calibration(seen)
    right = {point.said: point.right for point in points}
    assert right[0.2] == pytest.approx(0.2, abs=0.01)
    assert right[0.9] == pytest.approx(0.9, abs=0.01)
    assert [p.right for p in points] == sorted(p.right for p in points)


def test_reasons_add_up_to_the_score() -> None:
    author = writes(location="Berlin")
    filed = contact(address=Address(city="Boston", country="US"))
    found = likely(asking(author), index(author, filed, common=1), shipped())
    (one,) = found.nearest
    said = reasons(one, shipped(), found.population)
    assert sum(e.weight for e in said) == pytest.approx(one.score, abs=1e-9)
