import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from analysis.errors import StackError
from analysis.field import FieldAnalysis, analyse_field, link_marks
from analysis.marks import Marks, read_marks
from analysis.model import Dendrite, Stack
from analysis.stack import read_dendrites, read_stack
from analysis.tables import DENDRITE_COLUMNS, FATE_COLUMNS, SPINE_COLUMNS, TRACK_COLUMNS

VOXEL_UM = (1.0, 0.15, 0.15)
SHAPE = (16, 200, 260)
KEPT = [(5.0, 1.3), (9.0, -1.4), (13.0, 1.6), (20.0, -1.2), (25.0, 1.3), (33.0, -1.5)]  # along x, above the shaft, um
LOST, GAINED = (29.0, 1.4), (16.5, -1.4)
SHIFT_UM = np.array([1.0, 0.9, -1.2])  # of the second session's image


def shaft_y_um(x):
    return 14.0 + 1.5 * np.sin(x / 9.0)


def draw(heads, shift_um=(0.0, 0.0, 0.0), seed=0) -> Stack:
    """One dendrite with spines, among blobs that make the field its own, blurred, with photon noise."""
    z, y, x = np.meshgrid(*(np.arange(n) * v for n, v in zip(SHAPE, VOXEL_UM, strict=True)), indexing="ij", sparse=True)
    z, y, x = (axis - s for axis, s in zip((z, y, x), shift_um, strict=True))
    light = (np.hypot(z - 8.0, y - shaft_y_um(x)) <= 0.5).astype(float)
    for along, above in heads:
        for share in np.linspace(0.3, 1.0, 15):
            radius, weight = (0.35, 0.9) if share == 1.0 else (0.1, 0.5)
            near = np.hypot(y - shaft_y_um(along) + share * above, x - along) <= radius
            light = np.maximum(light, weight * (near & (np.abs(z - 8.0) < 0.6)))
    for spot in np.random.default_rng(7).uniform([3, 2, 2], [13, 28, 37], (25, 3)):
        if abs(spot[1] - shaft_y_um(spot[2])) > 5:
            near = np.hypot(y - spot[1], x - spot[2]) <= 0.5
            light = np.maximum(light, 0.5 * (near & (np.abs(z - spot[0]) < 0.8)))
    blurred = gaussian_filter(light, np.array([0.8, 0.18, 0.18]) / VOXEL_UM) + 0.01
    pixels = np.random.default_rng(seed).poisson(300 * blurred).astype(np.uint16)
    return Stack(pixels, VOXEL_UM, f"session{seed}")


@pytest.fixture(scope="module")
def stacks() -> list[Stack]:
    return [draw([*KEPT, LOST]), draw([*KEPT, GAINED], SHIFT_UM, seed=1), draw([*KEPT, GAINED], seed=2)]


@pytest.fixture(scope="module")
def line() -> Dendrite:
    x = np.linspace(1.5, 37.0, 180)
    return Dendrite(0, np.stack([np.full(180, 8.0), shaft_y_um(x), x], axis=1), np.full(180, 0.5))


@pytest.fixture(scope="module")
def analysis(stacks, line) -> FieldAnalysis:
    return analyse_field(stacks, dendrites=[line])


def track_at(analysis: FieldAnalysis, place, session: int) -> int:
    """The track whose head lies at a drawn place in one session."""
    x, above = place
    shift = SHIFT_UM if session == 1 else np.zeros(3)
    head = np.array([shaft_y_um(x) - above, x]) + shift[1:]
    rows = analysis.tracks[analysis.tracks["session"] == session]
    away = np.hypot(*(rows[["head_y_um", "head_x_um"]].to_numpy() - head).T)
    assert away.min() < 0.5
    return int(rows["track_id"].iloc[int(away.argmin())])


def fates(analysis: FieldAnalysis, before: int) -> dict[int, str]:
    rows = analysis.fates[analysis.fates["from_session"] == before]
    return dict(zip(rows["track_id"], rows["fate"], strict=True))


def test_every_spine_keeps_its_name(analysis):
    for place in KEPT:
        assert len({track_at(analysis, place, session) for session in range(3)}) == 1


def test_fates_are_the_drawn_ones(analysis):
    first, second = fates(analysis, 0), fates(analysis, 1)
    kept = {track_at(analysis, place, 0) for place in KEPT}
    lost, gained = track_at(analysis, LOST, 0), track_at(analysis, GAINED, 1)
    assert {track: first[track] for track in kept} == dict.fromkeys(kept, "stable")
    assert (first[lost], first[gained]) == ("lost", "gained")
    assert set(first) == {*kept, lost, gained}
    assert set(second) == {*kept, gained}
    assert set(second.values()) == {"stable"}


