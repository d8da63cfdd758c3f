"""Errors a user can cause, or a rig can have: one line that says what happened, with numbers, and what to do."""


class ExperimentError(Exception):
    """Anything that stops an experiment or an analysis for a reason that can be told in one line."""


class StackError(ExperimentError):
    """An image file that cannot be used: unreadable, empty, without voxel size, or of another field."""


class StudyTablesError(ExperimentError):
    """Tables of a study that cannot be used: missing, of another version, or in contradiction with themselves."""
