"""Configuration of the documentation site: `sphinx-build -W docs docs/_build`."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from kitsbench.claims import read_registry
from kitsbench.cli import VERBS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import board_pages  # noqa: E402
import cards  # noqa: E402
import findings  # noqa: E402
import format_tables  # noqa: E402
import glossary_tables  # noqa: E402
import gpu_tables  # noqa: E402
import metric_tables  # noqa: E402
import reported_tables  # noqa: E402

GENERATED = HERE / "_generated"

project = "kitsbench"
author = "The kitsbench developers"
copyright = "The kitsbench developers"
release = version = installed_version("kitsbench")

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
]
INCLUDED = (  # parts of pages
    "verbs",
    "claims",
    "metrics",
    "empty_and_missing",
    "gpu_costs",
    "formats",
    "tables",
    "glossary",
    "reported_families",
    "reported_rows",
    "reported_sources",
    "experiment_a",
    "experiment_b",
    "experiment_c",
    "experiment_d",
    "experiment_claims",
    "experiment_controls",
)
exclude_patterns = ["_build", *(f"_generated/{name}.md" for name in INCLUDED)]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # single backticks in the help of the command line

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = "kitsbench"
html_static_path = ["_static"]
html_js_files = ["names.js"]
html_css_files = ["site.css"]
html_extra_path = ["_generated/files"]  # schemas
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
html_show_sourcelink = False
html_show_search_summary = False  # it is fetched, which a browser refuses without a server
html_sidebars = {"index": []}  # elsewhere the pages of the section
html_context = {"default_mode": "auto"}
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
}


def generate_pages() -> None:
    """Write what follows from the repository: verbs, metrics, boards, and the plugins' cards."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir()
    verbs = [
        f".. click:: kitsbench.cli.verbs.{module}:command\n"
        f"   :prog: kitsbench {verb}\n   :nested: full\n"
        for verb, (module, _) in VERBS.items()
    ]
    text = "```{eval-rst}\n" + "\n".join(verbs) + "```\n"
    (GENERATED / "verbs.md").write_text(text, encoding="utf-8")
    (GENERATED / "claims.md").write_text(_claims(), encoding="utf-8")
    for name, table in (
        ("metrics", metric_tables.facts()),
        ("empty_and_missing", metric_tables.empty_and_missing()),
        ("gpu_costs", gpu_tables.costs()),
        ("formats", format_tables.pages()),
        ("tables", format_tables.table_pages()),
        ("glossary", glossary_tables.glossary()),
        ("reported_families", reported_tables.families()),
        ("reported_rows", reported_tables.by_protocol()),
        ("reported_sources", reported_tables.sources()),
        *findings.parts().items(),
    ):
        (GENERATED / f"{name}.md").write_text(table, encoding="utf-8")
    format_tables.write_schemas(GENERATED / "files")
    boards = [page for page in (b.with_suffix(".md") for b in board_pages.boards())
              if page.is_file()]  # fmt: skip
    places = {
        name: f"../{section}/{folder}.md"
        for package, section in (("kitsbench_plugins", "cards"), ("kitsbench_zoo", "zoo"))
        for name, folder in cards.folders(package).items()
    }
    _index(
        "leaderboards",
        "# Leaderboards\n\nA board holds entries that were made under the same conditions: "
        "dataset, protocol, recipe, budget, folds and seeds. Every entry is a JSON file in "
        "`leaderboards/` with its scores, cost, failures and provenance, beside it the scores of "
        "every case; `kitsbench leaderboard add WORKDIR --to leaderboards/NAME` writes the entries "
        "of an experiment, `check` works out again what they say, and `render` makes the tables "
        "below.\n",
        {
            page.stem: board_pages.linked(page.read_text(encoding="utf-8"), places)
            for page in boards
        },
        "No board has been published yet.",
    )
    _index(
        "gallery",
        "# Reports of the boards\n\nWhat a report says of the scores that lie on a board: each "
        "page is drawn from the scores of every case when the site is built, by the functions that "
        "draw reports.\n",
        board_pages.gallery(GENERATED / "gallery"),
        "No board has been published yet.",
    )
    _index(
        "cards",
        "# Reference architectures\n\nEach is a plugin of the distribution `kitsbench-plugins`, "
        "without any privilege over yours. `kitsbench list` shows what is installed, "
        "`kitsbench show NAME` every setting with its provenance.\n",
        _cards("kitsbench_plugins", "cards"),
        "The cards lie beside the plugins in the repository.",
    )
    _index(
        "zoo",
        "# Networks of MONAI and others\n\nWhat the field compares its own networks with, as "
        "plugins of the distribution `kitsbench-zoo`. In a checkout\n\n"
        '```console\n$ pip install . "./plugins[nnunet]" "./plugins/zoo[all]"\n```\n\n'
        "installs it with all packages that it needs; where one of them is missing, `kitsbench "
        "list --load` says so in the architecture's row, with the command that gets it. Every "
        "network has the parameters of its authors' code, their recipe for `--recipe paper`, and a "
        "`size=tiny` that a CPU can train.\n",
        _cards("zoo/kitsbench_zoo", "zoo"),
        "The cards lie beside the plugins in the repository.",
    )


def _cards(package: str, name: str) -> dict[str, str]:
    """What a plugin's README says, and what its network is, by the name of its folder."""
    found = sorted((ROOT / "plugins" / package).glob("*/README.md"))
    texts = {card.parent.name: card.read_text(encoding="utf-8") for card in found}
    added = cards.additions(package.split("/")[-1], GENERATED / name / "diagrams")
    return {folder: f"{text}\n{added.get(folder, '')}" for folder, text in texts.items()}


def _claims() -> str:
    rows = []
    for claim in read_registry():
        steps = [f"`{s.higher}` > `{s.lower}` ({s.region})" for s in claim.step]
        notes = " ".join(filter(None, [claim.unavailable, claim.caution]))
        rows.append(
            f"**{claim.id}** ({claim.paper}). {claim.statement}\n\n"
            f": Paper: {claim.figure}; {claim.conditions}.\n"
            f"  Compared: {', '.join(steps)}. Recipe: {' or '.join(claim.modes)}. {notes}\n"
        )
    return "\n".join(rows)


def _index(name: str, introduction: str, pages: dict[str, str], otherwise: str) -> None:
    folder = GENERATED / name
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in pages.items():
        # A card may point at files of its own folder, which are not part of the site.
        text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?://|#|\.\./)[^)]+\)", r"\1", text)
        (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    links = "\n".join(pages)
    body = f"```{{toctree}}\n:maxdepth: 1\n\n{links}\n```\n" if pages else f"{otherwise}\n"
    (folder / "index.md").write_text(f"{introduction}\n{body}", encoding="utf-8")


def _split_names(app, what, name, obj, options, lines) -> None:
    """Let napoleon see attributes that share a description, ``a, b : int``, as one name."""
    inside = False
    for index, line in enumerate(lines):
        if line.strip() and set(line.strip()) == {"-"}:
            inside = lines[index - 1].strip() == "Attributes"
        elif inside and (match := re.match(r"(\s*)(\w+(?:, \w+)+) : (.*)", line)):
            lines[index] = f"{match[1]}{match[2].replace(', ', ',')} : {match[3]}"


def setup(app) -> None:
    """Called by Sphinx."""
    # before napoleon, which listens with the usual priority of 500
    app.connect("autodoc-process-docstring", _split_names, priority=400)


generate_pages()
