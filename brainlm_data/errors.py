"""The exceptions of this project, in one tree.

    BrainLMError            anything that a person can fix; printed as one line, exit status 2
    |-- ConfigError         a key of config.yaml is unknown, of the wrong type or impossible
    |-- InputError          an input that is missing, unreadable or contradictory; stops the run
    `-- Refused             ONE recording (or subject) cannot be processed, and never will be as it is:
                            it is written into the manifest with its reason and the others go on

Everything else (out of memory, disk full, a bug) is a crash: it fails the job, so that it is retried.
"""

from __future__ import annotations


class BrainLMError(Exception):
    """An error with a remedy.

    Parameters
    ----------
    message: what is wrong, naming the file or key.
    remedy: what to do about it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} -> {remedy}" if remedy else message)


class ConfigError(BrainLMError):
    """The configuration is not valid."""


class InputError(BrainLMError):
    """An input that the whole run needs is missing or unusable."""


class Refused(BrainLMError):
    """This one recording (or subject) cannot be processed; its neighbours go on."""
