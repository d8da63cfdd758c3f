"""Sessions shown without their names, days and order, so that nobody judges by what they hope for.

Blinding and unblinding are lines of ``edits.jsonl``, with who and when; the seed of the order stands in the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from analysis.edits import Edit, EditKind

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class BlindOrder:
    """The order in which sessions are shown while blind: it follows from the seed and the names alone.

    Parameters
    ----------
    seed
        Kept in the file of decisions.
    sessions
        Names of the sessions, in the order of time.

    Examples
    --------
    >>> order = BlindOrder(3, ("monday", "friday", "sunday"))
    >>> sorted(order.order), order.label(order.order[0])
    ([0, 1, 2], 'A')
    """

    seed: int
    sessions: tuple[str, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """Numbers of the sessions as they are shown, first to last."""
        return tuple(sorted(range(len(self.sessions)), key=lambda number: self._key(self.sessions[number])))

    def label(self, session: int) -> str:
        """Return what a session is called: A, B, ... from the top."""
        place = self.order.index(session)
        turns, letter = divmod(place, len(ALPHABET))
        return ALPHABET[letter] * (turns + 1)

    def _key(self, session: str) -> bytes:
        return blake2b(f"{self.seed}:{session}".encode(), digest_size=16).digest()


def blind_order(edits: Iterable[Edit], who: str, sessions: Sequence[str], *, second: bool = False) -> BlindOrder | None:
    """Return the order in which a rater sees the sessions; None when the rater is not blind."""
    seed = None
    for edit in edits:
        if edit.who == who and edit.second == second and edit.kind in {EditKind.BLIND, EditKind.UNBLIND}:
            seed = edit.seed if edit.kind is EditKind.BLIND else None
    return None if seed is None else BlindOrder(seed, tuple(sessions))
