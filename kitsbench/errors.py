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


class LabelsError(ContractError):
    """An architecture cannot be made for the labels of a dataset."""


class Terminated(SystemExit):
    """The system told this process to end; a plugin's own ``SystemExit`` is another class."""

    CODE = 143

    def __init__(self) -> None:
        super().__init__(self.CODE)


LONGEST = 2000  # bytes of a foreign message that are kept
MARK = " ..."


def shorten(text: str, longest: int = LONGEST) -> str:
    """Text that any file and any terminal can take: valid Unicode, at most some bytes of UTF-8."""
    # Far more than is kept: of five megabytes nobody needs to look at each character.
    content = text[: 4 * longest].encode("utf-8", "backslashreplace")
    if len(content) <= longest and len(text) <= 4 * longest:
        return content.decode()
    return content[: longest - len(MARK)].decode("utf-8", "ignore") + MARK


def telling(error: BaseException) -> str:
    """What foreign code raised, in one line: its type, and the line that says most.

    That is the first line of the message; where it only announces the next, both. An exception
    whose own code fails while it is asked is still named.
    """
    try:
        name = _plain(type(error).__name__)
    except BaseException:
        name = "an exception"
    try:
        lines = [line.strip() for line in _plain(error).strip().splitlines() if line.strip()]
    except BaseException as worse:
        return shorten(f"{name}: its message cannot be had ({type(worse).__name__} in __str__)")
    if not lines:
        return shorten(f"{name}: no message")
    announced = lines[0].endswith(":") and len(lines) > 1
    return shorten(f"{name}: {' '.join(lines[:2]) if announced else lines[0]}")


def _plain(value: object) -> str:
    """The text of a foreign object, without what foreign code makes of such texts."""
    return str.__str__(str(value))  # str alone returns a subclass as it is
