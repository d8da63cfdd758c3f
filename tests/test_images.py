"""Stores that other programs open: the format's validators and readers that did not write them."""

import numpy as np
import pytest
import tensorstore
import yaozarrs
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import Image

from acquire.config import read_rig_config
from acquire.engine import take_stack
from acquire.images import ImageProvenance, StackWriter, write_image
from acquire.model import StackPlan, StagePosition
from acquire.opening import open_rig

PLACE = StagePosition(x_um=0.0, y_um=0.0, z_um=40.0)
PLAN = StackPlan(field_of_view_um=60.0, pixels=128, depth_um=4.0, step_um=0.8)


@pytest.fixture(scope="module", params=["simulated", "demo"])
def store(request, tmp_path_factory):
    """A stack taken with each rig that travels with the program."""
    config = read_rig_config(request.param)
    path = tmp_path_factory.mktemp(request.param) / "stack.ome.zarr"
    with open_rig(config) as rig:
        plan = rig.set_scan(PLAN)
        provenance = ImageProvenance(
            kind="stack", animal="M1", session="s", day=0.0, rig=config.model_dump(mode="json"), stage=PLACE, plan=plan
        )
        with StackWriter(path, plan, provenance) as writer:
            take_stack(rig, plan, PLACE, [writer])
    return path, plan


def test_the_format_says_it_is_valid(store):
    path, _ = store
    yaozarrs.validate_zarr_store(str(path))
    image = Image.from_zarr(zarr.open_group(path, mode="r"))
    assert image.ome_attributes.version == "0.5"


def test_ome_zarr_reads_voxels_and_their_size(store):
    path, plan = store
    (node,) = list(Reader(parse_url(str(path)))())
    transforms = node.metadata["coordinateTransformations"][0][0]
    assert transforms["scale"] == pytest.approx(list(plan.voxel_um))
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 3
    assert node.data[0].shape == plan.shape


def test_tensorstore_reads_the_same_pixels_as_the_journal_says(store):
    import zlib

    path, plan = store
    array = tensorstore.open({"driver": "zarr3", "kvstore": f"file://{path}/0/"}).result().read().result()
    records = zarr.open_group(path, mode="r").attrs["samefield"]["planes"]
    assert array.dtype == np.uint16
    assert len(records) == plan.planes
    assert [zlib.crc32(np.ascontiguousarray(array[r["plane"]])) for r in records] == [r["crc32"] for r in records]


def test_a_stack_says_all_that_is_needed_to_trust_it(store):
    path, _ = store
    attributes = zarr.open_group(path, mode="r").attrs["samefield"]
    assert attributes["complete"] is True
    assert attributes["software_version"].startswith("samefield ")
    assert {"animal", "session", "day", "rig", "stage", "plan", "written"} <= set(attributes)
    for number, record in enumerate(attributes["planes"]):
        assert record["plane"] == number
        assert {"time", "stage", "power_mw", "exposure_ms", "pmt_gain", "zoom", "frames"} <= set(record)


def test_a_surface_image_is_valid_too(tmp_path):
    provenance = ImageProvenance(kind="surface", animal="M1", session="s", day=0.0, rig={}, stage=PLACE)
    path = write_image(tmp_path / "surface.ome.zarr", np.zeros((32, 48), np.uint16), 2.0, provenance)
    yaozarrs.validate_zarr_store(str(path))
    (node,) = list(Reader(parse_url(str(path)))())
    assert node.data[0].shape == (32, 48)


def test_the_chunks_of_a_saved_plane_are_on_the_disk_before_its_line(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("acquire.images.sync_file", lambda path: synced.append(path) or path.stat())
    with open_rig(read_rig_config("demo")) as rig:
        plan = rig.set_scan(PLAN.model_copy(update={"frames_per_plane": 2}))
        provenance = ImageProvenance(kind="stack", animal="M1", session="s", day=0.0, rig={}, stage=PLACE, plan=plan)
        with StackWriter(tmp_path / "stack.ome.zarr", plan, provenance) as writer:
            take_stack(rig, plan, PLACE, [writer])
    names = [path.relative_to(tmp_path).as_posix() for path in synced[:3]]
    assert names == ["stack.ome.zarr/0/c/0/0/0", "frames.ome.zarr/0/c/0/0/0/0", "frames.ome.zarr/0/c/1/0/0/0"]
    assert len(synced) == 3 * plan.planes
