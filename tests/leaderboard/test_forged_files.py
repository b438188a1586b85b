"""Forged files of a board: board.toml, what JSON and a compressed table can hide, whole boards.

Beside the forgeries of single keys in ``test_forgeries.py``. The tools of both are in
``forging.py``: seals and hashes are made anew.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leaderboard.forging import (
    TABLE,
    Forge,
    a_pipe,
    at,
    filed,
    forged,
    gone,
    instead,
    linked,
    moved,
    named,
    of_size,
    read,
    read_rows,
    replaced,
    rewritten,
    told,
    write,
    write_rows,
)
from reporting.workdirs import Plan, write_workdir
from stored_files import put

from kitsbench.leaderboard import add_entries, check_boards, render_boards

PLAN = Plan({"a": 0.0, "b": 0.1}, folds=2, seeds=1, cases_per_fold=2, showcase=0, predictions=False)
LONGER = {"budget": ("40s", 40.0, "seconds")}


def ruled(old: str, new: str) -> Forge:
    """Change the text of board.toml."""
    return replaced(old, new, "board.toml")


def line(key: str, value: str | None) -> Forge:
    """Another value of a condition, or none."""

    def forge(board: Path) -> None:
        file = board / "board.toml"
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (number,) = (n for n, one in enumerate(lines) if one.startswith(f"{key} = "))
        lines[number] = "" if value is None else f"{key} = {value}\n"
        file.write_text("".join(lines), encoding="utf-8")

    return forge


RULES = {
    "dataset": (line("dataset", '"ffffffffffffffff"'), "its dataset is '0123456789abcdef'"),
    "protocol": (line("protocol", '"kits23"'), "its protocol is 'kits19'"),
    "a protocol that looks alike": (line("protocol", '"k\u0456ts19"'), "its protocol is 'kits19'"),
    "endpoint": (line("endpoint", '"kidney:dice"'), "its endpoint is 'tumor:dice'"),
    "recipe": (line("recipe", '"paper"'), "its recipe is"),
    "tuning": (line("tuning", '"0123456789abcdef"'), "its tuning is 'none'"),
    "budget": (line("budget", '"2h"'), "its budget is '20s'"),
    "the same budget in other words": (line("budget", '"20 s"'), "its budget is '20s'"),
    "split": (line("split", '"0000000000000000"'), "its split is"),
    "folds": (line("folds", "[0]"), "its folds is [0, 1]"),
    "folds in another order": (line("folds", "[1, 0]"), "its folds is [0, 1]"),
    "folds as text": (line("folds", '["0", "1"]'), "conditions.folds.0"),
    "a huge fold": (line("folds", f"[0, {10**30}]"), "an integer of 100 bits"),
    "seeds": (line("seeds", "3"), "its seeds is 1"),
    "no seeds": (line("seeds", "0"), "conditions.seeds"),
    "seeds as text": (line("seeds", '"1"'), "conditions.seeds"),
    "seeds as a fraction": (line("seeds", "1.5"), "conditions.seeds"),
    "NaN seeds": (line("seeds", "nan"), "board.toml"),
    "infinite seeds": (line("seeds", "inf"), "board.toml"),
    "seeds of thousands of digits": (line("seeds", "9" * 6000), "thousands of digits"),
    "real scans": (line("synthetic", "false"), "its synthetic is True"),
    "synthetic as a number": (line("synthetic", "1"), "conditions.synthetic"),
    "no dataset": (line("dataset", None), "conditions.dataset"),
    "no budget": (line("budget", None), "conditions.budget"),
    "no conditions": (ruled("[conditions]", "[agreements]"), "conditions: Field required"),
    "an unknown condition": (ruled("seeds = ", "rank = 1\nseeds = "), "conditions.rank"),
    "a condition twice": (ruled("seeds = 1", "seeds = 1\nseeds = 1"), "is no TOML"),
    "conditions twice": (ruled("[allowed]", "[conditions]\n[allowed]"), "is no TOML"),
    "whom it allows, as text": (line("outside", '"no"'), "allowed.outside"),
    "whom it allows, unknown": (line("outside", "true\nfriends = true"), "allowed.friends"),
    "title as a list": (line("title", '["x"]'), "title"),
    "no text": (filed("board.toml", b"\xff\xfe\x00"), "board.toml"),
    "zero bytes": (filed("board.toml", b"\0" * 64), "board.toml"),
    "nested deeply": (filed("board.toml", b"title = " + b"[" * 100_000), "board.toml"),
    "empty": (filed("board.toml", b""), "conditions"),
    "a link": (linked("board.toml"), "board.toml: a symbolic link"),
    "a folder": (instead("board.toml", Path.mkdir), "board.toml"),
    "a pipe": (a_pipe("board.toml"), "it is a pipe"),
    "of 3 GB": (of_size("board.toml", 3 * 2**30), "board.toml"),
    "left out": (gone("board.toml"), "a board without board.toml"),
}


@pytest.mark.parametrize("forgery", RULES)
def test_a_changed_board_toml_is_refused_with_its_key(board, forgery):
    forge, words = RULES[forgery]
    forge(board)
    assert words in told(board)


def entry(place: str, value: Any) -> Forge:
    """Another value in an entry; its seals follow."""
    return forged(at(place, value))


def typed(old: str, new: str) -> Forge:
    """Change the text of an entry, where JSON itself is in the way."""

    def forge(board: Path) -> None:
        (board / "a.json").write_text(json.dumps(read(board)), encoding="utf-8")
        replaced(old, new)(board)

    return forge


FORMER = {
    "sha256": "a" * 64, "created": "2026-11-20T10:00:00+00:00", "kitsbench": "0.1.0",
    "distribution": "kitsbench-plugins", "version": "0.1.0", "source_hash": "ab" * 8,
    "experiment": "f" * 16, "conditions": "0" * 16, "mean": 0.5,
}  # fmt: skip


def own_past(board: Path) -> None:
    entry("history", [{**FORMER, "experiment": read(board)["experiment"]}])(board)


ENTRIES = {
    "a mean that is NaN": (typed('"mean": 0.', '"mean": NaN, "x": 0.'), "NaN"),
    "a limit without end": (typed('"ci_high": 0.', '"ci_high": Infinity, "x": 0.'), "Infinity"),
    "a number too large": (typed('"ci_high": 0.', '"ci_high": 1e999, "x": 0.'), "a.json"),
    "thousands of digits": (typed('"n_cases": 4', f'"n_cases": {"9" * 6000}'), "a.json"),
    "a count of 10^30": (entry("scores.0.n_cases", 10**30), "scores.0.n_cases"),
    "a count that is no whole number": (entry("scores.0.n_cases", 4.5), "scores.0.n_cases"),
    "a count that is a truth": (entry("scores.0.n_failed", False), "scores.0.n_failed"),
    "a count as text": (entry("dataset.n_cases", "4"), "dataset.n_cases"),
    "a mean as text": (entry("scores.0.mean", "0.9"), "scores.0.mean"),
    "a truth as a number": (entry("synthetic", 1), "synthetic"),
    "a rank that is a truth": (entry("rank.rank", True), "rank.rank"),
    "a rank of 10^308": (entry("rank.rank", 1e308), "rank.rank"),
    "a minus before nothing": (typed('"n_failed": 0', '"n_failed": -1'), "n_failed"),
    "memory of 10^30 bytes": (entry("cost.peak_memory_bytes", 10**30), "cost.peak_memory_bytes"),
    "FLOPs below 0": (entry("cost.flops", -1.0), "cost.flops"),
    "no voxels": (entry("cost.voxels", None), "cost.voxels"),
    "seconds of a system": (entry("cost.predict_s", 0.1), "cost.predict_s"),
    "a seed below 0": (entry("trials.runs.0.seed", -1), "trials.runs.0.seed"),
    "a fold of 10^30": (entry("trials.runs.0.fold", 10**30), "trials.runs"),
    "an id in capitals": (entry("trials.runs.0.id", "F" * 16), "trials.runs.0.id"),
    "an id that leads elsewhere": (
        entry("trials.runs.0.id", "../../etc/passwd"), "trials.runs.0.id",
    ),
    "a failure that finished": (entry("trials.runs.0.reason", "killed"), "trials.runs.0"),
    "trained elsewhere": (
        entry("elsewhere", {"kind": "predictions", "trained_on": ["x"], "leak": None,
                            "allowed": False, "hours": None, "missing": 0}),
        "elsewhere",
    ),
    "a budget of nothing": (entry("budget.unit", "none"), "budget"),
    "spec": (entry("identity.spec", "0" * 16), "trials.runs.0.id"),
    "preparation": (entry("identity.preparation", {}), "trials.runs.0.id"),
    "precision": (entry("identity.precision", "bfloat16"), "trials.runs.0.id"),
    "compiled": (entry("identity.compile", True), "trials.runs.0.id"),
    "numerics": (entry("identity.numerics", 99), "trials.runs.0.id"),
    "source of one run": (entry("trials.runs.0.source_hash", "f" * 16), "trials.runs.0.id"),
    "pretraining": (entry("identity.pretrained_on", "ImageNet"), "trials.runs.0.id"),
    "a point of the curve": (typed('"dice": [0.', '"dice": [0.9'), "the key curve was changed"),
    "the end of the curve": (entry("curve.dice.3", 0.99), "the key curve.dice.-1 is 0.99"),
    "a point above 1": (entry("curve.dice.0", 7.0), "curve.dice.0"),
    "a curve that turns back": (entry("curve.at.2", 0.1), "must rise from above 0 to 1"),
    "a curve that ends early": (entry("curve.at.3", 0.9), "must rise from above 0 to 1"),
    "a watched case that is none": (entry("curve.cases.0", "case_x"), "curve.cases has case_x"),
    "a past of its own": (own_past, "history.0.experiment is the entry's own"),
    "a past twice": (
        entry("history", [FORMER] * 2), "history.1.sha256 is that of",
    ),
    "a past at no time": (
        entry("history", [{**FORMER, "created": "once"}]), "history.0.created is no time",
    ),
    "a past with a wish": (entry("history", [{**FORMER, "rank": 1}]), "history.0.rank"),
    "no past": (entry("history", []), "history"),
    "an unknown seal": (typed('"seals": {', '"seals": {"rank": "0",'), "seals.rank"),
    "a currency that is none": (entry("identity.budget.1", "wishes"), "identity.budget.1"),
    "fold of the first trial": (entry("identity.fold", 1), "identity is not that of the first"),
    "seed of the first trial": (entry("identity.seed", 7), "identity is not that of the first"),
    "environment of another": (
        entry("provenance.environment.trial", "0" * 16), "provenance.environment.trial",
    ),
    "no seals": (typed('"seals": {', '"seals": {}, "x": {'), "a.json"),
    "an unknown key that looks alike": (entry("sc\u043eres", []), "sc\u043eres"),
    "a key that looks alike": (typed('"scores": [', '"sc\u043eres": ['), "scores"),
    "a name that looks alike": (named("\u0430"), "the key name"),
    "a name with a mark that nobody sees": (named("a\u200b"), "the key name"),
    "a name that is wide": (named("\uff41"), "the key name"),
    "a name in capitals": (named("A"), "the key name"),
    "a name with a space": (named("a "), "the key name"),
    "a name that leads elsewhere": (named("../../a"), "the key name"),
    "a name that is none": (entry("name", ""), "name"),
    "an entry of null": (rewritten(lambda text: b"null"), "a.json"),
    "an entry in a list": (rewritten(lambda text: b"[" + text + b"]"), "a.json"),
    "two entries in a file": (rewritten(lambda text: text + text), "is no JSON"),
    "a comment": (rewritten(lambda text: b"// honest\n" + text), "is no JSON"),
    "a comma too many": (rewritten(lambda text: text.rstrip()[:-1] + b",}"), "is no JSON"),
    "half an entry": (rewritten(lambda text: text[: len(text) // 2]), "is no JSON"),
    "zeros behind it": (rewritten(lambda text: text + b"\0" * 9), "is no JSON"),
    "bytes that are no text": (rewritten(lambda text: text.replace(b'"A"', b'"\xff"')), "a.json"),
    "half a letter": (rewritten(lambda text: text.replace(b'"A"', b'"\\ud800"')), "a.json"),
    "an entry of 17 MB": (of_size("a.json", 17 * 2**20), "more than 16 MiB"),
    "a folder for an entry": (instead("a.json", Path.mkdir), "a.json: no file"),
    "a pipe for an entry": (a_pipe("a.json"), "a.json: no file"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", ENTRIES)
def test_a_forged_entry_is_refused_with_its_reason(board, forgery):
    forge, words = ENTRIES[forgery]
    forge(board)
    assert words in told(board)


def packed(change: Callable[[bytes], bytes], pack: Callable[[bytes], bytes] = gzip.compress):
    """Change the text of a table; the entry has its hash."""

    def forge(board: Path) -> None:
        file = board / TABLE
        text = change(gzip.decompress(file.read_bytes()))
        file.write_bytes(pack(text))
        content = read(board)
        content["table"]["sha256"] = hashlib.sha256(text).hexdigest()
        write(board, content)

    return forge


def first(column: str, value: str) -> Forge:
    """Another cell in the first row of the endpoint."""

    def forge(board: Path) -> None:
        rows = read_rows(board)
        row = next(r for r in rows if (r["protocol"], r["region"], r["metric"])
                   == ("kits19", "tumor", "dice"))  # fmt: skip
        row[column] = value
        write_rows(board, rows)

    return forge


def a_bomb(board: Path) -> None:
    """300 MB of zeros in 300 kB."""
    row = gzip.compress(b"0" * 2**20, 9)
    (board / TABLE).write_bytes(row * 300)


def another_case(board: Path) -> None:
    """The easiest case again, under a name that looks as that of a hard one."""
    rows = read_rows(board)
    more = [{**row, "case": f"{row['case']}\u200b"} for row in rows if row["case"] == "case_00000"]
    write_rows(board, [*rows, *more])


def copied_case(board: Path) -> None:
    """The scores of an easy case for those of another."""
    rows = read_rows(board)
    key = ("protocol", "region", "metric", "seed")
    easy = {tuple(r[k] for k in key): r for r in rows if r["case"] == "case_00000"}
    for row in rows:
        if row["case"] == "case_00002":
            row["value"] = easy[tuple(row[k] for k in key)]["value"]
    write_rows(board, rows)


TABLES = {
    "a bomb": (a_bomb, "more than 256 MiB"),
    "bytes behind it": (rewritten(lambda data: data + b"more", TABLE), "a.scores"),
    "a second table behind it": (
        rewritten(lambda data: data + gzip.compress(b"more\n"), TABLE),
        "table.sha256",
    ),
    "packed otherwise": (packed(lambda text: text, bz2.compress), "cannot be read"),
    "not packed": (packed(lambda text: text, lambda text: text), "cannot be read"),
    "lines of Windows": (packed(lambda text: text.replace(b"\n", b"\r\n")), "a.scores"),
    "a mark before it": (packed(lambda text: b"\xef\xbb\xbf" + text), "must have the columns"),
    "zero bytes in it": (packed(lambda text: text.replace(b"ok", b"o\0k", 1)), "a.scores"),
    "no UTF-8": (packed(lambda text: text.replace(b"ok", b"\xff", 1)), "is no CSV in UTF-8"),
    "a quote that never ends": (packed(lambda text: text + b'"'), "is no CSV"),
    "head alone": (packed(lambda text: text.splitlines(True)[0]), "a.scores"),
    "nothing": (packed(lambda text: b""), "must have the columns"),
    "a cell too many": (packed(lambda text: text.rstrip() + b",1\n"), "cells of 10"),
    "a column twice": (packed(lambda text: text.replace(b"status", b"value", 1)), "columns"),
    "NaN": (first("value", "nan"), "a.scores"),
    "infinity": (first("value", "inf"), "a.scores"),
    "a number without end": (first("value", "1e999"), "a.scores"),
    "below 0": (first("value", "-0.5"), "between 0 and 1"),
    "digits of another script": (first("value", "\u0660.\u0665"), "a.scores"),
    "a formula": (first("value", "=1"), "a.scores"),
    "a number with a line": (first("value", "0_1"), "a.scores"),
    "an unknown status": (first("status", "fine"), "status"),
    "a failure with a score": (first("status", "failed"), "a.scores"),
    "an unknown region": (first("region", "spleen"), "spleen"),
    "an unknown metric": (first("metric", "beauty"), "beauty"),
    "a region that looks alike": (first("region", "tum\u043er"), "tum\u043er"),
    "another protocol": (first("protocol", "kits23"), "kits23"),
    "a seed of 10^30": (first("seed", str(10**30)), "a.scores"),
    "a fold below 0": (first("fold", "-1"), "a.scores"),
    "half a fold": (first("fold", "0.5"), "a.scores"),
    "a case without a name": (first("case", ""), "a.scores"),
    "a case that leads elsewhere": (first("case", "../../case"), "case"),
    "a case once more, under a like name": (another_case, "dataset.n_cases is 4; a.scores"),
    "a case copied over another": (copied_case, "scores.0.mean"),
}  # fmt: skip


@pytest.mark.parametrize("forgery", TABLES)
def test_a_forged_table_is_refused_with_its_reason(board, forgery):
    forge, words = TABLES[forgery]
    forge(board)
    assert words in told(board)


def swapped_names(board: Path) -> None:
    """Each entry under the name of the other, files, tables and all."""
    for name, other in (("a", "b"), ("b", "a")):
        named(other, name)(board)
    for old, new in (("a", "kept"), ("b", "a"), ("kept", "b")):
        moved(board, old, new)


def swapped_tables(board: Path) -> None:
    """The scores of the better for those of the worse, and the other way round."""
    rows = {name: read_rows(board, name) for name in "ab"}
    for name, other in (("a", "b"), ("b", "a")):
        write_rows(board, [{**row, "architecture": name} for row in rows[other]], name)


def swapped(*keys: str) -> Forge:
    def forge(board: Path) -> None:
        both = {name: read(board, name) for name in "ab"}
        for key in keys:
            both["a"][key], both["b"][key] = both["b"][key], both["a"][key]
        for name, content in both.items():
            write(board, content, name)

    return forge


def two_conditions(board: Path) -> None:
    """Entries of an experiment with twice the budget, among those of the first."""
    longer = Plan(**{**vars(PLAN), **LONGER, "gaps": {"c": 0.1, "d": 0.2}})
    other = board.parent.parent / "other"
    add_entries(write_workdir(other / "work", longer), other / "board")
    for name in ("c", "d"):
        for ending in (".json", ".scores.csv.gz"):
            shutil.copy(other / "board" / f"{name}{ending}", board)


def all_of_another(board: Path) -> None:
    """A whole experiment with another budget, under the board's own file."""
    rules = (board / "board.toml").read_bytes()
    for file in board.iterdir():
        file.unlink()
    longer = Plan(**{**vars(PLAN), **LONGER})
    add_entries(write_workdir(board.parent.parent / "other", longer), board)
    (board / "board.toml").write_bytes(rules)


