"""From installed distributions and files to architectures, faulty ones included."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Task
from kitsbench.configuration import join_settings
from kitsbench.errors import ContractError, UsageError
from kitsbench.registry import plugin_import

PLUGIN = """
from torch import nn
from kitsbench.architecture import Architecture, Plain

class Net(Architecture):
    title = "A net"
    paper = "Somebody 2020"

    def build(self, spec):
        return Plain(nn.Conv3d(1, spec.classes, 1))
"""


class Site:
    """A folder on the import path into which distributions are put."""

    def __init__(self, folder: Path):
        self.folder = folder

    def install(self, distribution, files=None, entries=None, version="1.0"):
        """Write modules and the metadata that announces their entry points."""
        for path, text in (files or {}).items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        info = self.folder / f"{distribution}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = [f"[{registry.GROUP}]", *(f"{k} = {v}" for k, v in (entries or {}).items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def new_process(tmp_path, monkeypatch):
    """Make this process forget what it has imported from the test's folder, now and at the end."""

    def forget():
        for name, module in list(sys.modules.items()):
            known = getattr(module, "__dict__", {})  # torch has modules that answer to any name
            places = [known.get("__file__"), *known.get("__path__", ())]
            if any(str(place).startswith(str(tmp_path)) for place in places):
                del sys.modules[name]
        for known in (plugin_import.BESIDE.names, plugin_import._MEANT, plugin_import._FIRST):
            known.clear()
        plugin_import._ADDED.clear()

    yield forget
    forget()


@pytest.fixture
def site(tmp_path, monkeypatch, new_process):
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path)


def found(name):
    return next(entry for entry in registry.discover() if entry.name == name)


def test_listing_imports_nothing_and_names_the_distribution(site):
    site.install(
        "explosive",
        {"explosive_net.py": "raise RuntimeError('imported')"},
        {"explosive": "explosive_net:Net"},
        version="2.3",
    )
    entry = found("explosive")
    assert (entry.status, entry.distribution, entry.version) == ("available", "explosive", "2.3")
    assert entry.error is None
    assert "explosive_net" not in sys.modules


def test_the_reference_architectures_are_installed_like_any_other():
    names = {e.name for e in registry.discover() if e.distribution == "kitsbench-plugins"}
    assert {"unet3d", "residual_unet", "scau_unet"} <= names


def test_a_working_plugin_is_ok_and_carries_its_provenance(site):
    site.install("nets", {"nets_one.py": PLUGIN}, {"net_one": "nets_one:Net"})
    entry = registry.load("net_one")
    assert entry.status == "ok"
    assert (entry.title, entry.paper) == ("A net", "Somebody 2020")
    assert len(entry.source_hash) == 16
    assert entry.architecture is entry.instance
    assert json.loads(json.dumps(entry.to_dict()))["version"] == "1.0"


@pytest.mark.parametrize(
    ("source", "status", "error"),
    [
        ("import not_there_at_all", "missing dependency", "not_there_at_all"),
        ("from scipy import no_such_name", "missing dependency", "scipy"),
        ("from faulty_net import nothing", "broken", "cannot import name 'nothing'"),
        ("from kitsbench.architecture import Nothing", "broken", "Nothing"),
        ("def f(:", "broken", "SyntaxError"),
        ("1 / 0", "broken", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "broken", "SystemExit: 3"),
        ("class Net: pass", "broken", "no subclass of kitsbench.architecture.Architecture"),
        ("Other = 1", "broken", "has no attribute 'Net'"),
        (PLUGIN + "\n    def __init__(self, needed): pass", "broken", "needed"),
        (
            PLUGIN + "\n    sizes = {'paper': {'unknown': 1}}",
            "broken",
            "sizes['paper'] sets ['unknown']",
        ),
        (
            "from kitsbench.architecture import Key\n"
            + PLUGIN
            + "\n    keys = {'mode': Key('a', options=('b',))}",
            "broken",
            "mode=a",
        ),
    ],
)
def test_a_faulty_plugin_is_a_row_with_the_last_line_of_its_error(site, source, status, error):
    site.install("faulty", {"faulty_net.py": source}, {"faulty": "faulty_net:Net"})
    entry = registry.load("faulty")
    assert entry.status == status
    assert error in entry.error
    assert "\n" not in entry.error
    with pytest.raises(ContractError, match="faulty"):
        _ = entry.architecture
    assert {"unet3d", "faulty"} <= {e.name for e in registry.load_all()}


