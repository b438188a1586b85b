"""Boards as pages: what one table may hold together, and which files are overwritten."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.errors import DataError
from kitsbench.leaderboard import add_entries, read_board, render_boards
from kitsbench.leaderboard.cells import paper
from kitsbench.leaderboard.markdown import MARK, render_board

PLAN = Plan({"a": 0.0, "b": 0.1}, folds=1, seeds=3, cases_per_fold=2, showcase=0, predictions=False)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    add_entries(write_workdir(folder / "work", PLAN), folder / "boards" / "phantom")
    return folder / "boards"


@pytest.fixture
def boards(published, tmp_path):
    return Path(shutil.copytree(published, tmp_path / "boards"))


def tables(page: str) -> list[list[str]]:
    """The rows of each table of a page, without its head and its rule."""
    found: list[list[str]] = []
    before = ""
    for line in page.splitlines():
        if line.startswith("| Place"):
            found.append([])
        elif line.startswith("| ") and not line.startswith("| ---"):
            found[-1].append(line)
        before = line
    assert not before.startswith("|")
    return found


def with_budget(entry, amount: float, device: str = ""):
    """The same entry, had it been trained longer or elsewhere."""
    identity = entry.identity
    if device:
        identity = identity.model_copy(update={"device_class": device})
    note = entry.budget.model_copy(update={"amount": amount, "text": f"{amount:g}s"})
    return entry.model_copy(update={"budget": note, "identity": identity})


def test_what_cannot_be_compared_never_shares_a_table(boards):
    first, second = read_board(boards / "phantom")
    (rows,) = tables(render_board("phantom", [first, second]))
    assert len(rows) == 2
    for other in (with_budget(second, 40.0), with_budget(second, 20.0, device="cuda: H100")):
        page = render_board("phantom", [first, other])
        assert [len(rows) for rows in tables(page)] == [1, 1]
        assert page.index("`a`") < page.index("`b`")
        assert "on Test CPU" in page


def test_a_page_is_the_same_whenever_it_is_rendered(boards):
    (page,) = render_boards(boards)
    before = page.read_bytes()
    assert MARK.encode() in before
    assert render_boards(boards / "phantom") == [page]
    assert page.read_bytes() == before


def test_a_page_shows_places_that_are_open_and_no_lone_first(boards):
    entries = read_board(boards / "phantom")
    shown = render_board("phantom", entries)
    assert "| P(first) |" in shown
    rank = entries[0].rank
    assert f"| {100 * rank.p_first:.0f} % |" in shown
    (rows,) = tables(shown)
    places = {row.split("`")[1]: row.split("|")[1].strip() for row in rows}
    for entry in entries:
        low, high = entry.rank.rank_low, entry.rank.rank_high
        assert places[entry.name] == (f"{low:g}" if low == high else f"{low:g}–{high:g}")
    unknown = {"rank_low": None, "rank_high": None, "p_first": None, "group": ""}
    silent = [e.model_copy(update={"rank": e.rank.model_copy(update=unknown)}) for e in entries]
    (rows,) = tables(render_board("phantom", [entries[0], *silent[1:]]))
    assert "| – |" in rows[1] or "| – |" in rows[0]
    quiet = render_board("phantom", silent)
    assert "P(first)" not in quiet
    assert [row.split("|")[1].strip() for row in tables(quiet)[0]] == ["1–2", "1–2"]


def test_a_page_shows_the_way_along_the_budget(boards):
    entries = read_board(boards / "phantom")
    shown = render_board("phantom", entries)
    curve = entries[0].curve
    assert curve.at == (0.25, 0.5, 0.75, 1.0)
    assert len(curve.cases) == 2
    (rows,) = tables(shown)
    (row,) = (row for row in rows if "`a`" in row)
    drawn = next(cell.strip() for cell in row.split("|") if cell.strip(" ▁▂▃▄▅▆▇█") == "" < cell)
    heights = ["▁▂▃▄▅▆▇█".index(block) for block in drawn]
    assert heights == [round(7 * value) for value in curve.dice]
    assert "after 25, 50, 75, 100 % of it on 2 watched cases," in shown
    silent = [entry.model_copy(update={"curve": None}) for entry in entries]
    assert "Along the budget" not in render_board("phantom", silent)


def test_the_end_of_a_curve_is_that_of_the_table(boards, published):
    """An independent mean of the watched cases, from the report's own files."""
    from kitsbench.experiments.results import load_results

    scores = load_results(published.parent / "work").scores
    for entry in read_board(boards / "phantom"):
        own = scores[
            (scores["architecture"] == entry.name) & scores["case"].isin(entry.curve.cases)
        ]
        own = own[(own["protocol"] == "kits19") & (own["region"] == "tumor")]
        mean = own[own["metric"] == "dice"]["value"].mean()
        assert entry.curve.dice[-1] == pytest.approx(mean)


