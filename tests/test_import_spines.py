"""Spines that were marked elsewhere become the tables of a field: what is told is kept, what is assumed is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acquire.__main__ import main
from acquire.imported import read_import
from acquire.model import AnimalRecord, StudyRecord
from acquire.store import Study
from analysis.errors import StackError
from analysis.fieldtables import read_tables
from analysis.followed import AnalysedField
from analysis.imported import make_tables
from analysis.linkedmarks import read_linked_marks
from analysis.mapmanager import read_map
from analysis.marked import MarkedSession, MarkedSpine, marked_session
from analysis.model import SpineState
from analysis.reviewed import apply_edits
from analysis.roisets import write_roi_set
from analysis.swc import write_swc
from tests.drawn import STATES, drawn

HEAD = ["head_z_um", "head_y_um", "head_x_um"]
P, A, U = SpineState.PRESENT, SpineState.ABSENT, SpineState.UNSCORABLE


def spine(track, y, x, dendrite=0) -> MarkedSpine:
    return MarkedSpine(track, dendrite, (5.0, y, x))


def fates(sessions) -> dict:
    rows = make_tables(sessions).tables.fates
    return {(int(r.from_session), int(r.track_id)): str(r.fate) for r in rows.itertuples()}


@pytest.fixture
def study(tmp_path) -> Path:
    with Study.create(tmp_path / "study", StudyRecord(name="old")) as made:
        made.new_animal(AnimalRecord(id="M1"))
    return tmp_path / "study"


def take_in(study, *words) -> int:
    given = [str(word) for word in words]
    return main(["import-spines", *given, "--study", str(study), "--animal", "M1", "--field", "F01"])


def tables_of(study):
    return read_tables(study / "animals" / "M1" / "analysis" / "F01")


# ---- states and fates ------------------------------------------------------------------------------------------


def test_a_spine_that_is_not_listed_is_absent():
    first, second = MarkedSession((spine(1, 3, 3), spine(2, 3, 9))), MarkedSession((spine(1, 3, 3), spine(3, 9, 9)))
    assert fates([first, second]) == {(0, 1): "stable", (0, 2): "lost", (0, 3): "gained"}


def test_outside_of_a_stack_nothing_can_be_told():
    """The second stack is shifted by 6 um, so that the place of spine 2 lies 4 um before its edge."""
    small = (20.0, 30.0, 30.0)
    first = MarkedSession((spine(1, 9, 20), spine(2, 9, 2), spine(3, 9, 26)), extent_zyx_um=small)
    second = MarkedSession((spine(1, 9, 14), spine(4, 3, 10)), extent_zyx_um=small)
    assert fates([first, second]) == {(0, 1): "stable", (0, 2): "unscorable", (0, 3): "lost", (0, 4): "gained"}


def test_where_a_dendrite_was_not_marked_nothing_can_be_told():
    first = MarkedSession((spine(1, 3, 3), spine(2, 9, 9, dendrite=1)))
    second = MarkedSession((spine(1, 3, 3),))
    assert fates([first, second]) == {(0, 1): "stable", (0, 2): "unscorable"}


def test_a_track_that_is_listed_twice_is_refused():
    with pytest.raises(StackError, match="track 1 is listed twice in session 0"):
        make_tables([MarkedSession((spine(1, 3, 3), spine(1, 4, 4)))])


def test_what_is_assumed_is_said():
    told = make_tables([MarkedSession((spine(None, 3, 3),)), MarkedSession((spine(1, 3, 3),))]).assumed
    assert any("1 spines are not linked" in text for text in told)
    assert any(
        "2 times a session that covers the place does not list a spine: taken for absent" in text for text in told
    )
    assert any("there are no dendrites" in text for text in told)


states = st.lists(st.lists(st.sampled_from([P, A, U]), min_size=3, max_size=3), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(states.filter(lambda rows: any(P in row for row in rows)))
def test_states_that_are_given_come_out_as_fates_and_followed_spines(rows):
    """What the tables say again, taken apart as the review does, is what was put in."""
    kept = [row for row in rows if P in row]
    sessions = [
        MarkedSession(
            tuple(
                MarkedSpine(track, 0, (5.0, 9.0, 3.0 * track), (5.0, 8.0, 3.0 * track), state=row[number])
                for track, row in enumerate(kept)
            ),
            {0: np.array([[5.0, 8.0, 0.0], [5.0, 8.0, 40.0]])},
        )
        for number in range(3)
    ]
    tables = make_tables(sessions).tables
    followed = AnalysedField(tables, ("a", "b", "c")).spines
    assert len(followed) == len(kept)
    for one, row in zip(followed, kept, strict=True):
        assert [state is P for state in one.states] == [state is P for state in row]
        for first in range(2):
            pair = (row[first], row[first + 1])
            told = one.fate(first)
            wanted = {(P, P): "stable", (P, A): "lost", (A, P): "gained", (A, A): None}.get(pair, "unscorable")
            assert (None if told is None else str(told)) == wanted


# ---- each form -------------------------------------------------------------------------------------------------


def written_tables(folder: Path) -> tuple[Path, Path]:
    field = drawn().tables
    field.spines.rename(columns={"spine_id": "track_id"}).to_csv(folder / "spines.csv", index=False)
    field.dendrites.to_csv(folder / "lines.csv", index=False)
    return folder / "spines.csv", folder / "lines.csv"


def test_a_csv_gives_the_same_tables(study, tmp_path, capsys):
    spines, lines = written_tables(tmp_path)
    assert take_in(study, spines, "--dendrites", lines, "--days", "0", "4", "6") == 0
    told = capsys.readouterr().out
    assert "3 sessions, 1 dendrites, 7 spines" in told
    back, wanted = tables_of(study), drawn().tables
    assert back.spines[HEAD].to_numpy() == pytest.approx(wanted.spines[HEAD].to_numpy(), abs=0.01)
    assert list(back.spines["side"]) == list(wanted.spines["side"])
    assert back.spines["along_um"].to_numpy() == pytest.approx(
        wanted.spines["head_x_um"].to_numpy() - np.array([0.0, -1.0, 4.0])[wanted.spines["session"]], abs=0.05
    )
    known = {
        (int(f.from_session), int(f.track_id)): f.fate for f in wanted.fates.itertuples() if f.fate != "unscorable"
    }
    mine = {(int(f.from_session), int(f.track_id)): f.fate for f in back.fates.itertuples()}
    assert {key: mine[key] for key in known} == known
    with Study(study) as opened:
        assert [session.day for session in opened.sessions("M1")] == [0.0, 4.0, 6.0]
        names = [session.name for session in opened.sessions("M1")]
    folder = study / "animals" / "M1" / "analysis" / "F01"
    assert list(pd.read_csv(folder / "sessions.csv")["name"]) == names
    assert read_import(folder).files[0].file == "spines.csv"
    assert (folder / "tracks.parquet").is_file()


def test_imagej_rois_and_swc_give_the_same_points(study, tmp_path):
    field = drawn().tables
    marked = [marked_session(field, number) for number in range(3)]
    rois, trees = ([tmp_path / f"{n}.{kind}" for n in range(3)] for kind in ("zip", "swc"))
    for one, roi, tree in zip(marked, rois, trees, strict=True):
        write_roi_set(roi, one, (1.0, 0.2, 0.2))
        write_swc(tree, one)
    assert take_in(study, *rois, "--days", "0", "4", "6", "--voxel-um", "1", "0.2", "0.2") == 0
    of_rois = tables_of(study)
    assert take_in(study, *trees, "--days", "0", "4", "6") == 0
    for back in (of_rois, tables_of(study)):
        assert back.spines[HEAD].to_numpy() == pytest.approx(field.spines[HEAD].to_numpy(), abs=0.01)
        assert list(back.spines["spine_id"]) == list(field.spines["spine_id"])
        assert len(back.dendrites) == len(field.dendrites)


def test_rois_without_a_voxel_size_ask_for_it(study, tmp_path, capsys):
    write_roi_set(tmp_path / "a.zip", marked_session(drawn().tables, 0), (1.0, 0.2, 0.2))
    assert take_in(study, tmp_path / "a.zip") == 1
    assert "counts in pixels" in capsys.readouterr().err


def test_days_are_asked_for(study, tmp_path, capsys):
    spines, _ = written_tables(tmp_path)
    assert take_in(study, spines) == 1
    assert "give them, as in --days 0 4 8" in capsys.readouterr().err
    assert take_in(study, spines, "--days", "0", "4") == 1
    assert "give one" in capsys.readouterr().err
    assert take_in(study, spines, "--days", "0", "4", "2") == 1
    assert "do not rise" in capsys.readouterr().err
    with Study(study) as opened:
        assert not opened.sessions("M1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("session,track_id,head_z_um,head_y_um\n0,1,2,3\n", "lacks head_x_um; it needs session, track_id"),
        ("session,track_id,head_z_um,head_y_um,head_x_um\n0,1,2,3,here\n", "line 2: not a number in 1 rows"),
        (
            "session,track_id,head_z_um,head_y_um,head_x_um,state\n0,1,2,3,4,gone\n",
            "has the state 'gone'; it is",
        ),
        ("session,track_id,head_z_um,head_y_um,head_x_um\n", "holds 0 rows"),
    ],
)
def test_a_table_that_says_too_little_is_refused(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(StackError, match=told):
        read_linked_marks(tmp_path / "a.csv")


def test_what_was_analysed_here_is_not_replaced(study, tmp_path, capsys):
    spines, _ = written_tables(tmp_path)
    folder = study / "animals" / "M1" / "analysis" / "F01"
    folder.mkdir(parents=True)
    (folder / "fates.csv").write_text("made by an analysis")
    assert take_in(study, spines, "--days", "0", "4", "6") == 1
    assert "F01 of M1 was analysed in this study; give another field name" in capsys.readouterr().err


def test_imported_spines_can_be_reviewed_and_exported(study, tmp_path):
    spines, lines = written_tables(tmp_path)
    assert take_in(study, spines, "--dendrites", lines, "--days", "0", "4", "6") == 0
    back = tables_of(study)
    review = apply_edits(AnalysedField(back, ("a", "b", "c")), [])
    assert len(review.shown) == len(STATES)
    assert main(["export", "--study", str(study), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "M1" / "F01" / "M1_F01_session2.swc").is_file()
    assert not list((tmp_path / "out").rglob("*.zip"))  # ImageJ counts in pixels, and no voxel size is known
    assert main(["export", "--study", str(study), "--out", str(tmp_path / "out"), "--voxel-um", "1", ".2", ".2"]) == 0
    assert len(list((tmp_path / "out").rglob("*.zip"))) == 3
    sessions = pd.read_csv(tmp_path / "out" / "tables" / "sessions.csv")
    assert sessions["started"].isna().all()  # the files do not say when it was
    assert list(sessions["day"]) == [0.0, 4.0, 6.0]


# ---- Map Manager -----------------------------------------------------------------------------------------------

COLUMNS = "Idx,roiType,roiTypeNum,x,y,z,channel,groupID,parentID,cPnt,sDist,pDist,cx,cy,cz,note"


def point(idx, kind, x, y, z, parent, foot=("", "", "")) -> str:
    return f"{idx},{kind},0,{x},{y},{z},1,,{parent},0,0,0,{foot[0]},{foot[1]},{foot[2]},"


def run_map(rows: list[list[float]]) -> str:
    """Return a map of one block a name, as Igor writes it; only the block runIdx is filled."""
    names = ["idx", "next", "nextTP", "prev", "prevTP", "blank", "runIdx", "dynType"]
    block = {name: [["NAN"] * len(rows[0])] * len(rows) for name in names} | {"runIdx": rows}
    lines = ["\t".join(map(str, row)) for name in names for row in block[name]]
    return f"rows={len(rows)};cols={len(rows[0])};blocks={len(names)};blockNames={','.join(names)};\r" + "\r".join(
        lines
    )


def write_map(folder: Path) -> Path:
    """Write a map of two sessions as Map Manager for Igor lays it down; lines end with a carriage return."""
    for name in ("stackdb", "line"):
        (folder / name).mkdir(parents=True)
    header = "version=20151224;numSpines=2;pixelx=1024;pixely=1024;pixelz=65;voxelx=0.12;voxely=0.12;voxelz=2;"
    sessions = {
        "a_s0": [
            point(0, "globalPIvot", 0, 0, 0, "NaN"),
            point(1, "spineROI", 45.927, 26.99, 29, 0, (45.42, 28.596, 28)),
            point(1, "spineROI", 47.678, 26.118, 30, 0, (49.749, 27.488, 29)),  # Idx is not unique in real maps
        ],
        "a_s1": [
            point(0, "spineROI", 46.9, 27.0, 28, 1, (46.4, 28.6, 27)),
            point(1, "spineROI", 90.0, 28.6, 28, 1, (90.4, 28.9, 27)),
        ],
    }
    for name, points in sessions.items():
        (folder / "stackdb" / f"{name}_db2.txt").write_text("\r".join([header, COLUMNS, *points]) + "\r")
        number = 0 if name == "a_s0" else 1
        nodes = [f"NaN,NaN,{x},29.28,27,{number},0" for x in (43.8, 70.0, 100.0)]
        lines = [
            "stack=a;numHeaderRow=5;",
            "On,Idx,start,stop",
            f",0,0,{len(nodes)}",
            "node,type,x,y,z,ID,sDist",
            *nodes,
        ]
        (folder / "line" / f"{name}_l.txt").write_text("\r".join(lines) + "\r")
    (folder / "a_objMap.txt").write_text(run_map([["NAN", 7], [7, 9], [8, "NAN"]]))
    (folder / "a_segMap.txt").write_text(run_map([[0, "NAN"], ["NAN", 0]]))
    table = ["\t\t", "hsStack\ta_s0_ch1\ta_s1_ch1\t", "days\t0\t4.0989\t", "dx\t0.12\t0.12\t"]
    (folder / "a.txt").write_text("\r".join(table) + "\r")
    return folder / "a.txt"


def test_a_map_manager_map_is_read_with_its_links(study, tmp_path):
    first, second = read_map(write_map(tmp_path / "a"))
    assert [one.track_id for one in first.spines] == [7, 8]
    assert [one.track_id for one in second.spines] == [7, 9]
    assert first.spines[0].head_zyx_um == (29.0, 26.99, 45.927)
    assert first.spines[0].base_zyx_um == (28.0, 28.596, 45.42)
    assert {one.dendrite for one in (*first.spines, *second.spines)} == {0}  # segment 1 of session 1 is run 0
    assert first.dendrites[0][:, 2] == pytest.approx([43.8, 70.0, 100.0])
    assert first.extent_zyx_um == pytest.approx((128.0, 1023 * 0.12, 1023 * 0.12))
    assert (first.day, second.day) == (0.0, 4.0989)
    assert take_in(study, tmp_path / "a" / "a.txt") == 0
    told = {(int(f.from_session), int(f.track_id)): f.fate for f in tables_of(study).fates.itertuples()}
    assert told == {(0, 7): "stable", (0, 8): "lost", (0, 9): "gained"}


def test_a_table_of_pymapmanager_is_read(tmp_path):
    rows = ["0,spineROI,45.9,27.0,29,2,7,45.4,28.6,28", "0,controlPnt,1,2,3,2,,,,", "1,spineROI,46.9,27.5,28,2,7,,,"]
    text = "\n".join(["mapSession,roiType,x,y,z,parentID,runIdx,cx,cy,cz", *rows])
    (tmp_path / "a.csv").write_text(text)
    first, second = read_linked_marks(tmp_path / "a.csv")
    assert first.spines == (MarkedSpine(7, 2, (29.0, 27.0, 45.9), (28.0, 28.6, 45.4)),)
    assert second.spines == (MarkedSpine(7, 2, (28.0, 27.5, 46.9)),)


def test_an_analysis_of_the_study_leaves_imported_spines(study, tmp_path, capsys):
    spines, lines = written_tables(tmp_path)
    assert take_in(study, spines, "--dendrites", lines, "--days", "0", "4", "6") == 0
    before = tables_of(study).spines
    assert main(["analyse", "--study", str(study)]) == 0
    assert "M1 F01 keeps the spines imported from spines.csv, lines.csv" in capsys.readouterr().out
    pd.testing.assert_frame_equal(tables_of(study).spines, before)


def test_a_map_that_lacks_its_links_is_refused(tmp_path):
    file = write_map(tmp_path / "a")
    (tmp_path / "a" / "a_objMap.txt").unlink()
    with pytest.raises(StackError, match=r"has no a_objMap.txt, which links spines"):
        read_map(file)


@pytest.mark.slow
def test_the_marks_of_a_real_field_keep_their_counts(study, tmp_path, real_field):
    """The person who marked it counted 117 stable, 22 lost and 16 gained from session 0 to 1."""
    parts = []
    for number, session in enumerate((0, 1, 3)):
        table = pd.read_csv(real_field / f"session{session}_spines.csv")
        names = {f"tip_{a}_um": f"head_{a}_um" for a in "zyx"} | {f"anchor_{a}_um": f"base_{a}_um" for a in "zyx"}
        parts.append(table.rename(columns={**names, "spine_id": "track_id"}).assign(session=number))
    pd.concat(parts).to_csv(tmp_path / "marks.csv", index=False)
    lines = [pd.read_csv(real_field / f"session{s}_dendrites.csv").assign(session=n) for n, s in enumerate((0, 1, 3))]
    pd.concat(lines).to_csv(tmp_path / "lines.csv", index=False)
    assert take_in(study, tmp_path / "marks.csv", "--dendrites", tmp_path / "lines.csv", "--days", "0", "4.1", "8") == 0
    told = tables_of(study).fates
    counts = told[told["from_session"] == 0]["fate"].value_counts().to_dict()
    assert counts == {"stable": 117, "lost": 22, "gained": 16}
