"""Shuffle sharding: which queues a flow may use.

Every flow has a hand of a few queues, dealt from its hash; two flows rarely have the same hand, so one that
floods its queues leaves others at least one that it does not reach (apiserver ``shufflesharding``).
"""

from __future__ import annotations

import hashlib


def flow_hash(schema: str, flow: str) -> int:
    """64 bits for the flow of a schema."""
    digest = hashlib.sha256(f"{schema}\0{flow}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def deal(hash_value: int, deck: int, hand: int) -> tuple[int, ...]:
    """``hand`` different numbers below ``deck``, every choice of them about as likely as any other."""
    cards: list[int] = []
    for dealt in range(min(hand, deck)):
        hash_value, card = divmod(hash_value, deck - dealt)
        # The card is a number among those that are left: step over the dealt ones below it.
        for earlier in sorted(cards):
            if earlier <= card:
                card += 1
        cards.append(card)
    return tuple(cards)