def test_presence_is_told_of_every_track_in_every_session(analysis):
    presence = analysis.presence
    assert presence.probability.shape == (analysis.tracks["track_id"].nunique(), 3)
    for row in analysis.tracks.itertuples():
        assert presence.state[row.track_id, row.session] == row.state
        assert presence.probability[row.track_id, row.session] == pytest.approx(row.present_probability)
    lost = track_at(analysis, LOST, 0)
    assert presence.state[lost].tolist() == ["present", "absent", "absent"]
    assert presence.probability[lost, 1] < 0.3


def test_the_motion_of_the_second_session_is_found(analysis):
    moved = analysis.reference_from_session[1].inverse().apply([8.0, 14.0, 20.0])
    assert moved == pytest.approx(np.array([8.0, 14.0, 20.0]) + SHIFT_UM, abs=0.6)


def test_a_coarser_and_smaller_stack_of_the_field_says_nothing_of_what_it_does_not_show(stacks, line):
    fine = stacks[0]
    coarse = fine.pixels[:, :, :160].reshape(16, 100, 2, 80, 2).mean(axis=(2, 4))
    small = Stack(coarse, (1.0, 0.3, 0.3), "small")  # ends at x = 24 um
    beyond = line.points_zyx_um[:, 2] > 26.5
    halves = [Dendrite(n, line.points_zyx_um[part], line.radius_um[part]) for n, part in enumerate((~beyond, beyond))]
    both = analyse_field([fine, small], dendrites=halves)
    assert both.spines.loc[both.spines["session"] == 1, "head_x_um"].max() < 24.0
    places = both.tracks[both.tracks["session"] == 0]
    unseen = places.loc[places["head_x_um"] > 24.0, "track_id"]
    told = both.fates[both.fates["track_id"].isin(unseen)]
    assert len(told) >= 3
    assert set(told["fate"]) == {"unscorable"}
    assert "stable" in set(both.fates["fate"])


def test_tables_keep_their_contract(analysis, tmp_path):
    files = analysis.write_tables(tmp_path / "out", parquet=True)
    columns = (SPINE_COLUMNS, DENDRITE_COLUMNS, TRACK_COLUMNS, FATE_COLUMNS)
    assert [tuple(pd.read_csv(file).columns) for file in files] == list(columns)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("spines", "dendrites", "tracks", "fates") for kind in ("csv", "parquet")
    )
    spines = pd.read_csv(files[0])
    assert set(spines["state"]) == {"present"}
    assert spines["present_probability"].between(0, 1).all()
    assert set(spines["side"]) == {"left", "right"}
    counts = analysis.dendrites.groupby("session").size()
    assert len(counts) == 3
    assert len(set(counts)) == 1


def test_places_along_are_the_same_in_every_session(analysis):
    along_um = analysis.spines.groupby("spine_id")["along_um"]
    assert (along_um.max() == along_um.min()).all()


def test_one_stack_alone_has_no_fates_and_tells_its_progress(stacks):
    told: list[float] = []
    alone = analyse_field(stacks[:1], progress=lambda _text, share: told.append(share))
    assert tuple(alone.fates.columns) == FATE_COLUMNS
    assert len(alone.fates) == 0
    assert set(alone.spines["session"]) == {0}
    assert len(alone.spines) >= 6
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("level", [0, 5])
def test_a_stack_without_dendrites_gives_empty_tables(level, tmp_path):
    nothing = analyse_field([Stack(np.full(SHAPE, level, np.uint8), VOXEL_UM, "blank")])
    assert len(nothing.spines) == len(nothing.dendrites) == len(nothing.tracks) == len(nothing.fates) == 0
    assert tuple(pd.read_csv(nothing.write_tables(tmp_path)[0]).columns) == SPINE_COLUMNS
    (warning,) = nothing.warnings
    assert warning == "No dendrite was found in blank. Is the voxel size of 1 x 0.15 x 0.15 um (z, y, x) right?"


def test_a_field_that_shows_its_spines_has_no_warning(analysis):
    assert analysis.warnings == ()


def test_a_coarse_stack_is_warned_of(stacks, line):
    pixels = stacks[0].pixels.reshape(16, 50, 4, 65, 4).mean(axis=(2, 4))
    coarse = analyse_field([Stack(pixels, (1.0, 0.6, 0.6), "overview")], dendrites=[line])
    assert any("overview has pixels of 0.6 um: small spines cannot be seen" in text for text in coarse.warnings)


