"""The experimenter's window: pages in the order of the work, over one worker that alone speaks to the rig.

Widgets show a frozen :class:`~acquire.gui.status.DeskStatus` and ask the :class:`~acquire.gui.desk.Desk` for verbs.
They have no arithmetic, read no files and decide nothing.
"""
