"""What leaves for other programs comes back from their own libraries as the same points, within 0.01 um."""

from pathlib import Path

import numpy as np
import ome_zarr.reader
import pandas as pd
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr.io import parse_url
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi, roiwrite

from acquire.__main__ import main
from acquire.errors import StudyError
from acquire.exporting import ExportPlan, Format, export_study
from analysis.dictionary import ANY_TABLE, OF_TABLE, column, data_dictionary
from analysis.edits import EDITS_FILE, Edit, EditBook, EditKind
from analysis.errors import StackError
from analysis.fieldtables import read_tables
from analysis.labels import PLANES_AT_ONCE, dendrite_drawing, spine_drawing, spine_label, write_labels
from analysis.marked import MarkedSession, MarkedSpine, marked_session
from analysis.omezarr import look_at_zarr
from analysis.roisets import read_roi_set, write_roi_set
from analysis.swc import read_swc, write_swc
from analysis.tables import DENDRITE_COLUMNS, FATE_COLUMNS, SPINE_COLUMNS, TRACK_COLUMNS
from tests.drawn import PLAN, drawn, make_drawn_study

VOXEL_UM = (1.0, 0.12, 0.13)
SAME_UM = 0.01
LINE = np.array([[5.0, 10.0, 2.0], [5.4, 10.5, 9.0], [6.1, 11.0, 20.0]])


def heads(session: MarkedSession) -> np.ndarray:
    return np.array([spine.head_zyx_um for spine in session.spines]).reshape(-1, 3)


def a_session(*spines: MarkedSpine) -> MarkedSession:
    return MarkedSession(spines or (MarkedSpine(3, 0, (5.25, 11.3, 7.7), (5.1, 10.4, 7.6), ("stable",)),), {0: LINE})


def a_spine(track, head, **about) -> MarkedSpine:
    return MarkedSpine(track, about.pop("dendrite", 0), head, **about)


places = st.tuples(*(st.floats(0, top, allow_nan=False) for top in (60, 120, 120)))
sessions = st.lists(places, min_size=1, max_size=12).map(
    lambda found: MarkedSession(tuple(MarkedSpine(n, 0, point, None, ("gained",)) for n, point in enumerate(found)))
)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exchange") / "study"
    make_drawn_study(folder, drawn()).close()
    return folder


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exchange") / "out"
    assert main(["export", "--study", str(study), "--out", str(folder)]) == 0
    return folder


def truth(study: Path, session: int) -> MarkedSession:
    return marked_session(read_tables(study / "animals/M1/analysis/F01"), session)


# ---- ImageJ ----------------------------------------------------------------------------------------------------


def test_points_and_lines_of_imagej_count_from_the_middle_of_a_pixel(tmp_path):
    """ImageJ draws a point at (0, 0) in the middle of the first pixel: Roi.useLineSubpixelConvention."""
    at = a_spine(0, (2.0, 0.0, 12 * VOXEL_UM[2]))
    write_roi_set(tmp_path / "a.zip", MarkedSession((at,), {}), VOXEL_UM)
    (roi,) = ImagejRoi.fromfile(tmp_path / "a.zip")
    assert roi.roitype == ROI_TYPE.POINT
    assert roi.coordinates() == pytest.approx(np.array([[12.0, 0.0]]))
    assert roi.position == 3  # slices count from 1


def test_areas_of_imagej_count_from_the_corner_of_a_pixel(tmp_path):
    """A square around pixel (10, 20) spans 10-11 and 20-21 there; its middle is the middle of the pixel."""
    area = ImagejRoi.frompoints([[10, 20], [11, 20], [11, 21], [10, 21]], name="head", position=4)
    area.roitype = ROI_TYPE.POLYGON
    roiwrite(tmp_path / "areas.zip", [area])
    (spine,) = read_roi_set(tmp_path / "areas.zip", VOXEL_UM).spines
    assert spine.head_zyx_um == pytest.approx((4 * VOXEL_UM[0], 20 * VOXEL_UM[1], 10 * VOXEL_UM[2]))


@settings(max_examples=30, deadline=None)
@given(sessions)
def test_roi_sets_come_back(tmp_path_factory, session):
    file = tmp_path_factory.mktemp("rois") / "a.zip"
    write_roi_set(file, session, VOXEL_UM)
    back = read_roi_set(file, VOXEL_UM)
    assert heads(back) == pytest.approx(heads(session), abs=SAME_UM)
    assert [spine.track_id for spine in back.spines] == [spine.track_id for spine in session.spines]
    assert {spine.fates for spine in back.spines} == {("gained",)}


