"""What all tests share: figures and windows without a screen, and the way to the real field."""

import os
from pathlib import Path

import matplotlib as mpl
import pytest

from tests.qt import FAULT

mpl.use("Agg")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if not FAULT:  # where Qt does not load, the plugin would end every test
    pytest_plugins = ["pytestqt.plugin"]


@pytest.fixture(scope="session")
def real_field() -> Path:
    """Folder of a real field imaged again and again: sessionN.ome.tif with its annotations."""
    folder = os.environ.get("SAMEFIELD_REAL_FIELD")
    if not folder:
        pytest.skip("set SAMEFIELD_REAL_FIELD to the folder of a recorded field to run this on real stacks")
    return Path(folder)


@pytest.fixture(scope="session")
def mapped_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study whose animal has, from the first day, a map of its vessels and two fields; copy it."""
    from acquire.config import read_rig_config
    from acquire.model import AnimalRecord, StagePosition, StudyRecord
    from acquire.opening import open_rig
    from acquire.session import Session
    from acquire.store import Study

    folder = tmp_path_factory.mktemp("mapped") / "study"
    with open_rig(read_rig_config("simulated")) as rig, Study.create(folder, StudyRecord(name="mapped")) as study:
        study.new_animal(AnimalRecord(id="M1"))
        study.new_animal(AnimalRecord(id="M2"))
        with Session.open(study, "M1", rig, day=0.0) as session:
            session.map_surface()
            for x, y, z in rig.loaded.good_places(2):  # type: ignore[union-attr]
                rig.move_to(StagePosition(x_um=x, y_um=y, z_um=z))
                session.new_field()
            session.close()
    return folder
