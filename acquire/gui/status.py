"""What the window shows: one frozen snapshot, made without asking a device or a disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from acquire.sight import LivePower, RigSight
from analysis.model import Verdict

if TYPE_CHECKING:
    from acquire.model import Light, QualityItem, RelocationRecord, SessionRecord, StackPlan, StagePosition

DARK = RigSight(is_lit=False, power_mw=0.0, position=None, frame=None, frames=0)


@dataclass(frozen=True)
class FieldStatus:
    """One field in the session that is open.

    Parameters
    ----------
    name
        The field.
    position
        Where it was kept, on the stage of its first session.
    is_new
        Whether it was kept in this session: there is nothing to find.
    predicted
        Where it should be today; None when nothing is known yet.
    sigma_um
        How well that is known (x, y, z), um.
    relocation
        The last search in this session.
    stacks
        Whole stacks of this session.
    is_cut_short
        Whether the last stack lacks planes.
    quality
        Verdict on the last whole stack.
    advice
        What to do about it, in words.
    items
        What it rests on.
    plan
        How its stacks are taken.
    bad_planes
        Planes with a red light.
    sessions
        Sessions with a comparable stack.
    is_analysed
        Whether the tables are newer than the last stack.
    report
        The page that shows its analysis; None before there is one.
    dose_mj
        Light on it in this session, mJ.
    dose_limit_mj
        Its limit, mJ.
    """

    name: str
    position: StagePosition
    is_new: bool = False
    predicted: StagePosition | None = None
    sigma_um: tuple[float, float, float] | None = None
    relocation: RelocationRecord | None = None
    stacks: int = 0
    is_cut_short: bool = False
    quality: Light | None = None
    advice: str = ""
    items: tuple[QualityItem, ...] = ()
    plan: StackPlan | None = None
    bad_planes: tuple[int, ...] = ()
    sessions: int = 0
    is_analysed: bool = False
    report: Path | None = None
    dose_mj: float = 0.0
    dose_limit_mj: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """How surely it is known where it is; None when it was not looked for."""
        if self.is_new:
            return Verdict.FOUND
        return None if self.relocation is None else self.relocation.verdict


@dataclass(frozen=True)
class Known:
    """What the worker last read from the study.

    Parameters
    ----------
    study
        Its name; empty before it is open.
    animals
        All its animals.
    groups
        All its groups.
    group
        Of the animal that lies here.
    hides_groups
        Whether the study is blind: ``groups`` and ``group`` are empty then.
    record
        The session that is open.
    fields
        Of its animal.
    has_map, has_surface
        Whether the animal has a map of its vessels, and the session an image of them.
    landmarks
        Names of the landmarks in use.
    order
        Names of the fields to find, in the order in which they are best looked for.
    is_aligned
        Whether a person said where landmarks are today.
    stacks_left
        For how many more stacks there is room on the disk.
    cannot
        What this rig cannot do, in words.
    """

    study: str = ""
    animals: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    group: str = ""
    hides_groups: bool = False
    record: SessionRecord | None = None
    fields: tuple[FieldStatus, ...] = ()
    has_map: bool = False
    has_surface: bool = False
    landmarks: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    is_aligned: bool = False
    stacks_left: int | None = None
    cannot: tuple[str, ...] = ()

    @property
    def of_the_study(self) -> Known:
        """What of it is known without a session."""
        kept = ("study", "animals", "groups", "hides_groups", "cannot")
        return Known(**{name: getattr(self, name) for name in kept})

    def field(self, name: str) -> FieldStatus:
        """Return the field of a name."""
        return {field.name: field for field in self.fields}[name]


@dataclass(frozen=True)
class DeskStatus:
    """Everything that is in sight.

    Parameters
    ----------
    known
        What was last read from the study.
    sight
        What was last known of the rig.
    rig
        The rig's name; empty before it is open.
    surface_z_um
        Where the brain surface is in focus.
    doing
        What the worker does; empty when it waits.
    told
        How far it is, in its own words.
    share
        Share that is done, 0 to 1.
    left_s
        Time that it will still take, s; None when nobody can tell.
    is_paused
        Whether a stack waits for its end of pause.
    analysing
        The field that is analysed in the background.
    field
        The field that the pages are about.
    is_blind
        Whether somebody reviews without knowing animal, group and day: they are shown nowhere.
    sitting_s
        Time since the anaesthesia began, s; None before the session.
    alarms
        What the guards of the light had to do.
    accepted
        Fields whose search ended unsure, and that somebody took for the field all the same.
    live_power
        Power of the live view; None when there is none to change.
    """

    known: Known = field(default_factory=Known)
    sight: RigSight = DARK
    rig: str = ""
    surface_z_um: float | None = None
    deeper_is: int = 1
    doing: str = ""
    told: str = ""
    share: float = 0.0
    left_s: float | None = None
    is_paused: bool = False
    analysing: str = ""
    field: str = ""
    is_blind: bool = False
    sitting_s: float | None = None
    alarms: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    live_power: LivePower | None = None

    def is_done(self, page: str) -> bool:
        """Whether the work of a page is done in this session."""
        known = self.known
        if known.record is None:
            return False
        fields = known.fields
        done = {
            "Session": True,
            "Surface": known.has_surface or known.is_aligned,
            "Find": bool(fields) and all(self.is_placed(one) for one in fields),
            "Take": bool(fields) and all(one.stacks and not one.is_cut_short for one in fields),
            "Close": known.record.closed is not None,
        }
        return done.get(page, False)

    def is_placed(self, field: FieldStatus) -> bool:
        """Whether a field was found, or somebody accepted that it was unsure."""
        return field.verdict is Verdict.FOUND or field.name in self.accepted

    @property
    def depth_um(self) -> float | None:
        """Depth below the brain surface, um; None when either is unknown."""
        if self.surface_z_um is None or self.sight.position is None:
            return None
        return self.deeper_is * (self.sight.position.z_um - self.surface_z_um)

    @property
    def chosen(self) -> FieldStatus | None:
        """The field that the pages are about."""
        return next((one for one in self.known.fields if one.name == self.field), None)
