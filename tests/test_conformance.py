"""The checks pass what keeps the contract, and name what does not in one sentence."""

from __future__ import annotations

import functools
import inspect
import os
import random

import architectures
import numpy as np
import pytest
import torch
from architectures import broken

from kitsbench import conformance
from kitsbench.architecture import KITS21, Architecture, Key, Member, Spec, Task
from kitsbench.conformance.checks import learning
from kitsbench.errors import UsageError

EIGHT = "it seems to need multiples of 8: SizeRule(multiple="
FAULTS = [
    (broken.DerivesByChance, "derives from the scan", "derive('noise') gave two results for one"),
    (broken.RaisesInForward, "builds", "forward() raised ValueError: forward is broken in"),
    (broken.RaisesInForward, "builds", "RaisesInForward.change at architectures/broken.py:"),
    (
        broken.RaisesInBuild,
        "builds",
        "build() raised ZeroDivisionError: build is broken in RaisesInBuild.build",
    ),
    (broken.BareTensor, "builds", "wrap a network from tensor to tensor in Plain"),
    (broken.WrongShape, "builds", "(2, 3, 16, 16, 15)"),
    (broken.UnusedHead, "builds", "['segmentation', 'presence']"),
    (broken.GivesNan, "shapes", "not finite"),
    (broken.LosesTheHeadThatIsDecoded, "shapes", "forward() returned ['presence'] but"),
    (broken.EatsMemory, "builds", "allocate"),
    (broken.GivesProbabilities, "gives logits", "leave the activation to the harness"),
    (
        broken.GivesProbabilitiesInEvaluation,
        "gives logits",
        "head 'segmentation' gives probabilities in evaluation mode",
    ),
    (broken.GivesSigmoidOfExclusiveClasses, "gives logits", "head 'segmentation' gives probab"),
    (broken.RandomInEvaluation, "evaluation is deterministic", "self.training"),
    (broken.NormalisesOverTheBatch, "evaluation is deterministic", "rest of its batch"),
    (broken.ForgetsState, "state round trips", "parameters or buffers"),
    (broken.SeedsTheGenerator, "weights follow the seed", "must not seed"),
    (broken.DrawsFromNumpy, "weights follow the seed", "torch's global generator only"),
    (broken.DrawsFromNumpy, "leaves the process alone", "NumPy's random generator"),
    (broken.SetsThreads, "leaves the process alone", "the number of torch threads"),
    (broken.SetsEnvironment, "leaves the process alone", "the environment variables"),
    (broken.SeedsPython, "leaves the process alone", "Python's random generator"),
    (broken.FiltersWarnings, "leaves the process alone", "the warning filters"),
    (broken.CallsHome, "leaves the process alone", "192.0.2.1"),
    (broken.OverflowsInHalf, "finite in bfloat16", "float32"),
    (broken.TwoPrimaryHeads, "grids and heads fit", "exactly one head role='primary'"),
    (broken.UnknownLabel, "grids and heads fit", "[0, 1, 2]"),
    (broken.ForgetsConfig, "spec is data", "config=tuple(config.items())"),
    (broken.UnstableSpec, "spec is data", "two results"),
    (broken.NotAdmissible, "sizes are admissible", "take size_rule.nearest(patch)"),
    (broken.SharesDoNotAddUp, "stages fit", "0.9"),
    (broken.PatternMatchesNothing, "stages fit", "'network.0.0.weight'"),
    (broken.WaitsForNothing, "loss is finite", "rough.accuracy"),
    (broken.OptionDoesNotBuild, "loads", "declare these in keys"),
    (broken.WrongTarget, "targets fit", "0 to 1"),
    (broken.NoTargetForAHead, "targets fit", "nothing for head 'presence'"),
    (broken.ChangesLabels, "targets fit", "work on copies"),
    (broken.LossWithoutSmoothing, "loss is finite", "on a patch of background"),
    (broken.GraphInParts, "loss is finite", "detached"),
    (broken.LossIsNoPair, "loss is finite", "(scalar tensor, {part: value})"),
    (broken.DecodesByNeighbours, "decodes voxel by voxel", "move this to postprocess()"),
    (broken.DecodesByTheLargest, "decodes voxel by voxel", "move this to postprocess()"),
    (broken.DecodesToFloat, "decodes voxel by voxel", "uint8"),
    (broken.GivesUnknownLabel, "decodes voxel by voxel", "label 3"),
    (broken.CleansInPlace, "postprocess keeps the shape", "work on a copy"),
    (broken.CropsAtTheEnd, "postprocess keeps the shape", "(15, 16, 16)"),
    (broken.CleansByHalves, "postprocess keeps the shape", "(16, 22, 18) torch.uint8 for (17, 23"),
    (broken.GivesNanLater, "learns one volume", "nan"),
    (
        broken.ExchangesClassesInEvaluation,
        "learns one volume",
        "in evaluation mode the decoded label 'tumor' of a patch has Dice 0.0",
    ),
    (broken.MirrorsInEvaluation, "learns one volume", "let forward() give the same in both"),
    (broken.ExchangesAxesInEvaluation, "learns one volume", "let forward() give the same in both"),
    (broken.ChangesItsInput, "builds", "forward() changes its input 'image' in place"),
    (broken.ChangesTargetsInLoss, "loss is finite", "loss() changes its target 'segmentation'"),
    (broken.ChangesProbabilities, "decodes voxel by voxel", "changes its probabilities 'segment"),
    (broken.ChangesMapsAtTheEnd, "postprocess keeps the shape", "postprocess() changes its prob"),
    (broken.MeasuresTheFirstScan, "derives from the scan", "gave two results for one scan"),
    (broken.WeighsByTheFirstBatch, "hooks keep no state", "loss() answers equal arguments"),
    (broken.KeepsATensorOnTheCPU, "ready for a gpu", "of the type of the inputs"),
    (broken.NeverLearns, "learns one volume", "order of channels in decode()"),
    (broken.StatesNoSizeRule, "takes every patch", f"{EIGHT}(8, 8, 8))"),
    (broken.StatesHalfOfItsSizeRule, "takes every patch", f"{EIGHT}(8, 8, 8))"),
    (
        broken.StatesNoLargeSizeRule,
        "builds",
        "it seems to need multiples of 32: SizeRule(multiple=(32, 32, 32))",
    ),
    (
        broken.PoolsWithinSlices,
        "takes every patch",
        "it seems to need multiples of 1x4x4: SizeRule(multiple=(1, 4, 4))",
    ),
    (
        broken.StatesNoMinimum,
        "takes every patch",
        "at least 16 voxels an edge: SizeRule(multiple=(8, 8, 8), minimum=(16, 16, 16))",
    ),
    (
        broken.StatesNoShrink,
        "builds",
        "to cut 4 voxels off: SizeRule(shrink=(4, 4, 4), minimum=(5, 5, 5))",
    ),
    (
        broken.StatesTooLargeAMaximum,
        "takes every patch",
        "it seems to need at most 48: SizeRule(maximum=(48, 48, 48))",
    ),
    (broken.RefusesSingleSamples, "takes every patch", "ValueError: a batch of one"),
    (broken.ReturnsAList, "builds", "a list of 2 tensors for head 'segmentation', where logits"),
    (broken.ReturnsATuple, "builds", "a tuple of 1 tensor, and the spec's heads"),
    (broken.ReturnsNothing, "builds", "None for head 'segmentation'"),
    (broken.ThreeClassesAlways, "other labels work", "make 2 output channels by spec.classes"),
    (broken.ForgetsTheBackground, "builds", "make 3 output channels by spec.classes"),
    (
        broken.AsksForAHeadThatIsNotThere,
        "loss is finite",
        "loss() raised KeyError: 'scale1' in AsksForAHeadThatIsNotThere.loss at",
    ),
    (
        broken.AsksForAHeadThatIsNotThere,
        "loss is finite",
        "names of the spec's heads (segmentation;",
    ),
    (broken.CountsCallsInLoss, "hooks keep no state", "what changes in training stands in"),
    (broken.KeepsAGenerator, "hooks keep no state", "targets() answers equal arguments"),
    (broken.DropsByAGenerator, "forward repeats", "draw random numbers from torch's global"),
    (broken.CountsSteps, "forward repeats", "keep no state outside parameters and buffers"),
    (broken.CountsSteps, "trains as run does", "goes on from its checkpoint ends with other"),
    (broken.ForgetsState, "predicts as run does", "into a network that was built anew"),
    (broken.SeedsInTraining, "leaves the process alone", "seeds torch's random generator"),
    (broken.KeepsAnExtraState, "state round trips", "'network.extra._extra_state', a dict"),
    (broken.DividesByItsNorm, "every parameter learns", "look for a division"),
    (broken.EndsTooLate, "ends of keys work", "with depth=9, which its key allows, it does not"),
    (
        broken.EndsTooLateForLargePatches,
        "ends of keys work",
        "with depth=5, which its key allows, it does not build for 128x128x128 voxels (IndexError",
    ),
]


