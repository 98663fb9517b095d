"""How near texts must be to be about the same thing: what `nearness.NEAR` was chosen by.

Made-up themes that are apart from those of the histories (`tests.histories.texts.THEMES`), which
the pile-ons are measured on. For each threshold: the share of a theme's texts that are near to its
densest one, and the share of everyday texts (those the model's heads were calibrated on) and of
other themes' that are near to it, too. `NEAR` is the first from which fewer than one in a hundred
of either is.

`python -m tests.bench.nearness` prints a table, one line of JSON a threshold. With `--cost sqlite`
or `--cost postgresql` it measures instead what looking costs in a flood: 10,000 texts of an hour
beside 20,000 of the two weeks before, in processor time.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from middleware.domain.bursts import begins, bucket_of
from middleware.flows import incidents, nearness
from middleware.store.database import Database
from middleware.store.tables import ComplaintRow, VectorRow
from middleware.understanding.features import Matrix
from middleware.understanding.model import SHIPPED, load
from middleware.understanding.nearness import ALIKE, NEAR, cosines, middle, packed, unpacked
from middleware.understanding.training.corpus import calibration_sentences, fill
from tests import databases
from tests.flows.conftest import Stage, staged
from tests.flows.test_incidents import calmed

THRESHOLDS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65)
THEMES = {
    "newsletter": (
        "I get twenty newsletters from you since this morning, please stop",
        "your mailing list is out of control, 15 emails in an hour",
        "why do you send me the same promotional mail again and again",
        "unsubscribed twice and your advertising keeps coming",
        "my inbox is full of your marketing, enough!",
        "how do I switch off your newsletter? it arrives every ten minutes",
        "please take me off the mailing list, this is crazy",
        "did your newsletter go mad? hundreds of mails",
    ),
    "points": (
        "all my bonus points are gone from my account",
        "the loyalty points I collected for two years have vanished",
        "my points balance shows zero since yesterday, where did they go",
        "you deleted my rewards points without telling me",
        "what happened to my loyalty card, no points left on it",
        "3000 points yesterday, none today. explain",
        "I want my collected points back on my card",
        "the bonus points of the whole family have expired overnight",
    ),
    "store": (
        "your shop in the city was closed at noon although the sign says open till eight",
        "stood in front of locked doors at your store today, no notice",
        "drove 40 minutes to your branch and it was shut",
        "why is your store closed on a normal Tuesday?",
        "the branch is not open during the hours on your sign",
        "opening hours on the web are wrong, nobody there",
        "came to the shop twice this week and the doors were locked",
        "closed without a word, and I came all the way for nothing",
    ),
    "advert": (
        "your new tv spot makes fun of old people, disgusting",
        "that commercial of yours is offensive",
        "the ad with the grandmother is in really bad taste",
        "who approved this advert? insulting to elderly people",
        "please take this tasteless commercial off the air",
        "saw your spot last night and was shocked, how can you mock the elderly",
        "your advertising is an insult to every grandmother",
        "shame on you for that tv ad",
    ),
    "smell": (
        "the parcel paper stinks of petrol",
        "there is a chemical stench in the box, my whole flat smells",
        "the filling material smells awful, had to open the windows",
        "such a strong smell of solvent when I opened it",
        "headache from the smell of your packaging",
        "is this packaging toxic? it reeks",
        "my living room smells like a petrol station since I opened your box",
        "unbearable odour from the wrapping",
    ),
    "gift cards": (
        "the till refused my gift card although there is money on it",
        "your gift cards don't work in the shop any more",
        "got a gift card for my birthday and can't use it anywhere",
        "why are gift cards not accepted since this week?",
        "the code of my gift card is said to be invalid",
        "your staff said that gift cards can't be redeemed at the moment",
        "50 euros on a gift card and nobody takes it",
        "is there a problem with the gift cards? mine is declined",
    ),
}


def main() -> int:
    if sys.argv[1:2] == ["--cost"]:
        print(json.dumps(cost(sys.argv[2])))
        return 0
    model = load(SHIPPED)
    dice = random.Random(1)
    everyday = [fill(row.text, dice) for row in calibration_sentences()]
    common = unpacked(packed(model.encoder.encode(everyday)))
    themes = {
        name: unpacked(packed(model.encoder.encode([_told(dice, text) for text in texts])))
        for name, texts in THEMES.items()
    }
    for threshold in THRESHOLDS:
        shares, ordinary, others = [], [], []
        for name, vectors in themes.items():
            near = cosines(vectors, vectors) >= threshold
            densest = vectors[[int(near.sum(axis=1).argmax())]]
            rest = np.concatenate([v for other, v in themes.items() if other != name])
            shares.append(float((cosines(densest, vectors) >= threshold).mean()))
            ordinary.append(float((cosines(densest, common) >= threshold).mean()))
            others.append(float((cosines(densest, rest) >= threshold).mean()))
        figures = {
            "threshold": threshold,
            "of_the_theme": round(statistics.mean(shares), 3),
            "of_the_theme_least": round(min(shares), 3),
            "of_everyday_texts": round(statistics.mean(ordinary), 4),
            "of_other_themes": round(statistics.mean(others), 4),
        }
        print(json.dumps(figures))
    print(json.dumps(_middles(themes)))
    return 0


def _middles(themes: dict[str, Matrix]) -> dict[str, Any]:
    """The cosines of the middles of two neighbourhoods: of one theme, round texts that are not near
    to each other, and of two themes. `ALIKE` is beyond all of the latter."""
    of_one, of_two = [], []
    places = [(name, n) for name, vectors in themes.items() for n in range(len(vectors))]
    around = {
        (name, n): themes[name][near[n]]
        for name in themes
        for near in [cosines(themes[name], themes[name]) >= NEAR]
        for n in range(len(near))
    }
    for one, other in itertools.combinations(places, 2):
        if min(len(around[one]), len(around[other])) < 2:
            continue
        between = unpacked([middle(around[one]), middle(around[other])])
        cosine = float(between[0] @ between[1])
        if one[0] != other[0]:
            of_two.append(cosine)
        elif float(themes[one[0]][one[1]] @ themes[one[0]][other[1]]) < NEAR:
            of_one.append(cosine)
    return {
        "middles_of_one_theme": [round(n, 2) for n in statistics.quantiles(of_one, n=4)],
        "middles_of_two_themes_most": round(max(of_two), 2),
        "told_to_be_one": round(statistics.mean(n >= ALIKE for n in of_one), 2),
    }


def _told(dice: random.Random, text: str) -> str:
    """As somebody would post it: with something before and after it, or not."""
    before = dice.choice(("", "", "Hey @shop, ", "Seriously?? ", "Not happy: ", "Ugh, "))
    after = dice.choice(("", "", " Never again.", " Please advise.", " 😡", " What now?"))
    return f"{before}{text}{after}"


FLOOD, BEFORE, TOPICS = 10_000, 20_000, 3_000


def cost(database: str) -> dict[str, Any]:
    """Looks at a flood of which one topic bursts, until all of it is seen."""
    dice = np.random.default_rng(1)
    topics = dice.normal(size=(TOPICS, 384))
    which = np.concatenate([dice.integers(1, TOPICS, BEFORE), dice.integers(0, TOPICS, FLOOD)])
    which[BEFORE:][dice.random(FLOOD) < 0.7] = 0
    vectors = packed((topics[which] + 0.8 * dice.normal(size=(len(which), 384))).astype("f4"))
    with tempfile.TemporaryDirectory() as folder:
        url = databases.migrated(database, Path(folder))
        opened = Database(url)
        try:
            with staged(opened) as stage:
                return _looked(stage, vectors)
        finally:
            opened.close()
            databases.drop(url)


def _looked(stage: Stage, vectors: list[bytes]) -> dict[str, Any]:
    stage = calmed(stage)
    here = bucket_of(stage.time())
    complaints, kept = [], []
    for n, vector in enumerate(vectors):
        flood = n >= BEFORE
        bucket = here - n % 3 if flood else here - 100 - n % 3900
        at = begins(bucket)
        complaints.append(
            {
                "id": f"cmp_{n:06}",
                "connection": "desk",
                "conversation": f"c{n}",
                "network": "x",
                "state": "open",
                "opened_at": at,
                "updated_at": at,
            }
        )
        kept.append(
            {
                "complaint_id": f"cmp_{n:06}",
                "bucket": bucket,
                "who": f"w{n}",
                "reach": 0,
                "encoder": "e@1",
                "vector": vector,
                "unread": flood,
            }
        )
    with stage.hub.database.begin() as uow:
        connection = uow.session.connection()
        for first in range(0, len(complaints), 500):
            rows = [ComplaintRow(**row).model_dump() for row in complaints[first : first + 500]]
            connection.execute(sa.insert(ComplaintRow), rows)
            connection.execute(sa.insert(VectorRow), kept[first : first + 500])
    looks = []
    while True:
        began = time.process_time()
        crowds = nearness.look(stage.hub, stage.time())
        for crowd in crowds.found:
            incidents._answer_for_crowd(stage.hub, crowd, stage.time())
        with stage.hub.database.begin() as uow:
            uow.vectors.mark_read(crowds.seen)
        if not crowds.seen:
            break
        looks.append(time.process_time() - began)
    with stage.hub.database.read() as uow:
        found = [row.complaints for row in uow.incidents.page(before=None, limit=10)]
    return {
        "looks": len(looks),
        "look_s_most": round(max(looks), 2),
        "ms_per_arrival": round(1000 * sum(looks) / FLOOD, 3),
        "incidents": len(found),
    }


if __name__ == "__main__":
    sys.exit(main())
