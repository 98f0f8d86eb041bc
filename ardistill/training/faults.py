"""Why training may stop before its end."""

from ardistill.errors import ArdistillError


class TrainingError(ArdistillError):
    """Training cannot go on, e.g. a loss is not finite."""

    exit_code = 3


class LossError(TrainingError):
    """A loss is not finite."""


class WorldError(ArdistillError):
    """The processes can't go on together, e.g. because one of them is gone."""

    exit_code = 3


class OtherProcessError(WorldError):
    """Another process failed and tells why itself."""


class Interrupted(ArdistillError):  # noqa: N818 it is no error
    """A signal stopped the training; everything up to the step it came in is saved."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command, or a resume, goes on
