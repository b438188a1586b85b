"""What the checks drive: networks, batches, and small trainings by the code of a run.

In: a plugin. Out: its specs, networks and outputs, and the state of the process around them.
"""