def test_roi_sets_keep_bases_and_dendrites(tmp_path):
    write_roi_set(tmp_path / "a.zip", a_session(), VOXEL_UM)
    back = read_roi_set(tmp_path / "a.zip", VOXEL_UM)
    assert back.spines[0].base_zyx_um == pytest.approx((5.1, 10.4, 7.6), abs=SAME_UM)
    assert back.dendrites[0] == pytest.approx(LINE, abs=SAME_UM)
    assert back.spines[0].dendrite == 0


def test_another_reader_finds_the_same_rois(tmp_path):
    read_roi = pytest.importorskip("read_roi")
    write_roi_set(tmp_path / "a.zip", a_session(), VOXEL_UM)
    rois = read_roi.read_roi_zip(str(tmp_path / "a.zip"))
    point, line = rois["spine 0003 stable"], rois["dendrite 0"]
    assert (point["type"], line["type"]) == ("point", "polyline")
    assert point["x"][0] * VOXEL_UM[2] == pytest.approx(7.7, abs=SAME_UM)
    assert point["y"][0] * VOXEL_UM[1] == pytest.approx(11.3, abs=SAME_UM)
    assert np.array(line["x"]) * VOXEL_UM[2] == pytest.approx(LINE[:, 2], abs=SAME_UM)


def test_in_a_stack_of_several_channels_a_roi_lies_in_a_slice_of_all(tmp_path):
    write_roi_set(tmp_path / "a.zip", a_session(), VOXEL_UM, channels=2)
    roi = ImagejRoi.fromfile(tmp_path / "a.zip")[0]
    assert (roi.c_position, roi.z_position, roi.position) == (0, 6, 0)
    assert heads(read_roi_set(tmp_path / "a.zip", VOXEL_UM)) == pytest.approx(heads(a_session()), abs=SAME_UM)


def test_multi_points_of_imagej_are_one_spine_each(tmp_path):
    roi = ImagejRoi.frompoints([[1.5, 2.0], [8.0, 9.0]], name="all")
    roi.roitype, roi.options = ROI_TYPE.POINT, ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.position = 2
    roiwrite(tmp_path / "all.zip", [roi])
    assert heads(read_roi_set(tmp_path / "all.zip", (2.0, 1.0, 1.0))) == pytest.approx(
        np.array([[2.0, 2.0, 1.5], [2.0, 9.0, 8.0]])
    )


def test_a_roi_without_a_slice_is_refused(tmp_path):
    roi = ImagejRoi.frompoints([[1.5, 2.0]], name="flat")
    roi.roitype = ROI_TYPE.POINT
    roiwrite(tmp_path / "flat.zip", [roi])
    with pytest.raises(StackError, match="'flat' does not say in which slice"):
        read_roi_set(tmp_path / "flat.zip", VOXEL_UM)


# ---- SWC -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(sessions)
def test_swc_comes_back(tmp_path_factory, session):
    file = tmp_path_factory.mktemp("swc") / "a.swc"
    write_swc(file, session)
    back = read_swc(file)
    assert heads(back) == pytest.approx(heads(session), abs=SAME_UM)
    assert [spine.track_id for spine in back.spines] == [spine.track_id for spine in session.spines]


def test_swc_keeps_bases_and_dendrites(tmp_path):
    write_swc(tmp_path / "a.swc", a_session())
    back = read_swc(tmp_path / "a.swc")
    assert back.dendrites[0] == pytest.approx(LINE, abs=SAME_UM)
    assert back.spines[0] == a_session().spines[0]


def test_swc_of_another_program_is_cut_at_its_branches(tmp_path):
    rows = ["1 3 0 0 0 1 -1", "2 3 5 0 0 1 1", "3 3 9 4 0 1 2", "4 3 9 -4 1 1 2", "5 7 5 1 0 .2 2"]
    (tmp_path / "a.swc").write_text("# from elsewhere\n" + "\n".join(rows))
    back = read_swc(tmp_path / "a.swc")
    assert {len(line) for line in back.dendrites.values()} == {2}
    assert len(back.dendrites) == 3
    assert heads(back) == pytest.approx(np.array([[0.0, 1.0, 5.0]]))
    assert back.spines[0].track_id is None


def test_what_is_no_swc_is_refused_with_its_line(tmp_path):
    (tmp_path / "a.swc").write_text("1 3 0 0 0 1 -1\n2 3 0 zero 0 1 1\n")
    with pytest.raises(StackError, match="line 2 is no SWC node"):
        read_swc(tmp_path / "a.swc")


def test_another_library_reads_the_same_tree(tmp_path):
    morphio = pytest.importorskip("morphio")
    write_swc(tmp_path / "a.swc", a_session())
    morphology = morphio.Morphology(str(tmp_path / "a.swc"))
    points = np.array(morphology.points)[:, ::-1]
    for wanted in (*LINE, (5.1, 10.4, 7.6), (5.25, 11.3, 7.7)):
        assert np.linalg.norm(points - wanted, axis=1).min() < SAME_UM
    assert {int(kind) for kind in morphology.section_types} == {3, 5}


