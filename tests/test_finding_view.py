"""What the pages Surface and Find show, without Qt: rows, words, pictures, places."""

import numpy as np
import pytest

from acquire.config import Orientation
from acquire.errors import StudyError
from acquire.gui.finding_view import field_rows, stage_step_um, tell_found, tell_search, why_not_accept
from acquire.gui.map_view import MapView, MarkOnMap, read_pixel_um, read_places
from acquire.gui.status import DeskStatus, FieldStatus, Known
from acquire.gui.tinted import both_tinted, stretched_bytes
from acquire.model import RelocationRecord, RelocationStep, StagePosition
from acquire.relocate import ImageOnStage
from analysis.model import Verdict

HERE = StagePosition(x_um=10.0, y_um=20.0, z_um=30.0)


def searched(verdict: Verdict, **changes) -> RelocationRecord:
    step = RelocationStep(
        stage=HERE, score=0.5, margin=0.4, agreement_um=1.0, verdict=verdict, offset_zyx_um=(1.0, -2.0, 3.0),
        yaw_deg=0.0, tilt_deg=0.0, compute_s=1.0, probability=0.9,
    )  # fmt: skip
    return RelocationRecord(
        animal="M1", field="F01", session="S", verdict=verdict, predicted=HERE, position=HERE.moved(z_um=5.0),
        remaining_zyx_um=None, reference_from_today=None, steps=(step,), rig_s=2.0, compute_s=1.0,
        sigma_zyx_um=(30.0, 8.0, 8.0), **changes,
    )  # fmt: skip


def field(name: str = "F01", **changes) -> FieldStatus:
    return FieldStatus(name=name, position=HERE, **changes)


def test_fields_stand_in_the_proposed_order_and_new_ones_last():
    fields = (field("F03", is_new=True), field("F01"), field("F02", predicted=HERE, sigma_um=(3.0, 4.0, 9.0)))
    rows = field_rows(DeskStatus(known=Known(fields=fields, order=("F02", "F01"))))
    assert [(row.name, row.turn, row.word) for row in rows] == [
        ("F02", "1", "to find"), ("F01", "2", "to find"), ("F03", "", "new"),
    ]  # fmt: skip
    assert (rows[0].place, rows[0].known, rows[1].place) == ("10  20  30", "4, 9", "-")


def test_an_accepted_field_says_so_and_counts_as_placed():
    unsure = field(relocation=searched(Verdict.UNSURE))
    status = DeskStatus(known=Known(fields=(unsure,)), accepted=frozenset({"F01"}))
    assert field_rows(status)[0].word == "accepted"
    assert status.is_placed(unsure) and not DeskStatus().is_placed(unsure)


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Verdict.FOUND, "z +5.0 um from where it was predicted"),
        (Verdict.UNSURE, "Compare reference and today."),
        (Verdict.NOT_FOUND, "Check focus, immersion and the window."),
    ],
)
def test_a_search_says_what_it_rests_on_and_what_to_do(verdict, told):
    said = tell_search(field(relocation=searched(verdict, note="as noted")))
    assert said.headline == f"F01 {verdict}"
    assert "right with probability 0.900" in said.lines[0] and "as noted" in said.lines
    assert any(told in line for line in said.lines)
    assert ("um off" in said.steps[0]) is (verdict is not Verdict.NOT_FOUND)
    assert any("searched about" in line for line in said.lines) is (verdict is not Verdict.FOUND)


def test_only_what_is_unsure_and_was_seen_is_accepted():
    unsure, found = (field(relocation=searched(verdict)) for verdict in (Verdict.UNSURE, Verdict.FOUND))
    assert why_not_accept(None, None, is_accepted=False) == "only a field that was looked for can be accepted"
    assert "F01 is found" in why_not_accept(found, None, is_accepted=False)
    assert why_not_accept(unsure, None, is_accepted=False) == "look at reference and today first"
    assert why_not_accept(unsure, None, is_accepted=True) == "F01 is accepted already"


def test_arrows_move_what_is_seen_whichever_way_the_image_lies():
    mirrored = Orientation(stage_from_image=((-1.0, 0.0), (0.0, 1.0)), deeper_is=-1)
    assert stage_step_um(mirrored, "Right", 5.0) == (-5.0, 0.0, 0.0)
    assert stage_step_um(mirrored, "Up", 5.0) == (0.0, -5.0, 0.0)
    assert stage_step_um(mirrored, "PgDown", 5.0) == (0.0, 0.0, -5.0)


def test_what_came_of_all_fields_is_one_sentence():
    assert tell_found([searched(Verdict.FOUND)], ["F02: out of reach"]) == "F01 found; F02: out of reach"


def test_both_alike_are_grey_and_each_alone_has_its_colour():
    bright, dark = np.full((2, 3), 255, np.uint8), np.zeros((2, 3), np.uint8)
    assert both_tinted(bright, bright)[0, 0].tolist() == [255, 255, 255]
    assert both_tinted(bright, dark)[0, 0].tolist() == [255, 38, 255]
    assert both_tinted(dark, bright)[0, 0].tolist() == [0, 255, 38]
    assert stretched_bytes(np.arange(100.0).reshape(10, 10)).max() == 255
    assert stretched_bytes(np.zeros((20, 20))).max() == 0


def view_of(*marks: MarkOnMap, by_stage: bool = False) -> MapView:
    on_stage = ImageOnStage(HERE, 2.0, (101, 201), Orientation(stage_from_image=((-1.0, 0.0), (0.0, 1.0))))
    return MapView("S", on_stage, np.zeros((101, 201), np.uint8), marks=marks, by_stage=by_stage)


def test_places_of_the_map_go_to_the_screen_and_back():
    view = view_of(MarkOnMap("V1", (50.0, 60.0)))
    assert view.size_um == (202.0, 402.0)
    assert view.on_screen((50.0, 60.0)) == (61.0, 51.0)  # um from the corner of the first pixel, x first
    assert view.in_map(61.0, 51.0) == (50.0, 60.0)
    assert (view.near((52.0, 63.0)), view.near((90.0, 60.0))) == ("V1", "")


def test_a_landmark_is_kept_by_its_place_in_the_map_or_on_the_stage():
    assert view_of().place_of((50.0, 60.0)) == ((50.0, 60.0), None)
    on_map, on_stage = view_of(by_stage=True).place_of((100.0, 210.0))
    assert on_map is None and on_stage == (0.0, 20.0)  # 10 um right of the middle, where the stage goes down


def test_typed_places_are_read_or_refused_in_a_sentence():
    assert read_places([("V1", "1,5", "-2"), ("V2", "", " ")]) == {"V1": (1.5, -2.0)}
    with pytest.raises(StudyError, match="landmark V2: '3' and '' are no stage position"):
        read_places([("V2", "3", "")])
    assert read_pixel_um("2,5") == 2.5
    for typed in ("", "two", "-1", "inf"):
        with pytest.raises(StudyError, match="is no positive number"):
            read_pixel_um(typed)
