"""The experimenter's window: pages in the order of the work, over one worker that alone speaks to the rig.

Widgets show a frozen :class:`~acquire.gui.status.DeskStatus` and ask the :class:`~acquire.gui.desk.Desk` for verbs.
They have no arithmetic, read no files and decide nothing.
"""

SYSTEM_PACKAGES = (
    "libegl1 libgl1 libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 "
    "libxcb-render-util0 libxcb-shape0 libxcb-xinerama0"
)
"""What Qt needs of a Debian or Ubuntu system."""
