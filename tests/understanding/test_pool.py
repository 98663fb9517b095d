"""The pool: batches, a bound, a time limit, and what becomes of a text that can't be judged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from middleware.domain.understanding import Band, Intent, Understanding, Vector
from middleware.understanding import Rules, Understands
from middleware.understanding.model import Answer, Model, ModelRefusedError, Read
from middleware.understanding.patterns import PatternRefused
from middleware.understanding.pool import Pooled, PoolLimits
from middleware.understanding.trained import Asked, Trained
from tests.understanding.small import small_model

TEXT = "My lamp arrived broken in a crushed box"


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained(small_model(), Rules())


@pytest.fixture
def pool(trained: Trained) -> Iterator[Pooled]:
    made = Pooled(Rules(), lambda: trained, PoolLimits(timeout_s=30))
    yield made
    made.close()


class Held(Trained):
    """Judges when it is let; remembers how many came together."""

    def __init__(self) -> None:
        super().__init__(small_model(), Rules())
        self.gate = threading.Event()
        self.begun = threading.Event()
        self.sizes: list[int] = []

    def understand_all(
        self, asked: Sequence[Asked], *, between: Callable[[], None] | None = None
    ) -> list[Understanding]:
        self.begun.set()
        self.gate.wait(30)
        self.sizes.append(len(asked))
        return super().understand_all(asked, between=between)


def test_it_answers_as_the_model_does(pool: Pooled, trained: Trained) -> None:
    assert isinstance(pool, Understands)
    said = pool.understand(TEXT, language="en")
    assert said == trained.understand(TEXT, language="en")
    assert said.intent.value is Intent.COMPLAINT
    assert not said.degraded
    assert said.by.startswith("small@000000000000")


def test_texts_that_wait_are_judged_together() -> None:
    held = Held()
    pool = Pooled(Rules(), lambda: held, PoolLimits(batch=4, batch_wait_s=0.05, timeout_s=30))
    first = pool.submit(Asked(TEXT))
    held.begun.wait(30)
    rest = [pool.submit(Asked(f"{TEXT} {n}")) for n in range(7)]
    held.gate.set()
    assert all(f.result(30).intent.value is Intent.COMPLAINT for f in [first, *rest])
    assert held.sizes == [1, 4, 3]
    pool.close()


def test_whoever_waits_too_long_gets_the_rules() -> None:
    held = Held()
    pool = Pooled(Rules(), lambda: held, PoolLimits(timeout_s=0.05))
    said = pool.understand(TEXT, language="en")
    assert said.degraded
    assert said.model_copy(update={"degraded": False}) == Rules().understand(TEXT, language="en")
    held.gate.set()
    pool.close()


def test_a_full_queue_is_not_waited_for() -> None:
    held = Held()
    pool = Pooled(Rules(), lambda: held, PoolLimits(queue=2, batch=1, timeout_s=30))
    waiting = [pool.submit(Asked(TEXT))]
    held.begun.wait(30)
    waiting += [pool.submit(Asked(f"{TEXT} {n}")) for n in range(2)]
    refused = pool.submit(Asked(f"{TEXT} too many"))
    assert refused.done()
    assert refused.result().degraded
    held.gate.set()
    assert not any(f.result(30).degraded for f in waiting)
    pool.close()


def test_one_text_does_not_take_the_others_with_it() -> None:
    class Chokes(Trained):
        def understand_all(
            self, asked: Sequence[Asked], *, between: Callable[[], None] | None = None
        ) -> list[Understanding]:
            if any("choke" in one.text for one in asked):
                raise ValueError("no")
            return super().understand_all(asked, between=between)

    made = Chokes(small_model(), Rules())
    pool = Pooled(Rules(), lambda: made, PoolLimits(batch_wait_s=0.2, timeout_s=30))
    bad, good = pool.submit(Asked("choke on this")), pool.submit(Asked(TEXT))
    assert bad.result(30).degraded
    assert not good.result(30).degraded
    with pytest.raises(PatternRefused):
        pool.understand(TEXT, order_patterns=("(a+)+$",))
    pool.close()


def test_a_refused_model_leaves_the_rules_and_says_why() -> None:
    def refuse() -> Trained:
        raise ModelRefusedError("the sha256 is another one")

    pool = Pooled(Rules(), refuse)
    said = pool.understand(TEXT, language="en")
    assert said.degraded
    assert said.by == "rules/1"
    assert pool.refused == "the sha256 is another one"
    pool.close()


def test_another_language_is_unsure_and_never_a_guess(trained: Trained) -> None:
    for text in (
        "De bestelling is nog steeds niet geleverd en ik wil mijn geld terug",
        "Il pacco non è mai arrivato, voglio il rimborso",
        "商品が壊れていました。交換してください。",
    ):
        said = trained.understand(text)
        judged = (said.intent, said.sentiment, said.reason, said.remedy)
        assert [one.value for one in judged] == [None] * 4
        assert {one.band for one in judged} == {Band.UNSURE}
    german = trained.understand("Die Lampe kam kaputt an, ich möchte mein Geld zurück")
    assert german.by == "rules/1"
    assert german.intent.value is Intent.COMPLAINT


def test_short_texts_and_contradicted_ones_are_not_left_to_themselves() -> None:
    class Sure(Trained):
        def _read(self, model: Model, texts: Sequence[str]) -> list[Read]:
            sure = {"intent": "complaint", "sentiment": "negative", "reason": "late"}
            answers = {
                q: Answer(v, 0.99, Band.AUTO, ((v, 0.99), ("other", 0.01)))
                for q, v in {**sure, "remedy": "none"}.items()
            }
            return [Read(answers, Vector(encoder="sure", values=b"")) for _ in texts]

    made = Sure(small_model(), Rules())
    assert made.understand("broken", language="en").reason.band is Band.SUGGEST
    other = made.understand("the vase arrived smashed to pieces and is broken", language="en")
    assert other.reason.band is Band.SUGGEST
    clear = made.understand("my parcel is two weeks late", language="en")
    assert clear.reason.band is Band.AUTO
    assert clear.reason.evidence