def test_a_missing_module_of_the_plugin_itself_is_no_missing_dependency(site):
    files = {"own/__init__.py": "", "own/plugin.py": "from own.lost import Net"}
    site.install("own", files, {"own_net": "own.plugin:Net"})
    entry = registry.load("own_net")
    assert entry.status == "broken"
    assert "own.lost" in entry.error


def test_two_distributions_with_one_name_are_both_named_and_the_others_stay_usable(site):
    site.install("first", {"first_net.py": PLUGIN}, {"same": "first_net:Net"})
    site.install("second", {"second_net.py": PLUGIN}, {"same": "second_net:Net"}, version="2.0")
    for entry in (found("same"), registry.load("same")):
        assert entry.status == "broken"
        assert "first 1.0" in entry.error
        assert "second 2.0" in entry.error
    assert registry.load("unet3d").status == "ok"


@pytest.mark.parametrize("name", ["My-Net", "my-net", "1net", "my.net"])
def test_a_name_that_breaks_the_rule_is_broken(site, name):
    site.install("odd", {"odd_net.py": PLUGIN}, {name: "odd_net:Net"})
    assert found(name).status == "broken"
    assert "no valid name" in found(name).error


def test_the_source_of_every_plugin_is_hashed_without_importing_it(plugin_file, new_process):
    path = plugin_file("here/net.py", {"net.py": HELPED, "parts.py": "WIDTH = 3"})
    names = [entry.name for entry in registry.discover()] + [path]
    assert "unet3d" in names
    modules = set(sys.modules)
    found = {name: registry.read_source_hash(name) for name in names}
    assert "parts" not in sys.modules
    assert not [
        m
        for m in set(sys.modules) - modules
        if m.startswith(("kitsbench_plugins", "kitsbench_zoo"))
    ]
    assert found == {name: registry.load(name).source_hash for name in names}


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'residual_unet'"):
        registry.load("residual-unet")
    with pytest.raises(UsageError, match=r"installed are .*unet3d"):
        registry.load("xyzzy")


def test_what_a_plugin_prints_while_it_loads_is_not_on_stdout(site, capsys):
    site.install(
        "chatty", {"chatty_net.py": "print('hello')\n" + PLUGIN}, {"chatty": "chatty_net:Net"}
    )
    assert registry.load("chatty").status == "ok"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


# --- files -------------------------------------------------------------------------------------


def test_a_file_is_an_architecture(tmp_path):
    path = tmp_path / "own_net.py"
    path.write_text(PLUGIN)
    entry = registry.load(str(path))
    assert (entry.name, entry.status, entry.distribution) == ("own_net", "ok", "own_net.py")
    assert entry.location == str(path.resolve())
    assert registry.load(entry.location).source_hash == entry.source_hash
    assert registry.display_name(str(path)) == "own_net"


def test_a_base_class_in_the_file_is_not_the_one_that_is_meant(tmp_path):
    path = tmp_path / "derived.py"
    path.write_text(PLUGIN + '\nclass Better(Net):\n    title = "Better"\n')
    assert registry.load(str(path)).title == "Better"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x = 1", "it has none"),
        (PLUGIN + PLUGIN.replace("Net(", "Other("), "Net, Other"),
        ("import not_there_at_all", "not_there_at_all"),
    ],
)
def test_a_file_without_one_architecture_says_what_it_has(tmp_path, source, error):
    path = tmp_path / "file.py"
    path.write_text(source)
    assert error in registry.load(str(path)).error


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.py"):
        registry.load(str(tmp_path / "nothing.py"))


# --- what a file imports -----------------------------------------------------------------------

HELPED = PLUGIN.replace(
    "class Net", "from parts import WIDTH\n\ndef late():\n    return WIDTH\n\nclass Net"
)


@pytest.fixture
def plugin_file(tmp_path, new_process):
    """Write a plugin's file and what lies around it; returns its path."""

    def write(name, files):
        folder = (tmp_path / name).parent
        for other, text in files.items():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_text(text)
        return str(tmp_path / name)

    return write


def late(entry):
    """What a function of the plugin's module gives after loading."""
    return sys.modules[type(entry.architecture).__module__].late()


def test_a_file_imports_what_lies_beside_it_whenever_it_does(plugin_file):
    body = HELPED.replace(
        "    return WIDTH", "    import models.deep\n    return models.deep.WIDTH"
    )
    path = plugin_file(
        "here/net.py",
        {
            "net.py": body,
            "parts.py": "WIDTH = 3",
            "models/deep.py": "from .more import WIDTH",
            "models/more.py": "WIDTH = 4",
        },
    )
    before = list(sys.path)
    entry = registry.load(path)
    assert entry.status == "ok", entry.error
    assert sys.path == before
    assert late(entry) == 4


