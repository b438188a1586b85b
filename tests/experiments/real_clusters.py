"""Clusters that are started on this machine: a Ray of two cores, and a Slurm of one node."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from command_line import environment


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def ray_head(monkeypatch):
    """A Ray cluster that somebody has started on this machine, and its address."""
    ray = pytest.importorskip("ray")
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Both ends know a token, whatever the machine has.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray takes 127.0.0.1 for the machine's own address, and nobody would listen there.
    host = ray.util.get_node_ip_address()
    port, client = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="kb-ray-", dir="/tmp") as folder:  # names of sockets
        command = [
            *(shutil.which("ray", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),),
            *("start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=false"),
            *(f"--port={port}", f"--ray-client-server-port={client}"),
            *("--num-cpus=2", "--num-gpus=0", '--resources={"big": 2}', f"--temp-dir={folder}"),
            "--object-store-memory=80000000",
        ]
        head = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            wait_until_listening(host, port, head)
            yield f"{host}:{port}"
        finally:
            family = [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]
            for one in family:
                with contextlib.suppress(psutil.Error):
                    one.terminate()
            _, alive = psutil.wait_procs(family, timeout=20)
            for one in alive:
                one.kill()
            head.communicate()


def wait_until_listening(host, port, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=1).close()
            return
        time.sleep(0.2)
    process.kill()
    raise AssertionError(process.communicate()[0])


CONFIGURATION = """
ClusterName=kitsbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MailProg=/bin/true
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=9
"""


DAEMONS = ("slurmctld", "slurmd")


class Daemons:
    """The programs of a Slurm of this machine."""

    def __init__(self, folder, programs):
        self.folder, self.programs, self.started = folder, programs, {}

    def start(self, name):
        """Start one of them."""
        with open(self.folder / "daemons.log", "a") as log:
            command = [self.programs[name], "-D", "-f", str(self.folder / "slurm.conf")]
            self.started[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, name):
        """End one of them without a word."""
        self.started[name].kill()
        self.started[name].wait(30)

    def wait_until_idle(self):
        """Wait until the node can be used."""
        deadline = time.monotonic() + 60
        while "idle" not in sinfo():
            over = any(process.poll() is not None for process in self.started.values())
            if time.monotonic() > deadline or over:
                pytest.skip(f"Slurm does not start: {(self.folder / 'daemons.log').read_text()}")
            time.sleep(0.5)

    def stop(self):
        """End all of them."""
        for process in reversed(self.started.values()):
            process.terminate()
            process.wait(30)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A Slurm of one node, on loopback, as whoever runs the tests."""
    programs = [shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") for p in DAEMONS]
    if None in programs or not shutil.which("sbatch"):
        pytest.skip("Slurm is not installed (slurmctld, slurmd, sbatch)")
    folder = tmp_path / "slurm"
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    controller, node = free_ports(2)
    file = folder / "slurm.conf"
    file.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            controller=controller,
            node=node,
            user=getpass.getuser(),
            folder=folder,
            cpus=os.cpu_count(),
        )
    )
    monkeypatch.setenv("SLURM_CONF", str(file))
    daemons = Daemons(folder, dict(zip(DAEMONS, programs, strict=True)))
    try:
        for name in DAEMONS:
            daemons.start(name)
            time.sleep(1)
        daemons.wait_until_idle()
        yield daemons
    finally:
        daemons.stop()


def sinfo():
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False
    )
    return done.stdout
