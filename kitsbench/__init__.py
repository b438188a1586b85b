"""kitsbench: a fair fight between architectures that segment kidneys, tumours and cysts on CT."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kitsbench")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