# ---- labels ----------------------------------------------------------------------------------------------------


def test_labels_are_valid_and_open_with_ome_zarr(tmp_path):
    shape = (11, 120, 200)
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    store = write_labels(tmp_path / "l.ome.zarr", a_session(), shape, VOXEL_UM, image=image)
    Labels.from_zarr(zarr.open_group(store / "labels", mode="r"))
    for name in ("spines", "dendrites"):
        ImageLabel.from_zarr(zarr.open_group(store / "labels" / name, mode="r"))
    nodes = list(ome_zarr.reader.Reader(parse_url(store))())
    found = {Path(node.zarr.basename()).name: np.asarray(node.data[0]) for node in nodes if node.data}
    assert found["spines"].shape == shape
    assert set(np.unique(found["spines"])) == {0, 4}
    assert found["spines"][5, round(11.3 / 0.12), round(7.7 / 0.13)] == 4
    assert (found["l.ome.zarr"] == image).all()


def test_labels_without_image_open_each(tmp_path):
    store = write_labels(tmp_path / "l.ome.zarr", a_session(), (11, 120, 200), VOXEL_UM)
    (node,) = list(ome_zarr.reader.Reader(parse_url(store / "labels" / "spines"))())
    (about,) = node.metadata["properties"].values()
    point = [about[name] for name in ("head_z_um", "head_y_um", "head_x_um")]
    assert point == pytest.approx((5.25, 11.3, 7.7), abs=SAME_UM)
    assert about["fate"] == "stable"


@settings(max_examples=20, deadline=None)
@given(st.lists(places, min_size=1, max_size=8))
def test_every_head_lies_in_its_own_label_or_in_a_nearer_one(points):
    session = MarkedSession(tuple(a_spine(n, point) for n, point in enumerate(points)))
    labels = spine_drawing(session).planes(0, 61, (61, 301, 301), (1.0, 0.4, 0.4))
    for place, spine in enumerate(session.spines):
        z, y, x = np.rint(np.array(spine.head_zyx_um) / (1.0, 0.4, 0.4)).astype(int)
        assert labels[z, y, x] > 0
        others = [np.abs(np.subtract(spine.head_zyx_um, other)).max() for n, other in enumerate(points) if n != place]
        if not others or min(others) > 2.5:
            assert labels[z, y, x] == spine_label(spine, place)


def test_dendrites_are_drawn_whole_and_cut_at_the_stack():
    labels = dendrite_drawing(MarkedSession((), {7: LINE})).planes(0, 11, (11, 120, 100), VOXEL_UM)
    assert set(np.unique(labels)) == {0, 8}
    assert (labels.max(axis=(0, 1)) > 0)[16:].all()


def test_labels_are_the_same_however_many_planes_are_drawn_at_once(tmp_path):
    """The store is written in parts; heads stand where two parts meet."""
    shape, voxel_um = (40, 60, 60), (0.5, 0.2, 0.2)
    points = [(n * 0.5, 6.0, 0.7 * (n - 10)) for n in range(PLANES_AT_ONCE - 4, PLANES_AT_ONCE + 4)]
    session = MarkedSession(tuple(a_spine(n, point) for n, point in enumerate(points)))
    store = write_labels(tmp_path / "l.ome.zarr", session, shape, voxel_um)
    written = np.asarray(zarr.open_array(store / "labels" / "spines" / "0", mode="r")[...])
    np.testing.assert_array_equal(written, spine_drawing(session).planes(0, 40, shape, voxel_um))
    assert len(np.unique(written)) == 9


def test_labels_do_not_replace_what_is_not_theirs(tmp_path, study):
    store = next(study.rglob("stack.ome.zarr"))
    with pytest.raises(StackError, match="holds no labels"):
        write_labels(store, a_session(), (11, 120, 200), VOXEL_UM)
    write_labels(tmp_path / "l.ome.zarr", a_session(), (11, 120, 200), VOXEL_UM)
    write_labels(tmp_path / "l.ome.zarr", a_session(), (11, 120, 200), VOXEL_UM)


# ---- the command -----------------------------------------------------------------------------------------------


def test_every_session_is_exported_and_comes_back(study, exported):
    for session in range(3):
        wanted = truth(study, session)
        own = exported / "M1" / "F01"
        for back in (
            read_roi_set(own / f"M1_F01_session{session}_rois.zip", PLAN.voxel_um),
            read_swc(own / f"M1_F01_session{session}.swc"),
        ):
            assert heads(back) == pytest.approx(heads(wanted), abs=SAME_UM)
            assert [s.track_id for s in back.spines] == [s.track_id for s in wanted.spines]
            assert [s.fates for s in back.spines] == [s.fates for s in wanted.spines]
            assert back.dendrites[0] == pytest.approx(wanted.dendrites[0], abs=SAME_UM)
        seen = look_at_zarr(own / f"M1_F01_session{session}_labels.ome.zarr" / "labels" / "spines")
        assert seen.pixels.shape == PLAN.shape


