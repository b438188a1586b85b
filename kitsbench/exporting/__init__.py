"""Trained networks for other programs: TorchScript, ONNX, MONAI bundles, safetensors.

In: a trial whose training has finished. Out: a folder with the network, everything that a program
must do before and after it, and a card. What was written is read back and held against the
network that was trained, before anybody is told that it is there.
"""

from kitsbench.exporting.export import FORMATS, Exported, export_trial

__all__ = ["FORMATS", "Exported", "export_trial"]
