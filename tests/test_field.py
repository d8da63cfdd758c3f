import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from analysis.errors import StackError
from analysis.field import FieldAnalysis, analyse_field
from analysis.model import Dendrite, Stack
from analysis.stack import read_stack
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
