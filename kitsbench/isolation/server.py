"""Imported by the server that forks keepers, and by nobody else: it adopts what keepers leave.

A keeper that is ended from outside cannot end what its worker has started. Its children then
become those of the server, where they are found (:func:`kitsbench.isolation.keeper.end_orphans`).
"""

import warnings

from kitsbench.isolation.keeper import adopt_orphans

adopt_orphans()
# The server buries them as it does its own children, and would say that it does not know them.
warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
