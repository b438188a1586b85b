"""The errors that a user is meant to read.

Everything a user can get wrong raises :class:`KitsbenchError` (or a subclass). Its text says
what was found, the rule, and what to do; the command line prints it without a traceback.
"""


class KitsbenchError(Exception):
    """Wrong input or usage: the message names what was found, the rule, and the remedy.

    Parameters
    ----------
    message : str
        One or two sentences.
    """

    exit_code = 2


class UsageError(KitsbenchError):
    """A command was asked for something it cannot do."""


class DataError(KitsbenchError):
    """A file or a folder of a user is missing, damaged, or breaks a rule."""


class ContractError(KitsbenchError):
    """A plugin breaks the contract of :mod:`kitsbench.architecture`."""
