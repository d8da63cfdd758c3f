"""What a review selects, decides and counts, without a window."""

import pytest

from acquire.errors import StudyError
from acquire.gui.material import Reviewable, list_reviewable, open_material
from acquire.gui.review import Review
from analysis.edits import EditKind, read_edits
from analysis.model import SpineState
from analysis.tables import SESSIONS_FILE
from tests.drawn import STATES, A, P, U, drawn, make_drawn_study

FIELD = Reviewable("M1", "F01")
DRAWN = drawn()


@pytest.fixture
def study(tmp_path):
    with make_drawn_study(tmp_path / "study", DRAWN) as made:
        yield made


@pytest.fixture
def review(study):
    return Review(open_material(study, FIELD), "ann")


def decide(review, edits):
    review.take(review.keep(edits))
    assert not review.judgement.refused
    assert review.trouble == ()


def states(review, track):
    return next(spine.states for spine in review.judgement.review.followed if spine.track_id == track)


def test_analysed_fields_are_listed(study):
    assert list_reviewable(study) == [FIELD]


def test_stepping_goes_along_the_dendrite_and_round(review):
    seen = []
    for _ in STATES:
        seen.append(review.selected.track_id)
        review.step_spine(1)
    assert seen == list(range(len(STATES)))
    assert review.selected.track_id == 0
    review.step_spine(-1)
    assert review.selected.track_id == len(STATES) - 1


def test_the_same_place_is_in_the_middle_also_where_the_spine_is_absent(review):
    review.select(1)
    places = [review.place(review.selected, session)[0] for session in range(3)]
    assert places == pytest.approx([5.0, 5.0, 5.0], abs=0.3)
    for session in (1, 2):
        assert review.head(review.selected, session) == pytest.approx(tuple(DRAWN.head(1, session)), abs=0.3)
        (mark,) = [mark for mark in review.marks(session) if mark.is_selected]
        assert mark.is_absent


def test_marks_say_what_became_of_each_spine(review):
    words = {session: {mark.track_id: mark.word for mark in review.marks(session)} for session in range(3)}
    assert words[0] == {0: "stable", 1: "lost", 3: "unscorable", 4: "stable", 6: "unscorable"}
    assert words[1] == {0: "stable", 1: "absent", 2: "gained", 3: "unscorable", 4: "lost", 6: "stable"}
    assert words[2] == {0: "stable", 2: "stable", 3: "unscorable", 4: "absent", 5: "gained", 6: "stable"}


@pytest.mark.parametrize(
    ("track", "session", "verb", "after"),
    [
        (0, 1, "say_added", (A, P, P)),
        (0, 0, "say_added", (P, P, P)),
        (0, 2, "say_lost", (P, P, A)),
        (1, 1, "say_persistent", (P, P, A)),
        (3, 1, "say_persistent", (P, P, P)),
        (0, 2, "say_unscorable", (P, P, U)),
        (5, 1, "say_added", (A, P, P)),
    ],
)
def test_a_key_says_what_is_so_in_this_session(review, track, session, verb, after):
    review.select(track, session)
    edits = getattr(review, verb)()
    assert len({edit.step for edit in edits}) == 1
    decide(review, edits)
    assert states(review, track) == after
    assert (review.selected.track_id, review.session) == (track, session)
    review.take(review.take_back())
    assert states(review, track) == STATES[track]


def test_what_is_rejected_gives_way_to_the_next(review):
    review.select(2, 1)
    decide(review, review.reject())
    assert review.selected.track_id == 3
    assert 2 not in {mark.track_id for mark in review.marks(1)}
    review.take(review.take_back())
    assert review.selected.track_id == 2


def test_numbers_follow_every_decision(review):
    assert review.numbers.rows[0] == ("0-4", "2", "1", "1", "2", "33 %")
    assert review.progress == (0, 7)
    review.select(0, 1)
    decide(review, review.say_lost())
    assert review.numbers.rows[0] == ("0-4", "1", "1", "2", "2", "50 %")
    assert review.progress == (1, 7)


def test_the_least_certain_comes_first_and_what_is_decided_no_more(review):
    review.step_doubtful()
    first = review.selected
    assert first.certainty == min(spine.certainty for spine in review.judgement.review.shown)
    decide(review, review.accept())
    review.step_doubtful()
    assert review.selected.track_id != first.track_id
    for _ in range(6):
        review.step_doubtful()
        decide(review, review.accept())
    assert review.why_not_doubtful() == "all 7 spines are decided"


def test_insert_adds_a_spine_and_selects_it_or_finds_the_one_that_is_missing_there(review):
    decide(review, review.insert(1, (5.0, 14.5, 28.0)))
    assert review.selected.is_added
    assert review.selected.present == [1]
    review.select(1, 2)
    decide(review, review.insert(2, tuple(DRAWN.head(1, 2))))
    assert states(review, 1) == (P, A, P)
    assert len(review.judgement.review.shown) == len(STATES) + 1