@pytest.mark.parametrize("statement", ["from .parts", "from mine.parts", "from ..mine.parts"])
def test_a_file_in_a_package_imports_from_it_by_name_and_by_dots(plugin_file, statement):
    body = HELPED.replace("from parts", statement)
    outer = "above/" if statement.startswith("from ..") else ""
    files = {f"{outer}mine/net.py": body, f"{outer}mine/parts.py": "WIDTH = 3"}
    files |= {f"{folder}__init__.py": "" for folder in (outer, f"{outer}mine/") if folder}
    path = plugin_file("plugin.py", files)
    entry = registry.load(str(Path(path).parent / f"{outer}mine" / "net.py"))
    assert entry.status == "ok", entry.error
    assert late(entry) == 3
    # What is imported is part of what the plugin is, found without importing it, too.
    assert registry.read_source_hash(entry.location) == entry.source_hash
    (Path(path).parent / f"{outer}mine" / "parts.py").write_text("WIDTH = 4")
    assert registry.read_source_hash(entry.location) != entry.source_hash


def test_a_dot_in_a_folder_that_is_no_package_is_explained(plugin_file):
    body = HELPED.replace("from parts", "from .parts")
    path = plugin_file("here/net.py", {"net.py": body, "parts.py": "WIDTH = 3"})
    entry = registry.load(path)
    assert entry.status == "broken"
    assert "has no __init__.py" in entry.error
    assert "by its plain name" in entry.error


def test_a_faulty_file_is_what_is_to_be_repaired(plugin_file):
    path = plugin_file("net.py", {"net.py": "x = 1"})
    with pytest.raises(ContractError) as refused:
        _ = registry.load(path).architecture
    message = str(refused.value)
    assert message.startswith("architecture 'net' (net.py) is broken: ")
    assert message.endswith(f" Repair {path}.")


def test_files_in_two_folders_never_get_each_others_helpers(plugin_file, new_process):
    first = plugin_file("a/first.py", {"first.py": HELPED, "parts.py": "WIDTH = 1"})
    second = plugin_file("b/second.py", {"second.py": HELPED, "parts.py": "WIDTH = 2"})
    third = plugin_file("a/third.py", {"third.py": HELPED})
    for names, values in (((first, third), (1, 1)), ((second,), (2,))):
        new_process()
        assert tuple(late(registry.load(name)) for name in names) == values
    for one, other, width in ((first, second, 1), (second, first, 2)):
        new_process()
        kept = registry.load(one)
        refused = registry.load(other)
        assert refused.status == "broken"
        assert "'parts'" in refused.error
        assert str(Path(one).parent) in refused.error
        assert str(Path(other).parent) in refused.error
        assert "rename one" in refused.error
        assert late(kept) == width


@pytest.mark.parametrize("late_import", [False, True])
def test_helpers_of_one_name_are_refused_however_they_are_found(
    plugin_file, new_process, late_import
):
    start = "import sys, os\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'src'))\n"
    body = start + HELPED
    if late_import:
        body = start + PLUGIN + "\ndef late():\n    from parts import WIDTH\n    return WIDTH\n"
    first = plugin_file("a/first.py", {"first.py": body, "src/parts.py": "WIDTH = 1"})
    second = plugin_file("b/second.py", {"second.py": body, "src/parts.py": "WIDTH = 2"})
    before = list(sys.path)
    kept, refused = registry.load(first), registry.load(second)
    assert late(kept) == 1
    assert refused.status == "broken"
    # Once they have been taken from sys.path, the folders are found again at a second load.
    assert sys.path == before
    again = registry.load(first)
    assert (again.source_hash, late(again)) == (kept.source_hash, 1)
    (Path(first).parent / "src" / "parts.py").write_text("WIDTH = 3")
    new_process()
    assert registry.load(first).source_hash != kept.source_hash


def test_no_file_depends_on_which_others_were_loaded(plugin_file, new_process):
    body = "try:\n    import extra\nexcept ImportError:\n    extra = None\n" + PLUGIN
    reaching = (
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__) + '/src')\nimport extra\n"
    )
    first = plugin_file("a/first.py", {"first.py": reaching + PLUGIN, "src/extra.py": ""})
    second = plugin_file("b/second.py", {"second.py": body})
    alone = registry.load(second).source_hash
    new_process()
    assert registry.load(first).status == "ok"
    assert registry.load(second).source_hash == alone


