"""The glossary, from the words of the report."""

from __future__ import annotations

from kitsbench.reporting import words

# What depends on a report's design has its general meaning here.
GENERAL = {
    "95 % CI": f"{words.INTERVAL} The report says what it counts: with too few training runs the "
    "choice of cases alone.",
    "p": f"{words.PROBABILITY} The report names the correction for the number of pairs.",
}
# Words of the site that no report explains.
OWN = {
    "case": "One scan with its label map.",
    "contract": "What a plugin must do to be trained and scored: a class with at most ten hooks.",
    "experiment": "What one `kitsbench run` asked for: architectures, scans, folds, seeds, budget "
    "and recipe. Its id is the hash of all that.",
    "plugin": "A class, in a package or a file of yours, that makes an architecture known.",
    "verdict": "What the statistics allow to be said of a pair at the endpoint: "
    + ", ".join(words.VERDICT_NAMES.values())
    + f", or {words.IDENTICAL}.",
    "working directory": "The folder, by default `kitsbench-work`, that holds trials, experiments "
    "and their reports.",
}


def terms() -> dict[str, str]:
    """Words and their meanings, in the order of the alphabet."""
    found = {word: GENERAL.get(word, meaning) for word, meaning in words.GLOSSARY} | OWN
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def glossary() -> str:
    """A glossary as Sphinx reads it."""
    listed = "\n\n".join(f"{word}\n  {meaning}" for word, meaning in terms().items())
    return f"```{{glossary}}\n{listed}\n```\n"