@pytest.mark.parametrize(
    ("shape", "voxel_um", "told"),
    [
        ((3, 12, 12), (1.0, 1.0, 1.0), "3 x 12 x 12 voxels, 3 x 12 x 12 um"),
        ((9, 64, 64), (1.0, 0.1, 0.1), "9 x 6.4 x 6.4 um"),
    ],
)
def test_a_stack_too_small_to_show_a_dendrite_is_refused(stacks, shape, voxel_um, told):
    tiny = Stack(np.ones(shape, np.uint8), voxel_um, "tiny")
    for some in ([tiny], [stacks[0], tiny]):
        with pytest.raises(StackError, match=f"tiny is too small to show a dendrite: .*{told}"):
            analyse_field(some)


def test_pixels_wider_than_a_dendrite_are_refused(stacks):
    with pytest.raises(StackError, match=r"session0 has pixels of 1\.5 um, .* \(at most 1 um\)"):
        analyse_field([Stack(stacks[0].pixels, (2.0, 1.5, 1.5), "session0")])


def test_dendrites_beside_the_stack_are_refused(stacks, line):
    away = Dendrite(0, line.points_zyx_um + 100.0, line.radius_um)
    with pytest.raises(
        StackError, match=r"All given dendrites lie outside session0: .* ends at 15 x 29\.85 x 38\.85 um"
    ):
        analyse_field(stacks[:1], dendrites=[away])
    both = analyse_field(stacks[:1], dendrites=[line, Dendrite(1, away.points_zyx_um, away.radius_um)])
    assert set(both.spines["dendrite"]) == {0}


def test_tables_never_stand_beside_the_report_of_others(analysis, tmp_path):
    analysis.write_tables(tmp_path, parquet=True)
    for name in ("report.html", "gallery.png", "overlay_session7.png", "edits.jsonl", "mine.parquet"):
        (tmp_path / name).write_text("old")
    files = analysis.write_tables(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"edits.jsonl", "mine.parquet", *(file.name for file in files)}


def test_no_stack_is_refused():
    with pytest.raises(StackError, match="at least one stack"):
        analyse_field([])


def marks_of(*heads_of_sessions) -> Marks:
    """Marks on the drawn heads of each session, (x, above) as drawn."""
    session = np.repeat(np.arange(len(heads_of_sessions)), [len(heads) for heads in heads_of_sessions])
    x, above = np.array([head for heads in heads_of_sessions for head in heads]).T
    heads = np.stack([np.full(len(x), 8.0), shaft_y_um(x) - above, x], axis=1)
    heads[session == 1] += SHIFT_UM
    return Marks(session, heads, np.full(len(x), -1))


def test_spines_that_a_person_marked_are_linked_and_left_as_they_are(stacks, line):
    marks = marks_of([*KEPT, LOST], [*KEPT, GAINED], [*KEPT[1:], GAINED])
    linked = analyse_field(stacks, dendrites=[line], marks=marks)
    heads = linked.tracks.sort_values(["session", "head_x_um"])[["session", "head_z_um", "head_y_um", "head_x_um"]]
    given = np.column_stack([marks.session, marks.head_zyx_um])
    assert heads.to_numpy() == pytest.approx(given[np.lexsort((given[:, 3], given[:, 0]))])
    assert set(linked.tracks["present_probability"]) == {1.0}
    first, second = fates(linked, 0), fates(linked, 1)
    assert sorted(first.values()) == ["gained", "lost", *["stable"] * 6]
    assert sorted(second.values()) == ["lost", *["stable"] * 6]
    assert first[track_at(linked, LOST, 0)] == "lost"
    assert second[track_at(linked, KEPT[0], 0)] == "lost"


def test_marks_are_told_their_tracks(stacks, line):
    marks = marks_of([*KEPT, LOST], [*KEPT, GAINED])
    heads = [marks.head_zyx_um[marks.session == session] for session in (0, 1)]
    first, second = link_marks(stacks[:2], [heads[0], heads[1][::-1]], dendrites=[line])
    assert first[:6].tolist() == second[::-1][:6].tolist()
    assert len({*first.tolist(), *second.tolist()}) == 8
    assert [len(some) for some in link_marks(stacks[:2], [heads[0], []], dendrites=[line])] == [7, 0]


