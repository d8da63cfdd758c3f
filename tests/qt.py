"""Whether the window can be tested here."""

import os

import pytest

from acquire.gui import SYSTEM_PACKAGES

try:
    import PyQt6.QtWidgets  # noqa: F401
except ImportError as error:
    FAULT = f"Qt does not load here ({error}); install {SYSTEM_PACKAGES}"
else:
    FAULT = ""


def skip_without_qt() -> None:
    """Skip a module's tests, naming the packages to install; fail where SAMEFIELD_NEEDS_QT asks for them."""
    if FAULT and os.environ.get("SAMEFIELD_NEEDS_QT"):
        raise RuntimeError(FAULT)
    if FAULT:
        pytest.skip(FAULT, allow_module_level=True)
