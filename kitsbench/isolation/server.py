"""Imported by the server that forks keepers, and by nobody else: it adopts what keepers leave.

A keeper that is ended from outside cannot end what its worker has started. Its children then
become those of the server, where they are found (:func:`kitsbench.isolation.keeper.end_orphans`).
It also wakes keepers that were suspended when the run was killed: they keep it alive, and it them.
"""

import os
import signal
import sys
import warnings

import psutil

from kitsbench.isolation.keeper import adopt_orphans, send_signal, wake_when_orphaned

_run = os.getppid()


def _wake_keepers(*_: object) -> None:
    if os.getppid() != _run:
        for child in psutil.Process().children():
            send_signal(child.pid, signal.SIGCONT)


adopt_orphans()
if sys.platform.startswith("linux"):
    signal.signal(signal.SIGCONT, _wake_keepers)
wake_when_orphaned()
# The server buries them as it does its own children, and would say that it does not know them.
warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
