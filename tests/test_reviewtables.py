"""The reviewed tables beside those of the machine: what they say, when they are old, and that none is half written."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis.reviewtables as written
from acquire import analysing
from acquire.analysing import review_again
from acquire.commands import analyse_study
from acquire.planning import StudyAnalysis
from analysis.edits import EDITS_FILE, Edit, EditBook, EditError, EditKind, Place, new_step
from analysis.errors import StackError
from analysis.fieldtables import read_sessions, read_tables, session_table, write_sessions
from analysis.reviewtables import is_fresh, read_review_note, read_reviewed, write_reviewed
from analysis.tables import FIELD_TABLES, SESSIONS_FILE, states_table
from tests.drawn import NAMES, STATES, drawn, make_drawn_study, write_tables

DRAWN = drawn()
WHEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path)


def make_folder(folder):
    write_tables(DRAWN, folder)
    write_sessions(folder, session_table(NAMES))
    return folder


def decide(folder, kind, spine, who="ann", **about):
    edit = Edit.now(who, kind, spine=DRAWN.places(spine), **about)
    EditBook(folder / EDITS_FILE).append(edit)
    return edit


def fates(tables):
    rows = tables.fates[["track_id", "from_session", "fate"]].itertuples(index=False, name=None)
    return {(track, first): fate for track, first, fate in rows}


def test_a_field_that_nobody_reviewed_has_no_reviewed_tables(folder):
    assert write_reviewed(folder) is None
    assert not (folder / "reviewed").exists()
    assert fates(read_reviewed(folder)) == fates(read_tables(folder))
    assert set(read_reviewed(folder).spines["reviewed_by"]) == {""}


def test_decisions_are_in_the_tables_and_in_the_note(folder):
    decide(folder, EditKind.REJECT, 4)
    decide(folder, EditKind.ACCEPT, 1, who="bo")
    last = decide(folder, EditKind.ABSENT, 0, sessions=("sunday",))
    note = write_reviewed(folder)
    assert note == read_review_note(folder)
    assert (note.decisions, note.who, note.last, note.unplaced) == (3, {"ann": 2, "bo": 1}, last.when, ())
    made = read_tables(folder / "reviewed")
    assert 4 not in set(made.tracks["track_id"])
    assert fates(made)[0, 1] == "lost"
    assert read_sessions(folder / "reviewed") == list(NAMES)
    for name in FIELD_TABLES:
        csv = pd.read_csv(folder / "reviewed" / f"{name}.csv")
        parquet = pd.read_parquet(folder / "reviewed" / f"{name}.parquet")
        assert len(csv) == len(parquet) > 0
        assert list(csv.columns) == list(parquet.columns)
    assert fates(read_tables(folder)) == fates(DRAWN.tables)  # the machine's stay


def test_what_is_read_has_the_decisions_in_force_whatever_lies_on_the_disk(folder):
    step = decide(folder, EditKind.REJECT, 4).step
    write_reviewed(folder)
    EditBook(folder / EDITS_FILE).append(Edit.now("ann", EditKind.UNDO, of=step))
    assert not is_fresh(folder)
    assert 4 in set(read_reviewed(folder).tracks["track_id"])
    write_reviewed(folder)
    assert is_fresh(folder)
    assert read_review_note(folder).decisions == 0
    assert 4 in set(read_tables(folder / "reviewed").tracks["track_id"])


def test_a_new_analysis_makes_the_reviewed_tables_old(folder):
    decide(folder, EditKind.REJECT, 4)
    write_reviewed(folder)
    before = (folder / "reviewed" / "spines.csv").stat().st_mtime_ns
    write_reviewed(folder)
    assert (folder / "reviewed" / "spines.csv").stat().st_mtime_ns == before  # of today: not written again
    write_tables(drawn(STATES[:4]), folder)
    assert not is_fresh(folder)
    note = write_reviewed(folder)
    assert "no spine is within" in note.unplaced[0]
    assert set(read_tables(folder / "reviewed").tracks["track_id"]) == {0, 1, 2, 3}


def test_a_second_raters_decisions_change_no_table(folder):
    decide(folder, EditKind.REJECT, 4, who="bo", second=True)
    assert write_reviewed(folder).decisions == 0
    assert 4 in set(read_reviewed(folder).tracks["track_id"])


def test_a_table_that_somebody_removed_is_written_again(folder):
    decide(folder, EditKind.REJECT, 4)
    write_reviewed(folder)
    (folder / "reviewed" / "fates.parquet").unlink()
    assert not is_fresh(folder)
    write_reviewed(folder)
    assert (folder / "reviewed" / "fates.parquet").is_file()


def test_a_torn_line_is_told_of_and_the_others_count(folder):
    decide(folder, EditKind.REJECT, 4)
    with (folder / EDITS_FILE).open("a") as file:
        file.write('{"version":1,"kind":"rej')
    note = write_reviewed(folder)
    assert note.decisions == 1
    assert "line 2 is torn" in note.unplaced[0]


def test_a_full_disk_leaves_no_note_beside_half_of_the_tables(folder, monkeypatch):
    decide(folder, EditKind.REJECT, 4)
    write_reviewed(folder)
    decide(folder, EditKind.REJECT, 0)

    def full(self, *_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(StackError, match=r"No space left on device; free space .* the decisions are kept"):
        write_reviewed(folder)
    assert read_review_note(folder) is None
    assert not is_fresh(folder)
    assert 0 not in set(read_reviewed(folder).tracks["track_id"])
    assert not list((folder / "reviewed").glob(".*"))


def test_decisions_without_the_names_of_the_sessions_are_refused(folder):
    decide(folder, EditKind.REJECT, 4)
    (folder / SESSIONS_FILE).unlink()
    with pytest.raises(StackError, match=r"1 decisions but no sessions[.]csv"):
        read_reviewed(folder)
    (folder / EDITS_FILE).unlink()
    assert fates(read_reviewed(folder)) == fates(DRAWN.tables)


def test_the_analysis_tells_of_them_and_lives_on_with_a_damaged_book(folder):
    assert review_again(folder) == []
    decide(folder, EditKind.REJECT, 4)
    assert review_again(folder) == [f"1 decisions of ann are in {folder / 'reviewed'}"]
    (folder / EDITS_FILE).write_text('{"version":1,"kind":"sing"}\n')
    (told,) = review_again(folder)
    assert told.startswith("warning: ")
    assert "edits.jsonl, line 1" in told
    with pytest.raises(EditError):
        read_reviewed(folder)


def test_two_programs_do_not_write_at_once(folder, monkeypatch):
    decide(folder, EditKind.REJECT, 4)
    monkeypatch.setattr(written, "PATIENCE_S", 0.1)
    (folder / "reviewed").mkdir()
    with FileLock(folder / ".reviewed.lock"):
        refused = []

        def write():
            try:
                write_reviewed(folder)
            except StackError as error:
                refused.append(str(error))

        other = threading.Thread(target=write)
        other.start()
        other.join()
    assert "another program" in refused[0]


KINDS = st.sampled_from([EditKind.ACCEPT, EditKind.REJECT, EditKind.FILOPODIUM])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(0, len(STATES) - 1)), max_size=6))
def test_what_is_written_is_what_is_read(tmp_path_factory, decisions):
    folder = make_folder(tmp_path_factory.mktemp("field"))
    edits = [Edit(who="ann", when=WHEN, step=new_step(), kind=k, spine=DRAWN.places(s)) for k, s in decisions]
    EditBook(folder / EDITS_FILE).append(*edits)
    write_reviewed(folder)
    read = read_reviewed(folder)
    if not decisions:
        return
    on_disk = read_tables(folder / "reviewed")
    for name in FIELD_TABLES:
        ours = getattr(read, name).drop(columns="reviewed_by", errors="ignore")
        pd.testing.assert_frame_equal(ours, getattr(on_disk, name), atol=1e-4, rtol=0)


def test_a_place_in_no_session_of_the_analysis_is_told_of(folder):
    edit = Edit.now("ann", EditKind.ADD, to=(Place(session="tuesday", head_zyx_um=(5.0, 10.0, 5.0)),))
    EditBook(folder / EDITS_FILE).append(edit)
    assert "session tuesday is not in this analysis" in write_reviewed(folder).unplaced[0]


def test_a_study_that_is_analysed_has_its_reviewed_tables(tmp_path, monkeypatch):
    states = states_table(range(len(STATES)), STATES, [[0.5] * 3] * len(STATES))
    monkeypatch.setattr(analysing, "analyse_field", lambda *_, **__: replace(DRAWN.tables, states=states))
    monkeypatch.setattr(analysing, "write_outputs", lambda *_, **__: "7 spines")
    with make_drawn_study(tmp_path / "study", DRAWN) as study:
        folder, names = study.analysis_folder("M1", "F01"), [one.name for one in study.sessions("M1")]
    seen = [place.model_copy(update={"session": name}) for name, place in zip(names, DRAWN.places(4), strict=False)]
    EditBook(folder / EDITS_FILE).append(Edit.now("ann", EditKind.REJECT, spine=tuple(seen)))
    told = []
    analyse_study(str(tmp_path / "study"), StudyAnalysis(), lambda *_: None, told.append)
    assert told == [f"M1 F01: 7 spines\n1 decisions of ann are in {folder / 'reviewed'}"]
    assert 4 not in set(read_tables(folder / "reviewed").tracks["track_id"])