def test_an_entry_remembers_what_it_has_replaced(boards, tmp_path):
    plan = Plan({"a": 0.3, "b": 0.1}, folds=1, seeds=3, cases_per_fold=2, budget=("21s", 21.0,
                "seconds"), showcase=0, predictions=False)  # fmt: skip
    before = {name: (boards / "phantom" / f"{name}.json").read_bytes() for name in "ab"}
    old = {entry.name: entry for entry in read_board(boards / "phantom")}
    work = write_workdir(tmp_path / "new", plan)
    rules = boards / "phantom" / "board.toml"
    rules.write_text(rules.read_text(encoding="utf-8").replace('"20s"', '"21s"'), encoding="utf-8")
    for _ in range(2):  # the second time there is nothing to replace
        done = call_kitsbench("leaderboard", "add", work, "--to", boards / "phantom", "--replace")
        assert done.code == 0, done.err
    assert call_kitsbench("leaderboard", "check", boards).code == 2  # its runs spend 20 s
    for entry in read_board(boards / "phantom"):
        (line,) = entry.history
        assert line.sha256 == hashlib.sha256(before[entry.name]).hexdigest()
        assert line.mean == old[entry.name].score("tumor:dice").mean
        assert line.experiment == old[entry.name].experiment
    page = render_board("phantom", read_board(boards / "phantom"))
    assert page.count("  - before: 2026-11-21, kitsbench-plugins 0.1.0, source `abababababab`") == 2
    assert page.count("under other conditions") == 2


def test_papers_that_have_a_name_are_linked_and_nothing_else_is():
    assert paper("Oktay et al. 2018, arXiv:1804.03999").endswith(
        ", [arXiv:1804.03999](https://arxiv.org/abs/1804.03999)"
    )
    found = paper("doi:10.1007/978-3-319-46723-8_49; a [trap](javascript:alert)")
    assert "](https://doi.org/10.1007/978-3-319-46723-8_49)" in found
    assert "[trap](" not in found


def test_a_page_calls_regions_as_reports_do(boards):
    shown = render_board("phantom", read_board(boards / "phantom"))
    assert "Tumour Dice (95 % CI)" in shown
    assert "tumor dice" not in shown


def test_a_page_without_groups_says_that_nobody_was_separated(boards):
    entries = read_board(boards / "phantom")
    none = [e.model_copy(update={"rank": e.rank.model_copy(update={"group": ""})}) for e in entries]
    shown = render_board("phantom", none)
    assert "| Group |" not in shown
    assert "The statistics separated no two of them: the order is no ranking" in shown
    untested = {"group": "", "rank_low": None, "rank_high": None}
    few = [e.model_copy(update={"rank": e.rank.model_copy(update=untested)}) for e in entries]
    shown = render_board("phantom", few)
    assert "Its trainings are too few to test any pair" in shown
    assert "separated" not in shown


def test_a_page_without_letters_counts_who_was_separated(boards):
    """More entrants than letters have no groups; that is no tie of all."""
    entries = read_board(boards / "phantom")
    places = [{"group": "", "rank_low": low, "rank_high": 2.0} for low in (1.0, 2.0)]
    apart = [
        e.model_copy(update={"rank": e.rank.model_copy(update=own)})
        for e, own in zip(entries, places, strict=True)
    ]
    shown = render_board("phantom", apart)
    assert "1 pair is separated; so many entrants have no letters of groups." in shown
    assert "the order is no ranking" not in shown


