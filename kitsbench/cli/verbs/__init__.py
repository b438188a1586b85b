"""The verbs of the command line, a file or a folder each; none is imported before it is called.

In: options as values. Out: a call of the rooms below, and what it found as text or JSON.
"""
