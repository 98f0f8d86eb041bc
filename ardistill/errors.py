"""The exceptions a user can meet. Each message is one sentence: what was given, what was expected, what to do.

The command line prints the message alone and leaves with `exit_code`; a traceback means a defect of ours.
"""


class ArdistillError(ValueError):
    """Anything a user's input can cause."""

    exit_code = 2


class ConfigError(ArdistillError):
    """A word, a key or a value of the configuration is wrong."""


class PluginError(ArdistillError):
    """A plugin is missing, broken, ambiguous or cannot do what the configuration asks."""


class WeightsError(ArdistillError):
    """A file of weights is missing, unreadable, or made for another model."""


class MisfitError(WeightsError):
    """A file of weights is made for another model: it lacks tensors, or has others."""


class RunFolderError(ArdistillError):
    """A run folder is in use, damaged, or not one."""


class DataError(ArdistillError):
    """Images or statistics are missing or unfit for what is asked of them."""


class LaunchError(ArdistillError):
    """A scheduler takes no job, or a job did not do its work."""

    exit_code = 3
