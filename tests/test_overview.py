"""The study at a glance: what is taken, analysed and reviewed, and what is due; damage stays where it is."""

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from acquire.errors import StudyError
from acquire.glance import Taken
from acquire.images import ImageProvenance, StackWriter, say_shows_field
from acquire.model import AnimalRecord, FieldRecord, PlaneRecord, StackPlan, StagePosition, StudyRecord, TakenPlane
from acquire.overview import study_overview
from acquire.protocol import read_protocol
from acquire.store import Study
from analysis.edits import Edit, EditBook, EditKind, Place

HERE = StagePosition(x_um=0.0, y_um=0.0, z_um=0.0)
PLAN = StackPlan(field_of_view_um=10.0, pixels=16, depth_um=3.0, frames_per_plane=1)
FIRST = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def take(study, session, field="F01", planes=4, shows_field=True):
    """Write a stack of so many of its four planes."""
    path = study.new_store(session, field, "stack")
    about = ImageProvenance(
        kind="stack", animal=session.animal, session=session.name, day=session.day, rig={}, stage=HERE, field=field
    )
    writer = StackWriter(path, PLAN, about)
    for plane in range(planes):
        record = PlaneRecord(
            plane=plane,
            time=FIRST,
            stage=HERE,
            power_mw=1.0,
            power_setting=1.0,
            exposure_ms=1.0,
            pmt_gain=None,
            zoom=None,
            frames=1,
        )
        writer.append(TakenPlane(np.zeros((16, 16), np.uint16), (), record))
    if planes < PLAN.planes:
        writer.abandon()
    else:
        writer.finish()
        say_shows_field(path, shows_field)
    return path


def begin(study, animal, day):
    return study.new_session(animal, rig="simulated", day=day, started=FIRST + timedelta(days=day))


def keep(study, animal, session, *names):
    for name in names:
        field = FieldRecord(name=name, position=HERE, reference_session=session.name, plan=PLAN, overview_plan=PLAN)
        study.save_field(animal, field)


def analyse(study, animal, field="F01", at=None):
    table = study.analysis_folder(animal, field) / "fates.csv"
    table.write_text("from_session,to_session\n")
    if at is not None:
        os.utime(table, (at, at))
    return table


@pytest.fixture
def study(tmp_path):
    record = StudyRecord(name="learning", groups=("trained", "home cage"), days=(0, 4, 8), plan=PLAN, blind=True)
    with Study.create(tmp_path / "study", record) as opened:
        opened.new_animal(AnimalRecord(id="M1", group="trained"))
        yield opened


def of(overview, animal="M1"):
    return next(one for one in overview.animals if one.animal == animal)


def visits(overview, session, animal="M1"):
    return {visit.field: visit for visit in of(overview, animal).sessions[session].fields}


def due(study, days, animal="M1"):
    return of(study_overview(study, FIRST + timedelta(days=days)), animal).due


def test_an_animal_that_was_never_imaged_has_its_first_day_due(study):
    overview = study_overview(study)
    assert overview.is_blind
    assert overview.days == (0.0, 4.0, 8.0)
    assert of(overview).sessions == ()
    assert of(overview).due.text == "day 0: the first session"


def test_what_is_taken_is_told_for_every_field_and_session(study):
    day0 = begin(study, "M1", 0.0)
    keep(study, "M1", day0, "F01", "F02")
    take(study, day0)
    take(study, day0, "F02")
    day4 = begin(study, "M1", 4.2)
    take(study, day4, planes=2)
    take(study, day4, "F02", shows_field=None)
    keep(study, "M1", day4, "F03")
    overview = study_overview(study)
    assert {name: visit.taken for name, visit in visits(overview, 0).items()} == {
        "F01": Taken.WHOLE,
        "F02": Taken.WHOLE,
    }
    now = visits(overview, 1)
    assert (now["F01"].taken, now["F01"].planes, now["F01"].of_planes) == (Taken.CUT_SHORT, 2, 4)
    assert now["F02"].taken is Taken.UNJUDGED
    assert now["F03"].taken is Taken.NOT
    take(study, day4, "F02", shows_field=False)
    assert visits(study_overview(study), 1)["F02"].taken is Taken.ELSEWHERE
    take(study, day4)
    assert visits(study_overview(study), 1)["F01"].taken is Taken.WHOLE


def test_sessions_stand_under_the_day_that_was_planned(study):
    for day in (0.0, 4.3, 6.0):
        begin(study, "M1", day)
    overview = study_overview(study)
    assert overview.days == (0.0, 4.0, 6.0, 8.0)
    assert [len(overview.on_day(of(overview), day)) for day in overview.days] == [1, 1, 1, 0]


def test_tables_older_than_the_last_stack_do_not_count(study):
    day0 = begin(study, "M1", 0.0)
    keep(study, "M1", day0, "F01")
    store = take(study, day0)
    assert not visits(study_overview(study), 0)["F01"].is_analysed
    analyse(study, "M1", at=store.stat().st_mtime + 1.0)
    assert visits(study_overview(study), 0)["F01"].is_analysed
    analyse(study, "M1", at=store.stat().st_mtime - 100.0)
    assert not visits(study_overview(study), 0)["F01"].is_analysed


