"""How a spine is marked in a session: a word, a letter and a shape, never a colour alone."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.model import Fate

GAINED_AND_LOST = "gained and lost"
ABSENT = "absent"
PRESENT = "present"
LETTERS = {
    Fate.STABLE.value: "S",
    Fate.GAINED.value: "G",
    Fate.LOST.value: "L",
    Fate.UNSCORABLE.value: "U",
    GAINED_AND_LOST: "GL",
    ABSENT: "x",
    PRESENT: "+",
}


@dataclass(frozen=True)
class SpineMark:
    """How one spine stands in one session.

    Parameters
    ----------
    track_id
        Which spine.
    along_um, across_um
        Where on the straightened dendrite.
    word
        Its fate seen from this session; while blind only whether it is present.
    is_reviewed
        Whether a person decided about it.
    is_filopodium
        By measure or by a person.
    is_selected
        Whether the next key is about it.
    """

    track_id: int
    along_um: float
    across_um: float
    word: str
    is_reviewed: bool
    is_filopodium: bool
    is_selected: bool

    @property
    def letter(self) -> str:
        """The letter beside the mark."""
        return LETTERS[self.word] + ("f" if self.is_filopodium else "") + ("✓" if self.is_reviewed else "")

    @property
    def is_absent(self) -> bool:
        """Whether it marks an empty place."""
        return self.word == ABSENT
