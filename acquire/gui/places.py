"""Where heads lie on straightened dendrites, looked up rather than computed while somebody steps through them."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.followed import AnalysedField, FollowedSpine
from analysis.model import Floats

Head = tuple[float, float, float]


class Places:
    """The places of heads: those of all spines at once, of a new head when it is asked for.

    Parameters
    ----------
    analysed
        The field.
    spines
        Whose heads are looked up now, so that nobody waits for them later.
    """

    def __init__(self, analysed: AnalysedField, spines: Iterable[FollowedSpine]) -> None:
        self._analysed = analysed
        self._known: dict[tuple[int, int, Head], Floats] = {}
        heads: dict[tuple[int, int], list[Head]] = {}
        for spine in spines:
            for session, head in spine.heads.items():
                heads.setdefault((spine.dendrite, session), []).append(head)
        for (dendrite, session), some in heads.items():
            self._look_up(dendrite, session, some)

    def of(self, dendrite: int, session: int, head_zyx_um: Head) -> Floats:
        """Return (along, across, depth) of a head beside its dendrite in one session, um."""
        key = (dendrite, session, head_zyx_um)
        if key not in self._known:
            self._look_up(dendrite, session, [head_zyx_um])
        return self._known[key]

    def _look_up(self, dendrite: int, session: int, heads_zyx_um: list[Head]) -> None:
        places = self._analysed.aligned(dendrite).places(session, heads_zyx_um)
        for head, place in zip(heads_zyx_um, places, strict=True):
            self._known[dendrite, session, head] = place