def test_a_head_is_moved_and_where_it_was_absent_it_is_there_then(review):
    review.select(0, 0)
    decide(review, review.move(0, (5.5, 8.0, 2.4)))
    assert review.head(review.selected, 0) == (5.5, 8.0, 2.4)
    review.select(1, 1)
    decide(review, review.move(1, (5.0, 12.0, 5.0)))
    assert states(review, 1) == (P, P, A)


def test_two_keys_join_and_one_splits(review):
    review.select(1)
    assert review.join() == []
    assert "press j there" in review.joining_says
    review.select(0)
    assert "both spines are present in day 0" in review.why_not_join()
    review.select(5)
    assert review.why_not_join() is None
    decide(review, review.join())
    assert states(review, 1) == (P, A, P)
    assert review.selected.track_id == 1
    review.choose_session(2)
    assert review.why_not_split() is None
    decide(review, review.split())
    assert states(review, 1) == (P, A, A)
    assert len(review.judgement.review.shown) == len(STATES)
    review.choose_session(0)
    assert "not present before" in review.why_not_split()


def test_the_click_finds_the_depth(review):
    for spine, session in ((0, 0), (3, 2), (6, 1)):
        along, across, _ = review.place(next(s for s in review.judgement.review.shown if s.track_id == spine), session)
        head = review.material.head_at(0, session, along, across)
        assert head == pytest.approx(tuple(DRAWN.head(spine, session)), abs=0.6)


def test_blind_hides_names_days_and_order_and_is_kept(review, study):
    review.take(review.turn_blind())
    labels = [review.label(session) for session in review.order]
    assert labels == ["A", "B", "C"]
    said = [
        review.title,
        review.position,
        *review.numbers.columns,
        *(word for row in review.numbers.rows for word in row),
    ]
    assert not [text for text in said if "day" in text or "M1" in text or "2026" in text]
    assert {mark.word for session in range(3) for mark in review.marks(session)} <= {"present", "absent", "unscorable"}
    review.select(0, 1)
    (edit,) = review.say_added()
    assert edit.sessions == (review.analysed.sessions[1],)
    again = Review(open_material(study, FIELD), "ann")
    assert again.order == review.order
    assert Review(open_material(study, FIELD), "bo").blind is None
    review.take(review.turn_blind())
    assert review.label(0) == "day 0"
    lines = read_edits(review.material.book.file)
    assert [(line.kind, line.who) for line in lines] == [(EditKind.BLIND, "ann"), (EditKind.UNBLIND, "ann")]


def test_a_second_rater_sees_no_decision_of_the_review_and_is_compared(review):
    review.select(0, 1)
    decide(review, review.say_lost())
    decide(review, review.accept())
    assert review.agreement is None
    review.take(review.change_who("bo"))
    review.take(review.turn_second())
    assert states(review, 0) == STATES[0]
    assert review.progress == (0, 7)
    review.select(0, 1)
    decide(review, review.accept())
    rows = {row[0]: row for row in review.agreement.rows}
    assert rows["lost"] == ("lost", "2", "1 / 0", "0.00", "0.00")
    assert rows["unscorable"][3:] == ("-", "-")
    review.take(review.turn_second())
    assert states(review, 0) == (P, A, P)


def test_undo_is_of_the_own_decisions(review):
    review.select(0, 1)
    decide(review, review.say_lost())
    review.take(review.change_who("bo"))
    assert review.why_not_undo() == "bo has decided nothing yet"
    assert review.take_back() is review.judgement


def test_a_decision_that_was_not_kept_is_told_and_not_shown(review, study):
    other = Review(open_material(study, FIELD), "bo")
    decide(other, other.reject())
    review.select(1, 0)
    review.take(review.keep(review.accept()))
    assert "changed meanwhile" in review.judgement.refused
    assert [spine.track_id for spine in review.judgement.review.followed if spine.is_rejected] == [0]
    assert review.progress == (1, 7)


def test_after_a_crash_every_decision_is_there_and_the_torn_line_is_said(review, study):
    for track in range(3):
        review.select(track, 0)
        decide(review, review.accept())
    file = review.material.book.file
    file.write_bytes(file.read_bytes()[:-20])
    again = Review(open_material(study, FIELD), "ann")
    assert again.progress == (2, 7)
    assert "line 3 is torn" in again.trouble[0]


def test_a_field_that_was_analysed_again_is_gone_on_with_at_the_same_spine(review, study):
    review.select(3, 2)
    again = Review(open_material(study, FIELD), "ann")
    again.restore(review)
    assert (again.selected.track_id, again.session) == (3, 2)


def test_tables_of_other_sessions_are_refused(study):
    folder = study.analysis_folder("M1", "F01")
    (folder / SESSIONS_FILE).write_text("session,name\n0,2020-01-01T0000\n1,x\n2,y\n")
    with pytest.raises(StudyError, match="M1 F01: the stack of session 2020-01-01T0000, x, y was analysed but is gone"):
        open_material(study, FIELD)
    (folder / SESSIONS_FILE).unlink()
    assert len(open_material(study, FIELD).days) == 3


def test_states_are_those_that_were_drawn(review):
    assert [spine.states for spine in review.judgement.review.followed] == list(STATES)
    assert SpineState.PRESENT is P
