"""What a person has to mend before a run can start or go on."""


class RunError(Exception):
    """The machine or the directory is in the way; the message names it and the remedy.

    Nothing is lost: the same command goes on after the mend.
    """


class UsageError(RunError):
    """The command or the manifest is wrong, not the machine."""
