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