def test_tables_are_the_same_as_csv_and_parquet_and_every_column_is_described(study, exported):
    folder = exported / "tables"
    meaning = pd.read_csv(folder / "columns.csv")
    for name in ("spines", "dendrites", "tracks", "fates", "sessions"):
        table = pq.read_table(folder / f"{name}.parquet").to_pandas()
        assert list(table.columns) == list(pd.read_csv(folder / f"{name}.csv").columns)
        assert list(meaning[meaning["table"] == name]["column"]) == list(table.columns)
    assert meaning["meaning"].str.len().min() > 5
    spines, wanted = (
        pq.read_table(folder / "spines.parquet").to_pandas(),
        read_tables(study / "animals/M1/analysis/F01"),
    )
    columns = ["head_z_um", "head_y_um", "head_x_um"]
    assert spines[columns].to_numpy() == pytest.approx(wanted.spines[columns].to_numpy(), abs=SAME_UM)
    days = pq.read_table(folder / "sessions.parquet").to_pandas()["day"]
    assert list(days) == [0.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("table", "columns"),
    [("spines", SPINE_COLUMNS), ("dendrites", DENDRITE_COLUMNS), ("tracks", TRACK_COLUMNS), ("fates", FATE_COLUMNS)],
)
def test_every_column_of_an_analysis_has_an_entry(table, columns):
    assert list(data_dictionary([(table, columns)])["column"]) == list(columns)


def test_every_length_says_um_and_points_their_frame():
    for name, about in [*ANY_TABLE.items(), *(item for table in OF_TABLE.values() for item in table.items())]:
        if name.endswith("_um"):
            assert about.unit == "um"
            assert about.frame or name.startswith(("voxel", "length"))


def test_a_column_without_an_entry_is_refused():
    with pytest.raises(StackError, match="'brightness' of the table spines has no entry"):
        column("spines", "brightness")


def test_the_review_counts_and_can_be_left_out(study, tmp_path):
    place = drawn().place(0, 0)
    book = EditBook(study / "animals/M1/analysis/F01" / EDITS_FILE)
    names = [line.split(",")[1] for line in (study / "animals/M1/analysis/F01/sessions.csv").read_text().split()[1:]]
    try:
        book.append(Edit.now("Ada", EditKind.REJECT, spine=(place.model_copy(update={"session": names[0]}),)))
        tables = (Format.TABLES,)
        export_study(study, tmp_path / "a", ExportPlan(tables), lambda *_: None)
        export_study(study, tmp_path / "b", ExportPlan(tables, as_analysed=True), lambda *_: None)
    finally:
        book.file.unlink()
    reviewed, analysed = (pd.read_csv(tmp_path / one / "tables" / "tracks.csv") for one in "ab")
    assert set(analysed["track_id"]) - set(reviewed["track_id"]) == {0}
    assert "reviewed_by" in reviewed


def test_an_export_never_lies_among_the_raw_data(study):
    with pytest.raises(StudyError, match="choose a folder outside"):
        export_study(study, study / "animals" / "M1", ExportPlan(), lambda *_: None)


def test_raw_data_is_not_touched(study, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in study.rglob("*") if file.is_file() and file.suffix != ".lock"}
    assert main(["export", "--study", str(study), "--out", str(tmp_path), "--field", "F01", "--with-image"]) == 0
    after = {file: file.stat().st_mtime_ns for file in study.rglob("*") if file.is_file() and file.suffix != ".lock"}
    assert after == before


def test_what_was_not_analysed_is_told(study, tmp_path, capsys):
    assert main(["export", "--study", str(study), "--out", str(tmp_path), "--field", "F09"]) == 1
    assert "0 were analysed" in capsys.readouterr().err


def test_nwb_comes_back(study, tmp_path):
    pynwb = pytest.importorskip("pynwb")
    assert main(["export", "--study", str(study), "--out", str(tmp_path), "--format", "nwb"]) == 0
    with pynwb.NWBHDF5IO(str(tmp_path / "M1" / "F01" / "M1_F01.nwb"), "r") as file:
        nwb = file.read()
        table = nwb.processing["spines"]["spines"].to_dataframe()
        assert nwb.subject.subject_id == "M1"
    wanted = read_tables(study / "animals/M1/analysis/F01").spines
    columns = ["head_z_um", "head_y_um", "head_x_um"]
    assert table[columns].to_numpy() == pytest.approx(wanted[columns].to_numpy(), abs=SAME_UM)
