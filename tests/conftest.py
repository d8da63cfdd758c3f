"""What all tests share: figures without a screen, and the way to the real field."""

import os
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture(scope="session")
def real_field() -> Path:
    """Folder of a real field imaged again and again: sessionN.ome.tif with its annotations."""
    folder = os.environ.get("SAMEFIELD_REAL_FIELD")
    if not folder:
        pytest.skip("set SAMEFIELD_REAL_FIELD to the folder of a recorded field to run this on real stacks")
    return Path(folder)