def named(kind, name):
    """One check of an architecture."""
    return next(check for check in conformance.checks(kind) if check.name == name)


@functools.cache
def told(kind, name):
    """What a check says that fails; a fault is looked for once, however much is asked of it."""
    with pytest.raises(conformance.Violation) as violation:
        named(kind, name)()
    return str(violation.value)


def surroundings():
    return (
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        random.getstate(),
        dict(os.environ),
        os.getcwd(),
    )


# Those that train and search, which take most of the time; all of them for a few here.
LONG = {
    "configurations build",
    "takes every patch",
    "ends of keys work",
    "other labels work",
    "trains as run does",
    "predicts as run does",
    "ready for a gpu",
    "learns one volume",
}
WHOLE = (architectures.Configured, architectures.Cascade)


@pytest.mark.parametrize("kind", architectures.COVERAGE)
def test_architectures_that_keep_the_contract_pass_the_short_checks(kind):
    before = surroundings()
    found = [c.outcome() for c in conformance.checks(kind) if c.name not in LONG]
    assert len(found) > 15
    assert [outcome for outcome in found if not outcome.passed or outcome.message] == []
    assert surroundings() == before


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        *((kind, None) for kind in WHOLE),
        *(
            pytest.param(kind, None, marks=pytest.mark.exhaustive)
            for kind in architectures.COVERAGE
            if kind not in WHOLE
        ),
        # Of the others, the check of other labels has seen that three work too.
        pytest.param(architectures.Regions, KITS21, marks=pytest.mark.exhaustive),
        (architectures.Mean, KITS21),
        (architectures.Vote, None),
    ],
)
def test_architectures_that_keep_the_contract_pass(kind, labels):
    before = surroundings()
    report = conformance.check(kind, task=Task(labels) if labels else None)
    assert report.passed, [outcome for outcome in report.checks if not outcome.passed]
    assert not any(outcome.message for outcome in report.checks)
    assert surroundings() == before


