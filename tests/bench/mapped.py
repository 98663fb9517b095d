"""Sets of others, with what their labels mean in our words; written down before any was looked at.

Measured, never learned from: a class of theirs that has no plain counterpart here is left out. The
files are not part of this repository:

- `tweets_GroundTruth.txt`, `amazonReviewSnippets_GroundTruth.txt`: 4,200 posts and 3,708 snippets
  of reviews, each the mean of twenty people's judgements from -4 to 4 (Hutto & Gilbert 2014), in
  `additional_resources/` of the source distribution of vaderSentiment 0.5 (MIT);
- `banking77/test.csv` (PolyAI, CC BY 4.0): questions to a bank.
"""

from __future__ import annotations

import csv
from pathlib import Path

from middleware.understanding.training.corpus import Row

NEUTRAL_BELOW = 0.5
"""A mean judgement nearer to zero than this is neutral."""

BANKING_REASONS = {
    "transaction_charged_twice": "billing",
    "Refund_not_showing_up": "billing",
    "extra_charge_on_statement": "billing",
    "card_payment_fee_charged": "billing",
    "cash_withdrawal_charge": "billing",
    "transfer_fee_charged": "billing",
    "direct_debit_payment_not_recognised": "billing",
    "card_payment_not_recognised": "billing",
    "card_arrival": "late",
}
BANKING_QUESTIONS = (
    "age_limit",
    "country_support",
    "exchange_via_app",
    "fiat_currency_support",
    "card_acceptance",
    "supported_cards_and_currencies",
    "visa_or_mastercard",
    "apple_pay_or_google_pay",
    "disposable_card_limits",
    "atm_support",
    "top_up_limits",
    "transfer_timing",
)
BANKING_REMEDIES = {"request_refund": "refund"}


def judged_by_people(path: Path) -> list[Row]:
    """A file of Hutto & Gilbert: id, mean judgement, text, with tabs between."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        _, mean, text = line.split("\t", 2)
        value = float(mean)
        tone = "neutral" if abs(value) < NEUTRAL_BELOW else "positive" if value > 0 else "negative"
        rows.append(Row(text.strip(), sentiment=tone))
    return rows


def banking(path: Path) -> list[Row]:
    """The rows of Banking77 whose intent means something here."""
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for one in csv.DictReader(file):
            category, text = one["category"], one["text"]
            if category in BANKING_REASONS:
                rows.append(Row(text, reason=BANKING_REASONS[category]))
            elif category in BANKING_QUESTIONS:
                rows.append(Row(text, intent="question", sentiment="neutral"))
            elif category in BANKING_REMEDIES:
                rows.append(Row(text, remedy=BANKING_REMEDIES[category]))
    return rows