def test_what_a_smaller_stack_does_not_show_is_not_lost(stacks, line):
    small = Stack(stacks[0].pixels[:, :, :160], VOXEL_UM, "small")  # ends at x = 24 um
    linked = analyse_field([stacks[0], small], dendrites=[line], marks=marks_of(KEPT, []))
    near = dict(zip(linked.tracks["track_id"], linked.tracks["head_x_um"], strict=True))
    told = fates(linked, 0)
    assert {told[track] for track, x in near.items() if x < 22} == {"lost"}
    assert {told[track] for track, x in near.items() if x > 26} == {"unscorable"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("session,head_z_um,head_y_um\n0,1,2\n", "lacks head_x_um"),
        ("session,head_z_um,head_y_um,head_x_um\n", "holds 0 marks"),
        ("session,head_z_um,head_y_um,head_x_um\n0,1,2,3\n0,1,oops,3\n", "line 3: not a number in 1 rows"),
        ("session,head_z_um,head_y_um,head_x_um\n0.5,1,2,3\n", "line 2: .* give the session as 0, 1, 2"),
        ("", "no readable CSV"),
    ],
)
def test_marks_that_cannot_be_read_are_refused(text, told, tmp_path):
    (tmp_path / "marks.csv").write_text(text)
    with pytest.raises(StackError, match=f"marks.csv.*{told}"):
        read_marks(tmp_path / "marks.csv")
    with pytest.raises(StackError, match="does not exist; give a CSV"):
        read_marks(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("session", "head", "told"),
    [(2, (8.0, 14.0, 9.0), "of session 2, but 2 stacks"), (1, (8.0, 93.0, 60.0), "lies outside session1, which ends")],
)
def test_marks_of_no_stack_or_in_pixels_are_refused(stacks, line, session, head, told):
    marks = Marks(np.array([session]), np.array([head]), np.array([-1]))
    with pytest.raises(StackError, match=told):
        analyse_field(stacks[:2], dendrites=[line], marks=marks)


@pytest.mark.slow
def test_marks_of_the_real_field_are_linked_as_a_person_did(real_field):
    """The person's links contradict the pictures in some places: 7 of 116 from session 0 to 1."""
    tables = [pd.read_csv(real_field / f"session{s}_spines.csv") for s in (0, 1)]
    table = pd.concat(tables, keys=(0, 1), names=["session"]).reset_index(level=0)
    tip, foot = (table[[f"{end}_{axis}_um" for axis in "zyx"]].to_numpy() for end in ("tip", "anchor"))
    inward = (foot - tip) * [0.0, 1.0, 1.0]
    heads = tip + 0.55 * inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 0.55)
    marks = Marks(table["session"].to_numpy(), heads, table["dendrite"].to_numpy())
    stacks = [read_stack(real_field / f"session{s}.ome.tif") for s in (0, 1)]
    lines = read_dendrites(real_field / "session0_dendrites.csv")
    named = [t["spine_id"].to_numpy() for t in tables]
    tracks = link_marks(stacks, [heads[marks.session == s] for s in (0, 1)], dendrites=lines)
    ours = [dict(zip(track.tolist(), names.tolist(), strict=True)) for track, names in zip(tracks, named, strict=True)]
    links = [(ours[0][track], ours[1][track]) for track in ours[0].keys() & ours[1].keys()]
    person = [set(t.loc[~t["is_bad"], "spine_id"]) for t in tables]
    right = sum(a == b for a, b in links)
    assert 2 * right / (len(links) + len(person[0] & person[1])) > 0.92


@pytest.mark.slow
def test_other_fields_are_refused(real_field):
    stack = read_stack(real_field / "session0.ome.tif")
    pixels = stack.pixels
    here = Stack(pixels[:, :512, :512], stack.voxel_um, "F01")
    there = Stack(pixels[:, 512:, 512:], stack.voxel_um, "F02")
    with pytest.raises(StackError, match="F02 does not show the field of F01"):
        analyse_field([here, there])


@pytest.mark.slow
def test_spines_of_the_real_field_are_those_that_a_person_marked(real_field):
    analysis = analyse_field([read_stack(real_field / "session1.ome.tif")])
    truth = pd.read_csv(real_field / "session1_spines.csv")
    heads = analysis.spines[["head_y_um", "head_x_um"]].to_numpy()
    tips = truth[["tip_y_um", "tip_x_um"]].to_numpy()
    nearest = np.array([np.hypot(*(heads - tip).T).min() for tip in tips])
    assert (nearest < 1.3).mean() > 0.7