def test_decisions_are_counted_for_the_sessions_that_they_name(study):
    day0, day4 = begin(study, "M1", 0.0), begin(study, "M1", 4.0)
    keep(study, "M1", day0, "F01")
    take(study, day0)
    take(study, day4)
    places = [Place(session=day.name, head_zyx_um=(1.0, 2.0, 3.0)) for day in (day0, day4)]
    taken_back = Edit.now("Ada", EditKind.REJECT, spine=places)
    lines = [
        Edit.now("Ada", EditKind.ACCEPT, spine=places),
        Edit.now("Ada", EditKind.UNSCORABLE, spine=places[1:], sessions=[day4.name]),
        taken_back,
        Edit.now("Ada", EditKind.UNDO, of=taken_back.step),
        Edit.now("Ada", EditKind.BLIND, seed=3),
    ]
    file = study.analysis_folder("M1", "F01") / "edits.jsonl"
    EditBook(file).append(*lines)
    overview = study_overview(study)
    assert of(overview).decisions == 2
    assert [visits(overview, number)["F01"].decisions for number in (0, 1)] == [1, 2]
    file.write_text(file.read_text() + '{"kind": "acc')
    overview = study_overview(study)
    assert of(overview).decisions == 2
    assert "is torn" in of(overview).trouble


# ---- what is due -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "today", "told", "is_overdue"),
    [
        ((0.0,), 1, "day 4 is due in 3 days (2026-01-09)", False),
        ((0.0,), 4, "day 4 is due today (2026-01-09)", False),
        ((0.0,), 6, "day 4 is overdue by 2 days (2026-01-09)", True),
        ((0.0, 4.3), 5, "day 8 is due in 3 days (2026-01-13)", False),
        ((0.0, 6.0), 7, "day 8 is due tomorrow (2026-01-13), day 4 was missed", False),
        ((0.0, 4.0, 8.0), 9, "all 3 planned days are done", False),
        ((0.0, 8.0), 9, "all planned days are over, day 4 was missed", False),
    ],
)
def test_the_next_day_follows_from_the_protocol(study, held, today, told, is_overdue):
    for day in held:
        begin(study, "M1", day)
    assert due(study, today).text == told
    assert due(study, today).is_overdue is is_overdue


def test_what_is_left_to_do_is_told(study):
    day0 = begin(study, "M1", 0.0)
    keep(study, "M1", day0, "F01", "F02")
    store = take(study, day0)
    assert due(study, 0.1).text.endswith("; F02 to be taken; F01 to be analysed")
    analyse(study, "M1", at=store.stat().st_mtime + 1.0)
    study.save_session(day0.model_copy(update={"closed": FIRST}))
    assert due(study, 0.1).text == "day 4 is due in 4 days (2026-01-09)"


def test_a_study_without_planned_days_says_so(tmp_path):
    with Study.create(tmp_path / "free", StudyRecord(name="free")) as study:
        study.new_animal(AnimalRecord(id="M1"))
        assert due(study, 0).text == "no session yet"
        begin(study, "M1", 3.0)
        assert due(study, 9).text == "no days are planned"
        assert study_overview(study).days == (3.0,)


def test_days_are_read_from_the_protocol_and_must_rise(tmp_path):
    file = tmp_path / "protocol.toml"
    file.write_text("days = [0, 2.5, 7]\n")
    assert read_protocol(file).days == (0.0, 2.5, 7.0)
    file.write_text("days = [0, 7, 7]\n")
    with pytest.raises(StudyError, match="days 0 7 7 do not rise; sort them"):
        read_protocol(file)


# ---- damage ------------------------------------------------------------------------------------------------------


def test_damage_is_told_where_it_lies_and_hides_nothing_else(study):
    for animal in ("M2", "M3", "M4"):
        study.new_animal(AnimalRecord(id=animal))
    for animal in study.animals():
        day0 = begin(study, animal, 0.0)
        keep(study, animal, day0, "F01")
        take(study, day0)
        begin(study, animal, 4.0)
    (study.animal_folder("M2") / "animal.json").write_text("{")
    next((study.animal_folder("M3") / "sessions").glob("*T0930/session.json")).write_bytes(b"\xff\x00")
    day0 = study.sessions("M4")[0]
    (study.session_folder("M4", day0.name) / "F01" / "stack.ome.zarr" / "zarr.json").write_text("{}")
    overview = study_overview(study)
    assert of(overview, "M1").trouble == ""
    assert visits(overview, 0, "M1")["F01"].taken is Taken.WHOLE
    assert "animal.json cannot be understood" in of(overview, "M2").trouble
    assert [one.day for one in of(overview, "M2").sessions] == [0.0, 4.0]
    unread = [one for one in of(overview, "M3").sessions if one.day is None]
    assert len(unread) == 1
    assert "session.json cannot be" in unread[0].trouble
    assert overview.has_undated
    assert overview.on_day(of(overview, "M3"), None) == tuple(unread)
    assert visits(overview, 0, "M4")["F01"].taken is Taken.DAMAGED
    assert "does not say how it was made" in visits(overview, 0, "M4")["F01"].trouble


def test_no_pixel_is_read(study, monkeypatch):
    day0 = begin(study, "M1", 0.0)
    keep(study, "M1", day0, "F01")
    take(study, day0)
    monkeypatch.setattr("zarr.open_array", lambda *_, **__: pytest.fail("a pixel was asked for"))
    monkeypatch.setattr("zarr.open_group", lambda *_, **__: pytest.fail("a store was opened"))
    assert visits(study_overview(study), 0)["F01"].taken is Taken.WHOLE