@pytest.mark.parametrize(
    ("kind", "name", "text"), [pytest.param(*f, id=f"{f[0].__name__}-{f[1]}") for f in FAULTS]
)
def test_each_fault_is_found_and_told_in_one_sentence(kind, name, text, monkeypatch):
    before = surroundings()
    monkeypatch.setattr(learning, "STEPS", 60)  # enough for those that learn
    message = told(kind, name)
    assert text in message
    assert "\n" not in message
    assert message.endswith(".")
    assert surroundings() == before


def test_every_kind_of_check_has_a_fault_that_it_finds():
    names = {check.name for check in conformance.checks(architectures.Smallest)}
    # Those of words that few plugins use have their tests in tests/conformance.
    others = {"initial weights fit", "batches repeat", "adapts to each scan alone"}
    others |= {"decodes what is learned", "other spacings work", "holds no more with each step"}
    assert names - {name for _, name, _ in FAULTS} == {"configurations build", *others}
    assert len({kind for kind, _, _ in FAULTS}) > 60


def test_an_option_that_does_not_build_is_named():
    class Odd(architectures.Smallest):
        keys = {"norm": Key("batch", options=("batch", "group"))}  # noqa: RUF012

        def build(self, spec):
            if spec["norm"] == "group":
                raise NotImplementedError("no group norm yet")
            return super().build(spec)

    failed = {check.name: check for check in conformance.checks(Odd)}
    assert failed["configurations build"].outcome().message == (
        "with norm=group it does not build (no group norm yet): repair or drop it. "
        f"See build() at test_conformance.py:{inspect.getsourcelines(Odd.build)[1]}."
    )


def test_what_is_too_large_for_float16_only_is_a_hint():
    class Large(broken._Changed):
        @staticmethod
        def change(network, logits):
            return logits * 1e6 / 1e6

    check = named(Large, "finite in bfloat16")
    with pytest.warns(conformance.Hint, match=r"'segmentation' is not finite in float16, in which"):
        check()


