"""Initial weights: loaded once when training begins, counted, and checked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from architectures import PATCH, Pretrained, Smallest
from torch import nn

from kitsbench.architecture import Task, configure
from kitsbench.configuration import files_of
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.ledger import Ledger
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.initial import load_initial

CPU = torch.device("cpu")


def make_spec(architecture, settings=None):
    return architecture.spec(configure(architecture, settings), Task(patch=PATCH))


def begin(architecture, file=None, settings=None):
    """The network that training begins with, and what was loaded into it."""
    settings = {"weights": str(file)} if file is not None else settings
    spec = make_spec(architecture, settings)
    files, found = files_of(architecture, settings), []
    network = build_network(
        architecture,
        spec,
        0,
        0,
        CPU,
        initialise=lambda n: found.append(load_initial(architecture, n, files, spec)),
    )
    return network, found[0]


@pytest.fixture
def trained(tmp_path):
    """Weights of a network like that of the tests, but for the head, which has another shape."""
    torch.manual_seed(7)
    state = {
        name.removeprefix("network."): torch.randn(tensor.shape)
        if tensor.is_floating_point()
        else tensor + 5
        for name, tensor in Smallest().build(make_spec(Smallest())).state_dict().items()
    }
    state["1.weight"] = torch.randn(14, 8, 1, 1, 1)
    state["old.head"] = torch.ones(3)
    torch.save({"state_dict": state}, tmp_path / "trained.pt")
    return tmp_path / "trained.pt", state


def test_weights_of_a_file_take_the_place_of_those_that_build_drew(trained, capfd):
    file, state = trained
    network, found = begin(Pretrained(), file)
    own = network.state_dict()
    drawn = build_network(Pretrained(), make_spec(Pretrained()), 0, 0, CPU).state_dict()
    assert torch.equal(own["network.0.0.weight"], state["0.0.weight"])
    assert torch.equal(own["network.1.weight"], drawn["network.1.weight"])
    assert (found.loaded, found.n_missing) == (len(own) - 1, 1)
    assert (found.missing, found.misshapen) == (["network.1.weight"], ["network.1.weight"])
    assert (found.files, found.n_unexpected) == (["weights"], 1)
    said = capfd.readouterr().err
    assert f"from trained.pt: {len(own) - 1} of {len(own)} tensors loaded" in said
    assert "1 given in another shape: network.1.weight" in said
    assert "given and not the network's: network.old.head" in said


def test_without_a_file_nothing_is_loaded_and_nothing_changes(make_job):
    assert begin(Pretrained())[1] is None
    plain = train(make_job(Smallest(), folder="a", budget=Budget(2, "steps")))
    silent = train(make_job(Pretrained(), folder="b", budget=Budget(2, "steps")))
    assert plain.ledger.initial is None
    assert silent.ledger.initial is None
    states = [outcome.network.state_dict() for outcome in (plain, silent)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_needs_the_file_when_it_begins_and_never_again(trained, make_job):
    file, _ = trained
    settings = {"weights": str(file)}
    spec, files = make_spec(Pretrained(), settings), files_of(Pretrained(), settings)
    job = make_job(Pretrained(), spec=spec, files=files, budget=Budget(2, "steps"))
    begun = train(job).ledger
    assert begun.initial.loaded > 0
    assert Ledger.from_dict(begun.to_dict()) == begun
    file.unlink()
    further = train(replace(job, budget=Budget(4, "steps"))).ledger
    assert (further.steps, further.resumed, further.initial) == (4, 1, begun.initial)
    with pytest.raises(TrialFailure, match="cannot be read") as error:
        train(replace(job, folder=job.folder.parent / "anew"))
    assert error.value.reason == "data error"


def test_a_file_that_changed_since_the_plan_is_not_loaded(trained, make_job):
    file, state = trained
    settings = {"weights": str(file)}
    spec, files = make_spec(Pretrained(), settings), files_of(Pretrained(), settings)
    torch.save({**state, "more": torch.ones(1)}, file)
    with pytest.raises(TrialFailure, match="has changed since the trial was planned"):
        train(make_job(Pretrained(), spec=spec, files=files))
    with pytest.raises(TrialFailure, match="only its hash names: give weights a path"):
        train(make_job(Pretrained(), spec=spec))


class InPlace(Smallest):
    """Loads by code of its own, as published networks' methods do."""

    def weights(self, network, files, spec):
        with torch.no_grad():
            network.network[1].bias.fill_(3.0)


class ByName(Smallest):
    """Needs no file."""

    given: object = None

    def weights(self, network, files, spec):
        return self.given


def test_a_hook_may_load_by_itself_or_give_tensors():
    network, found = begin(InPlace())
    assert (network.network[1].bias == 3).all()
    assert (found.loaded, found.files, found.n_unexpected) == (1, [], 0)
    plugin = ByName()
    plugin.given = {"network.1.bias": torch.full((3,), 2.0)}
    network, found = begin(plugin)
    assert (network.network[1].bias == 2).all()
    assert 0 < found.share < 0.1


class Rebuilding(Smallest):
    def weights(self, network, files, spec):
        network.network[1] = nn.Conv3d(8, 5, 1)


class Failing(Smallest):
    def weights(self, network, files, spec):
        raise KeyError("swin")


@pytest.mark.parametrize(
    ("plugin", "given", "said"),
    [
        (ByName(), [1, 2], "returned a list: return {name in network.state_dict()"),
        (ByName(), {"network.1.bias": 3.0}, "return {name in network.state_dict()"),
        (ByName(), {"network.1.bias": torch.full((3,), torch.nan)}, "not finite"),
        (Rebuilding(), None, "changed the names or shapes"),
        (Failing(), None, "weights() raised KeyError"),
    ],
)
def test_a_hook_that_breaks_a_rule_is_told_so(plugin, given, said):
    plugin.given = given
    with pytest.raises(TrialFailure) as error:
        begin(plugin)
    assert error.value.reason == "plugin error"
    assert said in str(error.value)


def test_a_file_of_which_nothing_fits_is_refused(tmp_path):
    torch.save({"conv1.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(TrialFailure) as error:
        begin(Pretrained(), tmp_path / "other.pt")
    assert "loaded nothing of other.pt" in str(error.value)
    assert "was given conv1.weight" in str(error.value)
    (tmp_path / "none.pt").write_bytes(b"nothing")
    with pytest.raises(TrialFailure, match=r"none\.pt cannot be read") as error:
        begin(Pretrained(), tmp_path / "none.pt")
    assert error.value.reason == "data error"


class Quantised(Smallest):
    """A table of whole numbers among its parameters, which no gradient reaches."""

    def build(self, spec):
        network = super().build(spec)
        codes = nn.Parameter(torch.arange(4), requires_grad=False)
        network.network.register_parameter("codes", codes)
        return network


def test_parameters_of_whole_numbers_stay_as_they_are(make_job):
    outcome = train(make_job(Quantised(), budget=Budget(2, "steps")))
    assert outcome.network.network.codes.tolist() == [0, 1, 2, 3]
    assert outcome.ledger.stages[0].frozen_parameters == 4


def test_a_network_without_values_is_no_network():
    class Empty(Smallest):
        def build(self, spec):
            return super().build(spec).to("meta")

    with pytest.raises(TrialFailure, match=r"build\(\) left 'network.0.0.weight' on the meta"):
        build_network(Empty(), make_spec(Empty()), 0, 0, CPU)
