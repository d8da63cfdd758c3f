"""Decisions of a person about spines: kept, found again, undone, and what they do to the tables."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.blind import BlindOrder, blind_order
from analysis.edits import EDITS_FILE, Edit, EditBook, EditError, EditKind, History, Place, parse_edits, read_edits
from analysis.fieldtables import read_tables
from analysis.followed import AnalysedField
from analysis.reviewed import apply_edits
from tests.drawn import NAMES, SHIFT_UM, STATES, A, P, U, drawn, write_tables

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
_STEPS = count()


@pytest.fixture(scope="module")
def field():
    return drawn()


def decision(kind, who="ann", **about) -> Edit:
    return Edit(when=NOW, who=who, kind=kind, step=about.pop("step", f"step{next(_STEPS)}"), **about)


def same_tables(review, tables):
    for name in ("spines", "tracks", "fates"):
        ours, theirs = getattr(review, name), getattr(tables, name)
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, atol=1e-9)


def fates_of(review, track):
    rows = review.fates[review.fates["track_id"] == track]
    return dict(zip(rows["from_session"], rows["fate"], strict=True))


def review_of(field, *edits):
    review = apply_edits(field.field, edits)
    assert review.unplaced == ()
    return review


# ---- the tables ------------------------------------------------------------------------------------------------------


def test_without_decisions_the_tables_are_those_of_the_machine(field):
    review = review_of(field)
    same_tables(review, field.tables)
    assert set(review.fates["reviewed_by"]) == {""}


@given(st.lists(st.tuples(*[st.sampled_from([P, A, U])] * 3).filter(lambda row: P in row), max_size=9))
@settings(max_examples=40, deadline=None)
def test_any_tables_are_taken_apart_and_put_together_the_same(states):
    field = drawn(states)
    same_tables(review_of(field), field.tables)


def test_a_rejected_spine_disappears_and_an_accepted_one_is_signed(field):
    review = review_of(
        field,
        decision(EditKind.REJECT, spine=field.places(0)),
        decision(EditKind.ACCEPT, who="bo", spine=field.places(1)),
    )
    assert 0 not in set(review.spines["spine_id"]) | set(review.tracks["track_id"]) | set(review.fates["track_id"])
    assert set(review.fates.loc[review.fates["track_id"] == 1, "reviewed_by"]) == {"bo"}
    assert [spine.track_id for spine in review.followed if spine.is_rejected] == [0]


def test_fates_follow_what_a_person_says(field):
    assert fates_of(review_of(field), 0) == {0: "stable", 1: "stable"}
    absent = decision(EditKind.ABSENT, spine=field.places(0), sessions=("sunday",))
    assert fates_of(review_of(field, absent), 0) == {0: "stable", 1: "lost"}
    there = decision(EditKind.PRESENT, spine=field.places(1), sessions=("friday",), to=(field.place(1, 1),))
    review = review_of(field, there)
    assert fates_of(review, 1) == {0: "stable", 1: "lost"}
    new = review.spines[(review.spines["spine_id"] == 1) & (review.spines["session"] == 1)].iloc[0]
    assert new["along_um"] == pytest.approx(5.0, abs=0.2)
    assert new["length_um"] == pytest.approx(1.5, abs=0.1)
    assert np.isnan(new["head_size_ratio"])


def test_unscorable_is_never_lost_or_gained(field):
    unseen = decision(EditKind.UNSCORABLE, spine=field.places(0), sessions=("sunday",))
    assert fates_of(review_of(field, unseen), 0) == {0: "stable", 1: "unscorable"}
    unseen = decision(EditKind.UNSCORABLE, spine=field.places(1), sessions=("friday", "sunday"))
    assert "lost" not in fates_of(review_of(field, unseen), 1).values()


def test_presence_needs_a_place(field):
    review = apply_edits(field.field, [decision(EditKind.PRESENT, spine=field.places(1), sessions=("friday",))])
    assert "not said where the spine is in friday" in review.unplaced[0]
    same_tables(review, field.tables)


def test_an_added_spine_is_of_a_person_and_unscorable_elsewhere(field):
    head = (6.0, 13.0, 30.0)
    add = decision(EditKind.ADD, to=(Place(session="friday", head_zyx_um=head),))
    review = review_of(field, add)
    made = review.spines[review.spines["spine_id"] == len(STATES)]
    assert made[["session", "dendrite"]].to_numpy().tolist() == [[1, 0]]
    assert tuple(made[["head_z_um", "head_y_um", "head_x_um"]].iloc[0]) == head
    assert fates_of(review, len(STATES)) == {0: "unscorable", 1: "unscorable"}
    assert made["reviewed_by"].tolist() == ["ann"]
    far = decision(EditKind.ADD, to=(Place(session="friday", head_zyx_um=(6.0, 40.0, 30.0)),))
    assert "no dendrite is within 8 um" in apply_edits(field.field, [far]).unplaced[0]


def test_what_was_added_and_is_found_by_a_new_analysis_is_one_spine(field):
    add = decision(EditKind.ADD, to=(field.place(2, 1),))
    review = review_of(field, add)
    assert len(review.shown) == len(STATES)
    assert fates_of(review, 2) == {0: "gained", 1: "stable"}


def test_a_moved_head_is_where_it_was_put(field):
    there = Place(session="friday", head_zyx_um=(6.5, 14.5, 1.5))
    review = review_of(field, decision(EditKind.MOVE, spine=field.places(0), to=(there,)))
    row = review.spines[(review.spines["spine_id"] == 0) & (review.spines["session"] == 1)].iloc[0]
    assert (row["head_z_um"], row["head_y_um"], row["head_x_um"]) == there.head_zyx_um
    assert fates_of(review, 0) == {0: "stable", 1: "stable"}
    nowhere = decision(EditKind.MOVE, spine=field.places(1), to=(field.place(1, 2),))
    assert "not present in sunday" in apply_edits(field.field, [nowhere]).unplaced[0]


def test_two_halves_of_a_spine_are_joined_and_split_again():
    field = drawn([(P, P, A), (A, A, P), (P, P, P)])
    join = decision(EditKind.JOIN, spine=field.places(0), to=field.places(1))
    review = review_of(field, join)
    assert fates_of(review, 0) == {0: "stable", 1: "stable"}
    assert 1 not in set(review.tracks["track_id"])
    split = decision(EditKind.SPLIT, spine=(field.place(0, 0),), sessions=("sunday",))
    review = review_of(field, join, split)
    assert fates_of(review, 0) == {0: "stable", 1: "lost"}
    assert fates_of(review, 3) == {1: "gained"}


def test_two_spines_of_one_session_are_not_joined(field):
    join = decision(EditKind.JOIN, spine=field.places(0), to=field.places(1))
    review = apply_edits(field.field, [join])
    assert "both spines are present in monday" in review.unplaced[0]
    same_tables(review, field.tables)


def test_a_spine_is_split_only_between_its_sights(field):
    early = decision(EditKind.SPLIT, spine=field.places(0), sessions=NAMES)
    assert "not present before" in apply_edits(field.field, [early]).unplaced[0]
    late = decision(EditKind.SPLIT, spine=field.places(1), sessions=("sunday",))
    assert "not present from here on" in apply_edits(field.field, [late]).unplaced[0]


def test_kind_and_note_reach_the_review(field):
    review = review_of(
        field,
        decision(EditKind.FILOPODIUM, spine=field.places(0)),
        decision(EditKind.NOTE, spine=field.places(0), text="thin neck"),
    )
    assert set(review.spines.loc[review.spines["spine_id"] == 0, "kind"]) == {"filopodium"}
    assert review.followed[0].notes == ("thin neck",)


# ---- a new analysis --------------------------------------------------------------------------------------------------


def test_decisions_outlive_new_numbers_and_a_new_session(field):
    """The tracks of a later analysis are numbered from the other end and lie 0.3 um elsewhere, a session was added."""
    again = drawn(STATES[::-1])
    tables = again.tables
    rows = {name: getattr(tables, name).copy() for name in ("spines", "tracks")}
    for table in rows.values():
        track = table["spine_id"] if "spine_id" in table else table["track_id"]
        heads = np.array([field.head(len(STATES) - 1 - t, s) for t, s in zip(track, table["session"], strict=True)])
        table[["head_z_um", "head_y_um", "head_x_um"]] = heads + 0.3
    later = AnalysedField(replace(tables, **rows), NAMES)
    edits = [
        decision(EditKind.REJECT, spine=field.places(0)),
        decision(EditKind.ABSENT, spine=field.places(2), sessions=("sunday",)),
    ]
    review = apply_edits(later, edits)
    assert review.unplaced == ()
    assert [spine.track_id for spine in review.followed if spine.is_rejected] == [len(STATES) - 1]
    assert fates_of(review, len(STATES) - 3) == {0: "gained", 1: "lost"}


def test_what_finds_its_spine_no_more_is_told(field):
    nowhere = Place(session="monday", head_zyx_um=(5.0, 10.0, 39.0))
    foreign = Place(session="tuesday", head_zyx_um=(5.0, 10.0, 39.0))
    edits = [decision(EditKind.REJECT, spine=(nowhere,)), decision(EditKind.ACCEPT, spine=(foreign,))]
    review = apply_edits(field.field, edits)
    assert "reject by ann" in review.unplaced[0]
    assert "no spine is within 1 um sideways and 3 um in depth of 5.0 x 10.0 x 39.0 um" in review.unplaced[0]
    assert "session tuesday is not in this analysis" in review.unplaced[1]
    assert review.warnings == review.unplaced
    same_tables(review, field.tables)


def test_a_spine_that_one_session_lost_is_found_by_another(field):
    lost = Place(session="monday", head_zyx_um=(5.0, 10.0, 39.0))
    review = review_of(field, decision(EditKind.REJECT, spine=(lost, field.place(4, 1))))
    assert [spine.track_id for spine in review.followed if spine.is_rejected] == [4]


# ---- any decisions ---------------------------------------------------------------------------------------------------


@st.composite
def decisions(draw, field, spine=None):
    spine = draw(st.integers(0, len(STATES) - 1)) if spine is None else spine
    kind = draw(st.sampled_from([kind for kind in EditKind if kind.value not in {"undo", "redo", "blind", "unblind"}]))
    session = draw(st.integers(0, 2))
    about = {"spine": field.places(spine), "sessions": (NAMES[session],), "to": (field.place(spine, session),)}
    if kind is EditKind.JOIN:
        about["to"] = field.places(draw(st.integers(0, len(STATES) - 1)))
    if kind is EditKind.ADD:
        x_um = draw(st.floats(22.0, 38.0))
        about = {"to": (Place(session=NAMES[session], head_zyx_um=tuple(np.array([5.0, 11.5, x_um]))),)}
    return decision(kind, **about)


FIELD = drawn()


@given(st.lists(decisions(FIELD), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_undoing_everything_gives_the_tables_of_the_machine(tmp_path_factory, edits):
    book = EditBook(tmp_path_factory.mktemp("book") / EDITS_FILE)
    for edit in edits:
        book.append(edit)
    seen = [apply_edits(FIELD.field, History(book.edits).in_force)]
    while step := History(book.edits).undoable("ann"):
        book.append(decision(EditKind.UNDO, of=step))
    same_tables(apply_edits(FIELD.field, History(read_edits(book.file)).in_force), FIELD.tables)
    while step := History(book.edits).redoable("ann"):
        book.append(decision(EditKind.REDO, of=step))
    again = apply_edits(FIELD.field, History(book.edits).in_force)
    for name in ("spines", "tracks", "fates"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(seen[0], name))


@st.composite
def shuffled_decisions(draw):
    """Decisions of which each is about another spine, and the same in another order."""
    kinds = [EditKind.ACCEPT, EditKind.REJECT, EditKind.ABSENT, EditKind.UNSCORABLE, EditKind.FILOPODIUM, EditKind.ADD]
    edits = []
    for spine in draw(st.permutations(range(len(STATES))))[: draw(st.integers(2, len(STATES)))]:
        session, kind = draw(st.integers(0, 2)), draw(st.sampled_from(kinds))
        about = {"spine": FIELD.places(spine)}
        if kind in {EditKind.ABSENT, EditKind.UNSCORABLE}:
            about["sessions"] = (NAMES[session],)
        if kind is EditKind.ADD:
            place = Place(session=NAMES[session], head_zyx_um=(5.0, 8.0 + SHIFT_UM[session][1], 23.0 + 2.0 * spine))
            about = {"to": (place,)}
        edits.append(decision(kind, **about))
    return edits, draw(st.permutations(edits))


@given(shuffled_decisions())
@settings(max_examples=60, deadline=None)
def test_the_order_of_decisions_about_different_spines_does_not_matter(orders):
    first, second = (apply_edits(FIELD.field, edits) for edits in orders)
    for name in ("spines", "tracks", "fates"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


# ---- the file --------------------------------------------------------------------------------------------------------


def test_a_line_says_version_time_who_and_place(tmp_path, field):
    book = EditBook(tmp_path / EDITS_FILE)
    book.append(Edit.now("ann", EditKind.REJECT, spine=field.places(1)))
    (line,) = (tmp_path / EDITS_FILE).read_text().splitlines()
    values = json.loads(line)
    assert values["version"] == 1
    assert values["when"].endswith("Z")
    assert (values["who"], values["kind"]) == ("ann", "reject")
    assert values["spine"] == [{"session": "monday", "head_zyx_um": list(field.head(1, 0)), "dendrite": 0}]
    assert read_edits(book.file) == book.edits


def test_a_torn_line_is_said_and_nothing_else_is_lost(tmp_path, field):
    book = EditBook(tmp_path / EDITS_FILE)
    for spine in range(3):
        book.append(decision(EditKind.ACCEPT, spine=field.places(spine)))
    whole = book.file.read_bytes()
    for cut in (5, 1, 40):
        book.file.write_bytes(whole[:-cut])
        opened = EditBook(book.file)
        if cut == 1:  # only the end of the line is missing: nothing of the decision is
            assert (len(opened.edits), opened.trouble) == (3, ())
            continue
        assert opened.edits == book.edits[:2]
        assert "edits.jsonl, line 3 is torn" in opened.trouble[0]
        opened.append(decision(EditKind.REJECT, spine=field.places(0)))
        again = EditBook(book.file)
        assert [edit.kind for edit in again.edits] == ["accept", "accept", "reject"]
        assert len(again.trouble) == 1


@given(st.integers(min_value=0))
@settings(max_examples=50, deadline=None)
def test_wherever_a_file_is_cut_the_whole_lines_are_read(cut):
    edits = [decision(EditKind.NOTE, who="Zoë", spine=FIELD.places(n), text="ä") for n in range(3)]
    content = "".join(edit.line() + "\n" for edit in edits).encode()
    cut %= len(content) + 1
    read, torn = parse_edits(content[:cut], Path("edits.jsonl"))
    assert read == tuple(edits[: len(read)])
    assert len(read) >= content[:cut].count(b"\n")
    assert len(torn) <= 1


def test_two_writers_do_not_decide_over_each_other(tmp_path, field):
    ours, theirs = EditBook(tmp_path / EDITS_FILE), EditBook(tmp_path / EDITS_FILE)
    theirs.append(decision(EditKind.ACCEPT, who="bo", spine=field.places(0)))
    edit = decision(EditKind.REJECT, spine=field.places(0))
    with pytest.raises(EditError, match=r"changed meanwhile \(1 decisions of bo are new"):
        ours.append(edit)
    assert [one.who for one in ours.edits] == ["bo"]
    ours.append(edit)
    assert [one.who for one in read_edits(ours.file)] == ["bo", "ann"]


def test_a_decision_that_the_disk_refuses_is_not_shown(tmp_path, field, monkeypatch):
    book = EditBook(tmp_path / EDITS_FILE)
    book.append(decision(EditKind.ACCEPT, spine=field.places(0)))

    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analysis.journal.os.fsync", full)
    with pytest.raises(EditError, match=r"was not kept: .*No space left on device"):
        book.append(decision(EditKind.REJECT, spine=field.places(0)))
    monkeypatch.undo()
    assert len(book.edits) == len(read_edits(book.file)) == 1


def test_later_versions_and_nonsense_are_refused_by_line(tmp_path, field):
    file = tmp_path / EDITS_FILE
    line = decision(EditKind.ACCEPT, spine=field.places(0)).line()
    file.write_text(line + "\n" + line.replace('"version":1', '"version":2') + "\n")
    with pytest.raises(EditError, match="line 2 is of version 2, this program knows 1; update"):
        EditBook(file)
    file.write_text(line.replace("accept", "maybe") + "\n")
    with pytest.raises(EditError, match="line 1 is no decision: kind"):
        EditBook(file)


@pytest.mark.parametrize(
    ("kind", "lacking"),
    [("undo", "of"), ("absent", "sessions"), ("move", "to"), ("join", "to"), ("reject", "spine"), ("blind", "seed")],
)
def test_a_decision_that_is_not_whole_is_refused(kind, lacking):
    with pytest.raises(ValueError, match=f"needs '{lacking}'"):
        decision(EditKind(kind))


def test_undo_takes_back_the_own_last_step_and_all_of_it(field):
    first = decision(EditKind.ACCEPT, spine=field.places(0))
    both = [decision(EditKind.ABSENT, spine=field.places(1), sessions=(name,), step="two") for name in NAMES[:2]]
    other = decision(EditKind.REJECT, who="bo", spine=field.places(2))
    history = History([first, *both, other])
    assert history.undoable("ann") == "two"
    assert history.undoable("bo") == other.step
    assert history.undoable("ann", second=True) is None
    history = History([first, *both, other, decision(EditKind.UNDO, of="two")])
    assert history.in_force == [first, other]
    assert history.redoable("ann") == "two"
    new = decision(EditKind.NOTE, spine=field.places(0), text="x")
    assert History([first, *both, decision(EditKind.UNDO, of="two"), new]).redoable("ann") is None
    astray = decision(EditKind.UNDO, of="never")
    assert History([first, astray]).astray == [astray]


# ---- blind -----------------------------------------------------------------------------------------------------------


def test_blinding_is_a_line_and_lasts_until_unblinded():
    lines = [decision(EditKind.BLIND, seed=11)]
    order = blind_order(lines, "ann", NAMES)
    assert order == BlindOrder(11, NAMES)
    assert blind_order(lines, "bo", NAMES) is None
    assert blind_order([*lines, decision(EditKind.UNBLIND)], "ann", NAMES) is None


@given(st.integers(0, 2**32), st.lists(st.text(min_size=1), unique=True, max_size=40))
def test_a_blind_order_is_an_order_with_a_letter_each(seed, names):
    order = BlindOrder(seed, tuple(names))
    assert sorted(order.order) == list(range(len(names)))
    labels = [order.label(session) for session in order.order]
    assert len(set(labels)) == len(labels)
    assert all(name not in label for name in names if len(name) > 2 for label in labels)


def test_a_new_session_leaves_the_order_of_the_others():
    for seed in range(20):
        before, after = BlindOrder(seed, NAMES).order, BlindOrder(seed, (*NAMES, "later")).order
        assert [session for session in after if session < 3] == list(before)


def test_blind_orders_differ():
    assert len({BlindOrder(seed, NAMES).order for seed in range(50)}) == 6


# ---- tables on disk --------------------------------------------------------------------------------------------------


def test_tables_are_read_as_they_were_written(tmp_path, field):
    write_tables(field, tmp_path)
    same_tables(apply_edits(AnalysedField(read_tables(tmp_path), NAMES), []), field.tables)
    (tmp_path / "fates.csv").unlink()
    with pytest.raises(Exception, match=r"fates\.csv cannot be read: .*; analyse the field first"):
        read_tables(tmp_path)
    (tmp_path / "fates.csv").write_text("track_id,from_day,to_day\n1,0,4\n", encoding="utf-8")
    with pytest.raises(Exception, match=r"fates\.csv lacks \d of \d columns: .*from_session.*analyse the field again"):
        read_tables(tmp_path)
