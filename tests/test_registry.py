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
from kitsbench.errors import ContractError, UsageError

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
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


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
def test_the_source_hash_covers_the_folder_and_what_it_imports(package, path, changes_one):
    before = {name: registry.load(name).source_hash for name in ("one", "two")}
    with open(package / path, "a") as file:
        file.write("# changed\n")
    after = {name: registry.load(name).source_hash for name in ("one", "two")}
    assert (before["one"] != after["one"]) == changes_one
    assert (before["two"] != after["two"]) == (path == "two/plugin.py")


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
    ],
)
def test_requests_are_split(text, name, settings):
    assert registry.parse_request(text) == (name, settings)


@pytest.mark.parametrize("text", ["", ":width=1", "unet3d:width", "unet3d:=1", "unet3d:width="])
def test_requests_of_another_form_are_refused(text):
    with pytest.raises(UsageError, match="write"):
        registry.parse_request(text)


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
        ("unet3d", {"size": "tiny", "width": "0.125"}, "unet3d:size=tiny"),
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
