"""A run from Python, by the page that shows it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from command_line import call_kitsbench

import kitsbench
from kitsbench.errors import UsageError
from kitsbench.experiments.results import load_results

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"


@pytest.fixture(scope="module")
def followed(phantom, tmp_path_factory):
    """The page's code, executed in a folder that has its scans."""
    pytest.importorskip("kitsbench_plugins")
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(phantom, folder / "scans")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) > 5
    names: dict = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MPLBACKEND", "agg")
        for number, block in enumerate(blocks, start=1):
            exec(compile(block, f"python.md, block {number}", "exec"), names)
    return names, folder / "work"


def test_the_page_runs(followed):
    names, workdir = followed
    outcome = names["outcome"]
    assert sorted(outcome.architectures) == ["residual_unet", "unet3d"]
    assert list(outcome.ledger["status"]) == ["finished"] * 4
    assert len(outcome.ranking) == 2
    assert (workdir / "report" / "index.html").is_file()
    assert len(names["worst"]) == 3
    assert set(names["spent"].index) == {"residual_unet", "unet3d"}


def test_the_command_that_is_kept_is_one_for_a_shell(followed):
    experiment = load_results(followed[1]).experiment
    assert experiment.command.startswith("kitsbench run unet3d residual_unet --workdir work ")
    assert "--budget 10steps" in experiment.command
    assert "--yes" not in experiment.command


def test_a_prediction_lies_on_its_scan(followed):
    import nibabel

    names, workdir = followed
    found = names["found"]
    (file,) = (workdir.parent / "scans").rglob(f"{found.case}/imaging.nii.gz")
    scan = nibabel.load(file)
    assert found.labels.shape == scan.shape
    assert abs(found.affine - scan.affine).max() < 1e-4
    assert found.trial == names["outcome"].trial(found.trial).id


def test_the_statistics_of_the_page(followed):
    names, _ = followed
    assert min(row["value"] for row in names["scored"].rows if row["metric"] == "dice") == 1
    assert names["design"]["architectures"] == 12
    assert names["verdicts"].pairs


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sedes": 3}, "Did you mean 'seeds'"),
        ({"budget": "soon"}, "budget"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": "many"}, "seeds"),
        ({"recipe": "mine"}, "recipe"),
        ({"compile": 3}, "a switch"),
        ({"dry_run": True}, "--dry-run"),
        ({"as_json": True}, "what is returned"),
        ({"dataset": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_run_is_said(tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        kitsbench.run("unet3d", workdir=tmp_path / "work", **options)


def test_an_architecture_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="unet3f"):
        kitsbench.run("unet3f", workdir=tmp_path / "work", budget="2steps")


SAID = {
    ("better_relevant", True): "better by more than the margin than",
    ("better", True): "better than",
    ("better_negligible", True): "better by less than the margin than",
    ("equivalent", False): "equivalent to",
    ("inconclusive", False): "not told apart from",
    ("not_learned", True): "better than, which has not learned the endpoint,",
    ("not_learned", False): "not compared, since one of the two has not learned the endpoint, with",
}


def test_label_maps_of_anybody_enter_a_board_by_their_folder(followed, tmp_path):
    """The truth itself as an outside system: perfect, apart, and scored on the same cases."""
    from kitsbench.leaderboard import check_boards, read_board

    _, workdir = followed
    work = shutil.copytree(workdir, tmp_path / "work", symlinks=True)
    board = tmp_path / "boards" / "phantom"
    assert call_kitsbench("leaderboard", "add", work, "--to", board).code == 0  # as the page does
    before = {file.name: file.read_bytes() for file in board.iterdir()}
    done = call_kitsbench(
        *("leaderboard", "add", work, "--to", board, "--predictions", workdir.parent / "scans"),
        *("--name", "oracle", "--trained-on", "another hospital"),
    )
    assert done.code == 0, done.err
    count, problems = check_boards(board)
    assert (count, problems) == (3, [])
    assert {name: (board / name).read_bytes() for name in before} == before
    entries = {entry.name: entry for entry in read_board(board)}
    oracle = entries["oracle"]
    assert oracle.score("tumor:dice").mean == 1
    assert oracle.elsewhere.trained_on == ("another hospital",)
    assert oracle.rank is None
    outcome = kitsbench.load(work)
    mine = outcome.pairs[outcome.pairs[["a", "b"]].eq("oracle").any(axis=1)]
    assert len(mine) == 2
    # The board says of it what `compare` says of the same label maps.
    compared = call_kitsbench("compare", work, "--json").json["pairs"]
    assert call_kitsbench("leaderboard", "render", board.parent).code == 0
    page = (board.parent / "phantom.md").read_text(encoding="utf-8")
    (told,) = (x for x in page.splitlines() if (x.startswith("- `oracle`: ") and "than" in x)
               or x.startswith("- `oracle`: not"))  # fmt: skip
    for pair in (one for one in compared if "oracle" in (one["a"], one["b"])):
        other = pair["b"] if pair["a"] == "oracle" else pair["a"]
        words = SAID[pair["verdict"], pair["better"] == "oracle"]
        assert any(words in part and f"`{other}`" in part for part in told.split("; ")), told
    scores = outcome.scores
    for row in mine.itertuples():
        means = [
            scores[
                (scores["architecture"] == name)
                & (scores["region"] == "tumor")
                & (scores["metric"] == "dice")
                & (scores["protocol"] == "kits19")
            ]["value"].mean()
            for name in (row.a, row.b)
        ]
        assert row.difference == pytest.approx(means[0] - means[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--predictions", "maps", "--trained-on", "kits23"), "--name is missing"),
        (("--predictions", "maps", "--name", "x"), "--trained-on is missing"),
        (("--name", "x"), "give their folder by --predictions"),
        (
            ("--predictions", "maps", "--name", "x", "--trained-on", "MSD"),
            "--dataset is missing",
        ),
        (
            ("--predictions", "m", "--name", "x", "--trained-on", "MSD", "--dataset", "d"),
            "has no board.toml",
        ),
    ],
)
def test_what_is_missing_of_label_maps_is_said(tmp_path, words, said):
    done = call_kitsbench("leaderboard", "add", tmp_path / "none", "--to", tmp_path / "b", *words)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize(
    ("architectures", "options", "said"),
    [
        (("--help",), {}, "'--help' is no architecture. Options are keywords"),
        (("--dry-run", "unet3d"), {}, "'--dry-run' is no architecture"),
        ((["unet3d", "vnet"],), {}, "one by one, not ['unet3d', 'vnet']"),
        ((), {"log": 7}, "'7' is not one of"),
        ((), {"log": True}, "'log' takes a text, a number, or a list of them, not True"),
        ((), {"seeds": True}, "'seeds' takes a text, a number"),
        ((), {"budget": b"2h"}, "'budget' takes a text, a number, or a list of them, not b'2h'"),
        ((), {"budget": {"hours": 2}}, "'budget' takes a text"),
        ((), {"workdir": None}, "workdir is a folder's path, not None"),
    ],
)
def test_odd_values_are_said_in_words_of_python(
    tmp_path, monkeypatch, architectures, options, said
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(said)):
        kitsbench.run(*architectures, **options)
    assert list(tmp_path.iterdir()) == []
