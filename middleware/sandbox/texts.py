"""What customers really wrote: sentences from public product reviews, word for word.

From "Sentiment Labelled Sentences" by Dimitrios Kotzias (UCI Machine Learning Repository, 2015,
doi:10.24432/C57604), file amazon_cells_labelled.txt, licensed CC BY 4.0. Nothing was changed; who
writes them in the sandbox is made up.
"""

from __future__ import annotations

BROKE = "After receiving and using the product for just 2 days it broke."

OTHERS = (
    "Plug was the wrong size.",
    "I'm trying to return it for a refund.",
    "The charger arrived within the promised timeframe, but it did not work.",
    "Rip off---- Over charge shipping.",
    "Great product, fast shipping!.",
)