def test_a_helper_that_changed_after_it_was_imported_is_refused(plugin_file, new_process):
    path = plugin_file("net.py", {"net.py": HELPED, "parts.py": "WIDTH = 1"})
    before = registry.load(path)
    (Path(path).parent / "parts.py").write_text("WIDTH = 20")
    stale = registry.load(path)
    assert stale.status == "broken"
    assert "parts.py has changed since this process imported it" in stale.error
    new_process()
    after = registry.load(path)
    assert late(after) == 20
    assert after.source_hash != before.source_hash
    # The plugin's own file is run anew each time.
    with open(path, "a") as file:
        file.write("\ndef late():\n    return 3\n")
    edited = registry.load(path)
    assert late(edited) == 3
    assert edited.source_hash != after.source_hash


def test_a_file_called_like_a_package_that_it_wraps_gets_the_package(plugin_file):
    path = plugin_file("click.py", {"click.py": "from click import Command\n" + PLUGIN})
    assert registry.load(path).status == "ok"


@pytest.mark.parametrize(
    ("helper", "status", "error"),
    [
        ("OTHER = 1", "broken", "cannot import name 'WIDTH'"),
        ("import not_there_at_all", "missing dependency", "not_there_at_all"),
        ("def f(:", "broken", "SyntaxError"),
    ],
)
def test_a_faulty_helper_is_told_from_a_missing_dependency(plugin_file, helper, status, error):
    entry = registry.load(plugin_file("net.py", {"net.py": HELPED, "parts.py": helper}))
    assert entry.status == status
    assert error in entry.error


def test_a_helper_with_the_name_of_an_installed_package_is_named(plugin_file):
    body = HELPED.replace("parts", "pluggy")
    entry = registry.load(plugin_file("net.py", {"net.py": body, "pluggy.py": "WIDTH = 1"}))
    assert entry.status == "broken"
    assert "pluggy.py has the name of an installed package" in entry.error


# --- source hash -------------------------------------------------------------------------------


@pytest.fixture
def package(site):
    files = {
        "family/__init__.py": "",
        "family/shared.py": "from family import deep\n",
        "family/deep.py": "VALUE = 1\n",
        "family/unused.py": "VALUE = 1\n",
        "family/one/__init__.py": "",
        "family/one/plugin.py": "from .. import shared\n" + PLUGIN,
        "family/one/network.py": "VALUE = 1\n",
        "family/two/__init__.py": "",
        "family/two/plugin.py": PLUGIN,
    }
    entries = {"one": "family.one.plugin:Net", "two": "family.two.plugin:Net"}
    site.install("family", files, entries)
    return site.folder / "family"


@pytest.mark.parametrize(
    ("path", "changes_one"),
    [
        ("one/plugin.py", True),
        ("one/network.py", True),
        ("shared.py", True),
        ("deep.py", True),
        ("unused.py", False),
        ("two/plugin.py", False),
    ],
)
def test_the_source_hash_covers_the_folder_and_what_it_imports(
    package, new_process, path, changes_one
):
    before = {name: registry.load(name).source_hash for name in ("one", "two")}
    with open(package / path, "a") as file:
        file.write("# changed\n")
    new_process()
    after = {name: registry.load(name).source_hash for name in ("one", "two")}
    assert (before["one"] != after["one"]) == changes_one
    assert (before["two"] != after["two"]) == (path == "two/plugin.py")


def test_a_package_that_changed_after_it_was_imported_is_refused(package):
    assert registry.load("one").status == "ok"
    with open(package / "shared.py", "a") as file:
        file.write("# changed\n")
    entry = registry.load("one")
    assert entry.status == "broken"
    assert "shared.py has changed since this process imported it" in entry.error
    assert registry.load("two").status == "ok"


def test_other_packages_that_are_not_installed_count(package, site, new_process):
    site.install("blocks", {"blocks/__init__.py": "", "blocks/deep.py": "from lone import A"})
    site.install("lone", {"lone.py": "A = 1"})
    with open(package / "one" / "network.py", "a") as file:
        file.write("from blocks import deep\n")
    before = registry.load("one").source_hash
    (site.folder / "lone.py").write_text("A = 2")
    new_process()
    assert registry.load("one").source_hash != before