def a_table_alone(board: Path) -> None:
    shutil.copy(board / TABLE, board / "c.scores.csv.gz")


def hidden(board: Path) -> None:
    shutil.copy(board / "a.json", board / ".a.json")


def of_capitals(board: Path) -> None:
    (board / "a.json").rename(board / "A.json")


BOARDS = {
    "names exchanged": (swapped_names, "the key name"),
    "tables exchanged": (swapped_tables, "scores.0.mean"),
    "ranks exchanged": (swapped("rank"), "the key rank.rank"),
    "scores exchanged": (swapped("scores"), "the key scores.0.mean"),
    "scores and ranks exchanged": (swapped("scores", "rank"), "the key scores.0.mean"),
    "costs exchanged": (swapped("cost"), "the key cost.steps"),
    "runs exchanged": (swapped("trials"), "trials.runs.0.id"),
    "runs and identities exchanged": (swapped("trials", "identity", "cost"), "the key name"),
    "two conditions": (two_conditions, "its budget is '40s', and board.toml says '20s'"),
    "two conditions, told by the entries": (two_conditions, "share their conditions"),
    "all under another condition": (all_of_another, "its budget is '40s'"),
    "a table without an entry": (a_table_alone, "a table without an entry"),
    "an entry that is hidden": (hidden, ".a.json"),
    "a file in capitals": (of_capitals, "belongs into a.json"),
    "an empty board beside it": (lambda board: (board.parent / "new").mkdir(), "without entries"),
}


