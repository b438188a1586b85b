"""A working directory as a whole: what lies in it, what goes, and what comes from another.

In: a folder that runs have written, and what a user chooses of it. Out: rows about every trial and
experiment, damaged ones among them; a plan of what would be removed or taken over, told before
anything is touched; and the same folder after that.
"""
