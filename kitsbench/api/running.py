"""A run from Python, in the words of the command line and by its very verb.

So every option is read, checked and recorded by the rule that the command line has, and the
command that an experiment keeps can be given to a shell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from kitsbench.api.outcome import WORKDIR, Outcome, load
from kitsbench.cli.verbs.called import call_run
from kitsbench.cli.verbs.run import command
from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief

_NEVER = {
    "dry_run": "it trains nothing and leaves no outcome; call `kitsbench run --dry-run`",
    "as_json": "the outcome is what is returned",
    "json": "the outcome is what is returned",
    "yes": "nobody is asked when a run begins from Python",
}


def run(*architectures: str | Path, workdir: str | Path = WORKDIR, **options: Any) -> Outcome:
    """Train, score and compare architectures, as ``kitsbench run`` does.

    Finished trials are kept: the same call again trains what is missing. In a script, call it
    below ``if __name__ == "__main__":``, since trials run in processes that import the script.

    Parameters
    ----------
    *architectures : str or path
        Names of ``kitsbench list``, with settings as in ``"unet3d:width=0.5"``, or files of
        plugins.
    workdir : path
        Where data, trials and the report are kept.
    **options
        The options of ``kitsbench run``, with ``_`` for ``-``: ``budget="2h"``, ``seeds=3``,
        ``folds=[0, 2]``, ``patch=(32, 48, 48)``, ``max_memory="11GiB"``, ``all=True``. True sets
        a switch; False and None leave an option out. What may be given several times takes a
        list, or a mapping of keys to values.

    Returns
    -------
    Outcome
        Also where some trials failed: ``outcome.ledger`` says which, and why.

    Raises
    ------
    UsageError
        There is no such option, or its value cannot be read.
    UsageError, DataError
        The request cannot be carried out; nothing was trained.
    KeyboardInterrupt
        The run was stopped; the same call again goes on.
    """
    named = [_architecture(one) for one in architectures]
    words = [*named, "--workdir", str(_folder(workdir)), *_words(options)]
    return load(workdir, call_run(words))


def _folder(given: Any) -> Path:
    if not isinstance(given, str | Path):
        raise UsageError(f"workdir is a folder's path, not {brief(given)}.")
    return Path(given)


def _architecture(given: Any) -> str:
    """An architecture as a word of the command line, and never an option of it."""
    if not isinstance(given, str | Path):
        raise UsageError(
            "run() takes names of architectures and files of plugins one by one, not "
            f"{brief(given)}."
        )
    if str(given).startswith("-"):
        raise UsageError(
            f"'{given}' is no architecture. Options are keywords of run(), such as seeds=3; a file "
            f"of such a name is written './{given}'."
        )
    return str(given)


def _words(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line has them."""
    known = {opt: p for p in command.params if isinstance(p, click.Option) for opt in p.opts}
    words: list[str] = []
    for key, value in options.items():
        word = "--" + key.replace("_", "-")
        if key in _NEVER:
            raise UsageError(f"run() takes no '{key}': {_NEVER[key]}.")
        if word not in known:
            raise UsageError(_unknown(key, [*known]))
        if value is None or value is False:
            continue
        parameter = known[word]
        if parameter.is_flag:
            if value is not True:
                raise UsageError(f"'{key}' is a switch; it is True or False, not {value!r}.")
            words.append(word)
        elif parameter.multiple:
            for part in _several(key, value):
                words += [word, part]
        else:
            words += [word, _text(key, value)]
    return words


def _unknown(key: str, known: list[str]) -> str:
    import difflib

    names = [word[2:].replace("-", "_") for word in known if word.startswith("--")]
    close = difflib.get_close_matches(key, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"run() takes no '{key}'.{hint} `kitsbench run --help` lists the options."


def _several(key: str, value: Any) -> list[str]:
    """The texts of an option that may be given several times."""
    if isinstance(value, Mapping):
        return [f"{name}={_text(key, one)}" for name, one in value.items()]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Path):
        return [_text(key, one) for one in value]
    return [_text(key, value)]


def _text(key: str, value: Any) -> str:
    """One value as it is written on a command line: several numbers with commas between."""
    if isinstance(value, bool | bytes | Mapping | None):
        raise UsageError(
            f"'{key}' takes a text, a number, or a list of them, not {brief(value)}; see "
            "`kitsbench run --help`."
        )
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(_text(key, one) for one in value)
    return str(value)