@pytest.mark.parametrize("forgery", BOARDS)
def test_a_forged_board_is_refused_with_its_reason(board, forgery):
    forge, words = BOARDS[forgery]
    forge(board)
    assert words in told(board)


def leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[str]:
    """Places of an entry, of each list only the first."""
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(
        value, list) else ()  # fmt: skip
    found = False
    for key, part in parts:
        found = True
        yield from leaves(part, (*place, str(key)))
    if not found:
        yield ".".join(place)


def other(value: Any) -> Any:
    """Another value of the same type."""
    if value is None or isinstance(value, list | dict):
        return 1
    if isinstance(value, bool):
        return not value
    return f"{value}x" if isinstance(value, str) else value + 1 if isinstance(value, int) else (
        1.01 * value + 0.001)  # fmt: skip


@pytest.mark.slow
def test_no_value_of_an_entry_can_be_changed_unnoticed(board):
    """Each by itself, wherever it stands, without new seals."""
    honest = read(board)
    places = [place for place in leaves(honest) if not place.startswith("seals.")]
    unnoticed = []
    for place in places:
        content = json.loads(json.dumps(honest))
        at_place: Any = content
        *path, last = [int(part) if part.isdecimal() else part for part in place.split(".")]
        for part in path:
            at_place = at_place[part]
        put(content, place, other(at_place[last]))
        write(board, content, seal=False)
        if not check_boards(board)[1]:
            unnoticed.append(place)
    assert len(places) > 150
    assert unnoticed == []


def test_the_honest_board_passes_and_is_rendered_to_equal_bytes(board):
    assert check_boards(board.parent) == (2, [])
    (page,) = render_boards(board.parent)
    before = page.read_bytes()
    page.unlink()
    assert render_boards(board.parent) == [page]
    assert page.read_bytes() == before
