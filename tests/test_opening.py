"""A study on disk as tables: states as they were drawn, decisions in force, and clear words about what is missing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from analysis.edits import Edit, EditBook, EditKind
from analysis.errors import StudyTablesError
from analysis.fieldtables import scorable_stretches
from analysis.model import SpineState, Stack
from analysis.study.intervals import phase_fates, phases_of
from analysis.study.opening import open_study
from analysis.tables import SESSIONS_FILE, STATES_FILE, STRETCHES_FILE, states_table, write_table
from tests.drawn import STATES, A, P, U, drawn, make_drawn_study, write_tables

DRAWN = drawn()


@pytest.fixture
def study(tmp_path):
    with make_drawn_study(tmp_path / "study", DRAWN) as made:
        yield made


def states_of(tables):
    rows = tables.spines.sort_values(["track", "session"])
    return [tuple(SpineState(state) for state in part["state"]) for _, part in rows.groupby("track")]


def test_every_spine_has_a_state_in_every_session(study):
    tables = open_study(study.folder)
    assert states_of(tables) == list(STATES)
    assert tables.spines["along_um"].between(0, 40).all()
    assert tables.sessions["session"].tolist() == [0, 1, 2]
    assert tables.sessions["day"].iloc[0] == 0
    there = tables.spines["state"] == "present"
    assert tables.spines.loc[~there, "head_size"].isna().all()
    assert tables.spines.loc[there, "head_size"].eq(0.8).all()


def test_absent_is_told_from_unscorable_beside_an_unscorable_session(study, tmp_path):
    """Fates tell of neighbours only: of absent, unscorable, present they cannot say that the first was absent."""
    states = ((A, U, P), (U, A, P), *STATES[2:])
    folder, field = study.analysis_folder("M1", "F01"), drawn(states)
    write_tables(field, folder)
    assert states_of(open_study(study.folder))[0] == (U, U, P)
    write_table(states_table(range(len(states)), states, [[0.5] * 3] * len(states)), folder / STATES_FILE)
    assert states_of(open_study(study.folder)) == list(states)
    book = EditBook(folder / "edits.jsonl")
    names = [session.name for session in study.sessions("M1")]
    place = field.place(3, 0).model_copy(update={"session": names[0]})
    book.append(Edit.now("ann", EditKind.REJECT, spine=[place]))
    assert states_of(open_study(study.folder)) == [*states[:3], *states[4:]]


def test_decisions_of_people_are_in_force(study):
    book = EditBook(study.analysis_folder("M1", "F01") / "edits.jsonl")
    names = [session.name for session in study.sessions("M1")]
    places = [place.model_copy(update={"session": name}) for place, name in zip(DRAWN.places(0), names, strict=True)]
    book.append(Edit.now("ann", EditKind.REJECT, spine=places))
    tables = open_study(study.folder)
    assert states_of(tables) == list(STATES[1:])
    assert tables.dropped == ()


def test_a_decision_that_finds_no_spine_is_told(study):
    book = EditBook(study.analysis_folder("M1", "F01") / "edits.jsonl")
    book.append(Edit.now("ann", EditKind.REJECT, spine=DRAWN.places(0)))
    tables = open_study(study.folder)
    assert states_of(tables) == list(STATES)
    assert "session friday, monday, sunday is not in this analysis" in tables.dropped[0]


def test_unscorable_is_neither_gained_nor_lost(study):
    tables = open_study(study.folder)
    tables.phases.loc[0] = ["whole", "", 0.0, 100.0, ""]
    (phase,) = phases_of(tables)
    assert len(phase.sessions) > 1
    fates = phase_fates(tables, [phase]).set_index("track")["fate"]
    assert fates[6] == "unscorable"


def test_without_phases_the_first_interval_is_the_phase(study):
    (phase,) = phases_of(open_study(study.folder))
    assert phase.sessions[0] == 0
    assert phase.days[-1] > 0.25


def test_stretches_are_the_pieces_within_the_stack():
    stack = Stack(np.zeros((11, 100, 100), dtype=np.uint16), (1.0, 0.2, 0.2), "cut")
    table = scorable_stretches(DRAWN.tables, [stack] * 3)
    first = table[table["session"] == 0]
    assert first["from_um"].tolist() == [0.0]
    assert first["to_um"].iloc[0] == pytest.approx(99 * 0.2, abs=0.25)
    later = table[table["session"] == 2]
    assert later["to_um"].iloc[0] == pytest.approx(99 * 0.2 - 4.0, abs=0.25)


def test_written_stretches_are_read(study):
    folder = study.analysis_folder("M1", "F01")
    whole = open_study(study.folder).stretches
    assert whole["to_um"].tolist() == pytest.approx([40.0] * 3, abs=0.01)
    pd.DataFrame({"session": [0], "dendrite": [0], "from_um": [1.0], "to_um": [7.0]}).to_csv(
        folder / STRETCHES_FILE, index=False
    )
    assert open_study(study.folder).stretches[["from_um", "to_um"]].to_numpy().tolist() == [[1.0, 7.0]]


def test_without_records_of_sessions_it_takes_the_days_of_the_table(study):
    folder = study.analysis_folder("M1", "F01")
    shutil.rmtree(study.folder / "animals" / "M1" / "sessions")
    sessions = pd.read_csv(folder / SESSIONS_FILE)
    sessions.assign(day=[2.0, 3.0, 9.0]).to_csv(folder / SESSIONS_FILE, index=False)
    assert open_study(study.folder).sessions["day"].tolist() == [2.0, 3.0, 9.0]
    sessions.drop(columns="day").to_csv(folder / SESSIONS_FILE, index=False)
    with pytest.raises(StudyTablesError, match=r"day of session .* is not known"):
        open_study(study.folder)


def test_a_field_that_cannot_be_read_is_named_and_the_others_are_kept(study):
    whole = study.folder / "animals" / "M1" / "analysis"
    shutil.copytree(whole / "F01", whole / "F02")
    (whole / "F02" / "fates.csv").write_text("nonsense\n1\n")
    tables = open_study(study.folder)
    assert set(tables.spines["field"]) == {"F01"}
    assert len(tables.dropped) == 1
    assert tables.dropped[0].startswith("M1 F02 is left out")


def test_plain_tables_of_people_are_read(study):
    (study.folder / "phases.csv").write_text("phase, first_day, last_day\nlearning, 0, 4\n")
    (study.folder / "behaviour.csv").write_text("animal,day,measure,value\nM1,0,success rate,0.25\n")
    tables = open_study(study.folder)
    assert tables.phases.to_dict("records") == [
        {"phase": "learning", "group": "", "first_day": 0, "last_day": 4, "task": ""}
    ]
    assert tables.behaviour["value"].tolist() == [0.25]
    (study.folder / "behaviour.csv").write_text("animal,day,measure,value\nM1,0,success rate,high\n")
    with pytest.raises(StudyTablesError, match=r"behaviour\.csv cannot be read"):
        open_study(study.folder)
    (study.folder / "behaviour.csv").write_text("animal,day\nM1,0\n")
    with pytest.raises(StudyTablesError, match="lacks the column measure, value"):
        open_study(study.folder)


def test_names_in_tables_of_people_that_match_nothing_are_told(study):
    (study.folder / "phases.csv").write_text("phase,group,first_day,last_day\na, ,0,4\nb,trainedd ,0,4\n")
    (study.folder / "behaviour.csv").write_text("animal,day,measure,value\nm1,0,success rate,0.25\n")
    tables = open_study(study.folder)
    assert tables.phases["group"].tolist() == ["", "trainedd"]
    assert "no group of the study is called 'trainedd'" in tables.dropped[0]
    assert "no animal of the study is called 'm1'; it has M1" in tables.dropped[1]


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(StudyTablesError, match="is no study"):
        open_study(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps([1]))
    with pytest.raises(StudyTablesError, match="holds no record but a list"):
        open_study(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(StudyTablesError, match=r"nothing to draw: no field is analysed; run 'samefield analyse"):
        open_study(tmp_path)
