"""What follows from the looks of an experiment: who goes on, in which order, and what is spared.

In: what an experiment planned and the looks that were taken. Out: the trials of its next round. All
of it depends on these alone, never on a clock or on the order in which trials ended.
"""