def test_the_source_hash_does_not_depend_on_the_place(tmp_path):
    hashes = set()
    for folder in ("a", "b"):
        path = tmp_path / folder / "net.py"
        path.parent.mkdir()
        path.write_text(PLUGIN)
        (path.parent / "beside.py").write_text(f"# {folder}: no part of the plugin")
        hashes.add(registry.load(str(path)).source_hash)
    assert len(hashes) == 1
    shutil.rmtree(tmp_path / "a")


# --- requests and labels -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("unet3d", "unet3d", {}),
        ("unet3d:", "unet3d", {}),
        ("unet3d:width=0.5, depth=3", "unet3d", {"width": "0.5", "depth": "3"}),
        ("folder/net.py", "folder/net.py", {}),
        ("C:\\folder\\net.py:width=2", "C:\\folder\\net.py", {"width": "2"}),
        ("net:weights=/a, b/w.pt,width=2", "net", {"weights": "/a, b/w.pt", "width": "2"}),
        ("net:weights=w,", "net", {"weights": "w"}),
        (
            'net:weights="/a,b=c/""w"".pt" , width=2',
            "net",
            {"weights": '/a,b=c/"w".pt', "width": "2"},
        ),
        ("net:width=2,script=run.py", "net", {"width": "2", "script": "run.py"}),
        ("a, b/net.py:width=2", "a, b/net.py", {"width": "2"}),
        ("a:b/net.py:width=2", "a:b/net.py", {"width": "2"}),
    ],
)
def test_requests_are_split(text, name, settings):
    assert registry.parse_request(text) == (name, settings)


@pytest.mark.parametrize(
    "text", ["", ":width=1", "unet3d:width", "unet3d:=1", "unet3d:width=", 'a:b="c",d']
)
def test_requests_of_another_form_are_refused(text):
    with pytest.raises(UsageError, match="write"):
        registry.parse_request(text)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,5}", fullmatch=True),
        st.text(st.sampled_from("ab ,=\"'ä.py:/\\\n"), max_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_settings_of_any_letters_are_read_back(settings):
    text = f"net:{join_settings(settings)}"
    assert registry.parse_request(text) == ("net", settings)


def test_a_setting_given_twice_is_refused():
    with pytest.raises(UsageError, match="'width' twice"):
        registry.parse_request("unet3d:width=1,width=2")


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("scau_unet", {}, "scau_unet"),
        ("scau_unet", {"attention": "off"}, "scau_unet:attention=off"),
        ("scau_unet", {"width": "0.50", "attention": "off"}, "scau_unet:attention=off,width=0.5"),
        ("scau_unet", {"width": "1", "attention": "on"}, "scau_unet"),
        ("unet3d", {"size": "tiny", "width": "0.25"}, "unet3d:size=tiny"),
        ("unet3d", {"size": "tiny", "width": "1"}, "unet3d:size=tiny,width=1"),
    ],
)
def test_labels_hold_what_changes_the_configuration(name, settings, expected):
    assert registry.display_name(name, settings) == expected


def test_labels_refuse_unknown_settings():
    with pytest.raises(UsageError, match=r"'colour' is no configuration key.*padding"):
        registry.display_name("unet3d", {"colour": "red"})
    with pytest.raises(UsageError, match="choose from same, valid"):
        registry.display_name("unet3d", {"padding": "both"})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "width": st.floats(1 / 32, 4).map(lambda w: f"{w:.4g}"),
            "depth": st.integers(2, 6).map(str),
            "padding": st.sampled_from(["same", "valid"]),
            "size": st.sampled_from(["tiny", "small", "paper"]),
        },
    )
)
def test_a_label_is_a_request_for_the_same_label(settings):
    name = registry.display_name("unet3d", settings)
    assert registry.display_name(*registry.parse_request(name)) == name


def test_parameters_are_counted_without_memory_and_ensembles_add_up(tmp_path):
    unet = registry.load("unet3d").architecture
    assert registry.count_parameters(unet, task=Task(KITS19)) == 19_073_795
    assert registry.count_parameters(unet, {"width": 0.5}, Task(KITS19)) == 4_770_691
    path = tmp_path / "both.py"
    path.write_text(
        "from kitsbench.architecture import Architecture, Member, Spec\n"
        "class Both(Architecture):\n"
        "    def spec(self, config, task):\n"
        "        members = (Member('scau_unet'), Member('scau_unet', (('attention', 'off'),)))\n"
        "        return Spec(tuple(config.items()), task.labels, members=members)\n"
    )
    both = registry.load(str(path)).architecture
    assert registry.count_parameters(both, task=Task(KITS21)) == 1_387_459 + 1_384_039