def test_what_depends_on_a_failed_check_is_not_blamed_again():
    report = conformance.check(broken.RaisesInBuild)
    failed = [outcome for outcome in report.checks if not outcome.passed]
    assert failed[0].name == "builds"
    assert {outcome.message for outcome in failed[1:]} == {
        "Not reached, because the check 'builds' failed."
    }
    assert not report.passed


def test_the_report_is_plain_data():
    report = conformance.check(broken.TwoPrimaryHeads).to_dict()
    assert report["architecture"] == "TwoPrimaryHeads"
    assert report["passed"] is False
    assert set(report["checks"][0]) == {"name", "passed", "message"}


def test_a_fault_of_one_plugin_is_not_blamed_on_the_next():
    before = surroundings()
    for kind in (broken.SetsThreads, broken.SetsEnvironment, broken.SeedsPython):
        named(kind, "leaves the process alone").outcome()
        assert surroundings() == before
    assert named(architectures.Smallest, "leaves the process alone").outcome().passed


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("torch.set_num_threads(torch.get_num_threads() + 1)", "the number of torch threads"),
        ("torch.set_default_dtype(torch.float64)", "the default dtype"),
        ("torch.manual_seed(0)", "torch's random generator"),
        ("import numpy; numpy.random.seed(0)", "NumPy's random generator"),
    ],
)
def test_importing_a_plugin_may_not_change_the_process(tmp_path, line, what):
    path = tmp_path / "greedy.py"
    path.write_text(
        f"import torch\n{line}\n"
        "from kitsbench.architecture import Architecture\n"
        "class Greedy(Architecture): pass\n"
    )
    before = surroundings()
    report = conformance.check(path)
    assert [outcome.name for outcome in report.checks] == ["loads"]
    assert f"importing the plugin changes {what}" in report.checks[0].message
    assert surroundings() == before


def test_a_plugin_that_does_not_load_fails_the_check_of_loading(tmp_path):
    path = tmp_path / "lost.py"
    path.write_text("import not_there_at_all\n")
    (outcome,) = conformance.check(str(path)).checks
    assert (outcome.name, outcome.passed) == ("loads", False)
    assert "not_there_at_all" in outcome.message


def test_wrong_settings_are_the_callers_error():
    with pytest.raises(UsageError, match="colour"):
        conformance.check(architectures.Configured, {"colour": "red"})
    with pytest.raises(UsageError, match="Did you mean"):
        conformance.check("unet4d")


def test_the_size_tiny_is_checked_unless_another_is_asked_for():
    seen = []

    class Watched(architectures.Configured):
        def build(self, spec):
            seen.append((spec["size"], spec["blocks"]))
            return super().build(spec)

    checks = {check.name: check for check in conformance.checks(Watched)}
    checks["builds"]()
    assert seen == [("tiny", 1)]
    checks = {check.name: check for check in conformance.checks(Watched, {"size": "small"})}
    checks["builds"]()
    assert seen[-1] == ("small", 2)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ((Member("unet4d"),), "Did you mean 'unet3d'"),
        ((Member("unet3d", (("width", 99.0),)),), "width=99.0"),
    ],
)
def test_an_ensemble_needs_members_that_work(members, text):
    class Odd(Architecture):
        def spec(self, config, task):
            return Spec(tuple(config.items()), task.labels, members=members)

    report = conformance.check(Odd)
    assert not report.passed
    assert any(text in outcome.message for outcome in report.checks)


def test_an_ensemble_has_no_grids_of_its_own():
    class Odd(architectures.Smallest):
        def spec(self, config, task):
            from dataclasses import replace

            return replace(super().spec(config, task), members=(Member("unet3d"),))

    messages = [outcome.message for outcome in conformance.check(Odd).checks]
    assert any("leave grids and heads empty" in message for message in messages)


def test_the_last_hook_of_an_ensemble_is_checked_as_any_others():
    class Odd(architectures.Mean):
        def postprocess(self, labels, maps, spacing, spec):
            return labels.float()

    name = "postprocess keeps the shape"
    assert "postprocess() returned (15, 16, 16) torch.float32 for (15, 16, 16)" in told(Odd, name)
    assert named(architectures.Mean, name).outcome().passed
