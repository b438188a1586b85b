"""Stubs of what torch.cuda says and does, with torch's own rules, for machines without a GPU."""

from __future__ import annotations

import threading

import torch


def a_device_for_each_thread(monkeypatch, own):
    """Stub the current device as CUDA has it: of each thread, at first the first GPU."""
    current = threading.local()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: getattr(current, "device", 0))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: setattr(current, "device", device))
    torch.cuda.set_device(own)


class FakeCuda:
    """Current device, streams and events; :attr:`recorded` has the device of each event.

    ``Event.record()`` without a stream records on the current stream of the current device, as
    torch documents it.
    """

    def __init__(self, monkeypatch, capability=(8, 0), name="A card"):
        self.current, self.recorded, fake = 0, [], self

        class Event:
            def __init__(self, enable_timing=False):
                self.device = None

            def record(self, stream=None):
                self.device = fake.current if stream is None else stream
                fake.recorded.append(self.device)

            def query(self):
                return True

            def synchronize(self):
                pass

            def elapsed_time(self, other):
                return 1000.0

        def set_device(device):
            self.current = torch.device(device).index

        def current_stream(device=None):
            return self.current if device is None else torch.device(device).index

        for key, value in {
            "Event": Event,
            "set_device": set_device,
            "current_stream": current_stream,
            "is_available": lambda: True,
            "device_count": lambda: 2,
            "get_device_capability": lambda device=None: capability,
            "get_device_name": lambda device=None: name,
            "reset_peak_memory_stats": lambda device=None: None,
        }.items():
            monkeypatch.setattr(torch.cuda, key, value)
