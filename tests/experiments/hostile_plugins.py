"""Plugins that do what no plugin should, and how a run shall tell of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

TEMPLATE = """
import json, os, signal, sys, threading, time
from dataclasses import replace
import torch
from torch import nn
from kitsbench.architecture import Architecture, Grid, Member, Plain, Spec


class Weird(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Base(BaseException):
    pass


def rename_lease(name):
    for folder, _, files in os.walk(ROOT):
        if "lease.json" in files:
            path = os.path.join(folder, "lease.json")
            with open(path) as file:
                if json.load(file)["pid"] == os.getpid():
                    os.replace(path, os.path.join(folder, name))


ROOT = @ROOT@
@MODULE@


class Hostile(Architecture):
    title = "hostile"

    def build(self, spec):
        @BUILD@
        return Plain(nn.Conv3d(1, spec.classes, 3, padding=1))

    def loss(self, outputs, targets, progress, spec):
        if progress.step == 2:
            @LOSS@
        return super().loss(outputs, targets, progress, spec)

@HOOKS@
"""


@dataclass(frozen=True)
class Hostile:
    """One plugin.

    Attributes
    ----------
    reason : str or None
        Of its trial's failure; ``broken`` where it has no trial, None where it finishes.
    words : str
        In the message.
    module, build, loss, hooks : str
        Python: at import, in ``build``, in the third step's ``loss``, and further methods.
    """

    reason: str | None
    words: str = ""
    module: str = ""
    build: str = "pass"
    loss: str = "pass"
    hooks: str = ""

    def write(self, path: Path, root: Path) -> Path:
        """Write the plugin's file; ``root`` is where its working directory will be."""
        text = TEMPLATE.replace("@MODULE@", self.module).replace("@ROOT@", repr(str(root)))
        text = text.replace("@BUILD@", indent(self.build, " " * 8).strip())
        text = text.replace("@LOSS@", indent(self.loss, " " * 12).strip())
        path.write_text(text.replace("@HOOKS@", indent(self.hooks, " " * 4)), encoding="utf-8")
        return path


def spec(body: str) -> str:
    """A hook ``spec`` with a body; ``whole`` is what it should return."""
    return "def spec(self, config, task):\n    whole = super().spec(config, task)\n" + indent(
        body, "    "
    )


def decode(body: str) -> str:
    """A hook ``decode`` with a body; ``right`` is what it should return."""
    return (
        "def decode(self, probabilities, spec):\n"
        "    right = super().decode(probabilities, spec)\n" + indent(body, "    ")
    )


PLUGIN, BROKEN = "plugin error", "broken"
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
os.wait()
"""

HOSTILE: dict[str, Hostile] = {
    # At import.
    "import_exits": Hostile(BROKEN, "exit code 0", module="os._exit(0)"),
    "import_sysexit": Hostile(BROKEN, "SystemExit", module="sys.exit(3)"),
    "import_loops": Hostile(BROKEN, "longer than", module="while True: time.sleep(1)"),
    "import_chdir": Hostile(BROKEN, "working directory to /", module="os.chdir('/')"),
    "import_kills": Hostile(BROKEN, "SIGKILL", module="os.kill(os.getpid(), signal.SIGKILL)"),
    "import_stops": Hostile(BROKEN, "longer", module="os.kill(os.getpid(), signal.SIGSTOP)"),
    "import_interrupts": Hostile(BROKEN, "KeyboardInterrupt", module="raise KeyboardInterrupt"),
    "import_base": Hostile(BROKEN, "Base: base", module="raise Base('base')"),
    "import_closes": Hostile(BROKEN, "exit code", module="os.closerange(3, 256); os._exit(0)"),
    "import_spams": Hostile(None, module="print('\\x1b[2J' + 'x' * 10_000_000)"),
    "import_thread": Hostile(
        None, module="threading.Thread(target=time.sleep, args=(3600,)).start()"
    ),
    "import_daemon": Hostile(None, module=DAEMON),
    "import_title": Hostile(BROKEN, "title", hooks="title = 5"),
    # In spec.
    "spec_exits": Hostile(BROKEN, "exit code 0", hooks=spec("os._exit(0)")),
    "spec_sysexit": Hostile(BROKEN, "SystemExit: 3", hooks=spec("sys.exit(3)")),
    "spec_loops": Hostile(BROKEN, "longer than", hooks=spec("while True: pass")),
    "spec_weird": Hostile(BROKEN, "Weird", hooks=spec("raise Weird")),
    "spec_none": Hostile(BROKEN, "NoneType", hooks=spec("return None")),
    "spec_subclass": Hostile(
        BROKEN, "Mine", hooks=spec("class Mine(Spec): pass\nreturn Mine(grids=whole.grids)")
    ),
    "spec_types": Hostile(
        BROKEN, "shape", hooks=spec("return replace(whole, grids=(Grid('image', 'abc'),))")
    ),
    "spec_ratio": Hostile(
        BROKEN,
        "nan",
        hooks=spec(
            "return replace(whole, grids=(replace(whole.grids[0], ratio=(float('nan'),) * 3),))"
        ),
    ),
    "spec_member": Hostile(
        BROKEN, "no_such_net", hooks=spec("return replace(whole, members=(Member('no_such_net'),))")
    ),
    # In build and training.
    "build_exits": Hostile(PLUGIN, "exit code 7", build="os._exit(7)"),
    "build_none": Hostile(PLUGIN, "", build="return None"),
    "loss_sysexit": Hostile(PLUGIN, "SystemExit", loss="sys.exit(3)"),
    "loss_interrupts": Hostile(PLUGIN, "KeyboardInterrupt", loss="raise KeyboardInterrupt"),
    "loss_base": Hostile(PLUGIN, "Base: base", loss="raise Base('base')"),
    "loss_genexit": Hostile(PLUGIN, "GeneratorExit", loss="raise GeneratorExit"),
    "loss_stopiter": Hostile(PLUGIN, "StopIteration", loss="raise StopIteration"),
    "loss_weird": Hostile(PLUGIN, "Weird", loss="raise Weird"),
    "loss_surrogate": Hostile(PLUGIN, "udcff", loss="raise ValueError('\\udcff\\ud800 bad')"),
    "loss_huge": Hostile(PLUGIN, "xxx", loss="raise ValueError('x' * 5_000_000)"),
    "loss_text": Hostile(PLUGIN, "loss()", loss="return 'a loss', {}"),
    "loss_streams": Hostile(
        PLUGIN, "ValueError: told", loss="sys.stdout = sys.stderr = 5\nraise ValueError('told')"
    ),
    "loss_execs": Hostile(PLUGIN, "exit code 0", loss="os.execv('/bin/true', ['true'])"),
    "loss_exits": Hostile(PLUGIN, "exit code 0", loss="os._exit(0)"),
    "loss_stops": Hostile("killed", "suspended", loss="os.kill(os.getpid(), signal.SIGSTOP)"),
    "loss_stops_keeper": Hostile(
        "killed", "suspended", loss="os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)"
    ),
    "loss_kills_group": Hostile("killed", "SIGKILL", loss="os.killpg(0, signal.SIGKILL)"),
    "loss_chdir": Hostile(PLUGIN, "working directory to /", loss="os.chdir('/')"),
    "loss_environ": Hostile(None, loss="os.environ.clear()"),
    # In what reads the result too, since training may be over before the loss is noticed.
    "loss_lease": Hostile(
        "disk error",
        "lease.json was removed",
        loss="rename_lease('gone')",
        hooks=decode("rename_lease('gone')\nreturn right"),
    ),
    "loss_thread": Hostile(None, loss="threading.Thread(target=time.sleep, args=(3600,)).start()"),
    "loss_daemon": Hostile(None, loss=DAEMON),
    "loss_forks": Hostile(None, loss="os.fork()"),
    "loss_closes": Hostile(None, loss="os.closerange(3, 256)"),
    "loss_spams": Hostile(None, loss="for _ in range(30_000): print('x' * 100)"),
    # When labels are decided.
    "decode_exits": Hostile(PLUGIN, "exit code 0", hooks=decode("os._exit(0)")),
    "decode_float": Hostile(PLUGIN, "float", hooks=decode("return right.float() + 0.5")),
    "decode_unknown": Hostile(PLUGIN, "label 250", hooks=decode("return right * 0 + 250")),
    "decode_none": Hostile(PLUGIN, "NoneType", hooks=decode("return None")),
    "post_unknown": Hostile(
        PLUGIN,
        "label 250",
        hooks="def postprocess(self, labels, maps, spacing, spec):\n    labels[:] = 250\n"
        "    return labels",
    ),
}

# One of each way in which a run was misled, without those that take long.
SOME = (
    "import_exits",
    "spec_exits",
    "loss_interrupts",
    "loss_chdir",
    "loss_daemon",
)