def test_an_ensemble_has_taken_the_steps_of_its_members(boards):
    first, second = read_board(boards / "phantom")
    runs = tuple(
        run.model_copy(update={"members": tuple(one.id for one in first.trials.runs[:2])})
        for run in second.trials.runs
    )
    trials = second.trials.model_copy(update={"runs": runs})
    steps = sum(run.spent.steps for run in first.trials.runs[:2])
    both = render_board("phantom", [first, second.model_copy(update={"trials": trials})])
    assert f"| {steps} in 2 networks |" in both
    alone = render_board("phantom", [second.model_copy(update={"trials": trials})])
    assert "networks |" not in alone


@pytest.mark.parametrize("how", ["a file", "a link"])
def test_what_render_did_not_write_is_left_alone(boards, tmp_path, how):
    shutil.move(boards / "phantom", boards / "README")
    page, mine = boards / "README.md", tmp_path / "mine.md"
    mine.write_text("# Mine\n" + (MARK if how == "a link" else ""), encoding="utf-8")
    if how == "a file":
        shutil.copy(mine, page)
    else:
        page.symlink_to(mine)
    before = mine.read_bytes()
    with pytest.raises(DataError, match=r"README\.md was not written by") as refused:
        render_boards(boards)
    assert "another name" in str(refused.value).splitlines()[1]
    assert mine.read_bytes() == before
    assert page.read_bytes() == before


def test_a_board_of_an_earlier_format_is_named_and_can_be_replaced(boards, published):
    for name in ("a", "b"):
        file = boards / "phantom" / f"{name}.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        content["schema_version"] = 1
        file.write_text(json.dumps(content), encoding="utf-8")
        (boards / "phantom" / f"{name}.scores.csv.gz").unlink()
    checked = call_kitsbench("leaderboard", "check", boards)
    assert checked.code == 2
    assert checked.out.count("an entry of an earlier kitsbench") == 2
    assert "--replace" in checked.out
    work = published.parent / "work"
    refused = call_kitsbench("leaderboard", "add", work, "--to", boards / "phantom")
    assert refused.code == 2
    assert "an entry of an earlier kitsbench" in refused.err
    done = call_kitsbench("leaderboard", "add", work, "--to", boards / "phantom", "--replace")
    assert done.code == 0, done.err
    assert call_kitsbench("leaderboard", "check", boards).code == 0


def test_no_half_of_an_experiment_is_left(boards, tmp_path):
    """Ranks hold among all entries of an experiment; without some nobody could check them."""
    one = Plan({"a": 0.3}, folds=1, seeds=3, cases_per_fold=2, showcase=0, predictions=False)
    work = write_workdir(tmp_path / "one", one)
    done = call_kitsbench("leaderboard", "add", work, "--to", boards / "phantom", "--replace")
    assert done.code == 2
    assert "but 'b' stays, which was ranked with it" in done.err
    assert call_kitsbench("leaderboard", "check", boards).code == 0


def test_a_page_says_what_networks_began_with_and_are_made_from(boards):
    first, second = read_board(boards / "phantom")
    weights = f"sha256:{'1' * 64}"

    def other(entry, **fields):
        identity = entry.identity.model_copy(update=fields)
        return entry.model_copy(update={"identity": identity})

    declared = other(first, pretrained_on="BTCV | MSD", packages={"monai": "1.6.1"})
    silent = other(second, config={**second.identity.config, "weights": weights})
    page = render_board("phantom", [declared, silent])
    ((named,), (filed,)) = ([r for r in tables(page)[0] if f"`{n}`" in r] for n in "ab")
    assert "(pretrained on BTCV \\| MSD) |" in named
    assert "(begins with the weights of a file) |" in filed
    assert "with monai 1.6.1" in page
    assert "pretrained" not in render_board("phantom", [first, second])
