"""Networks as training needs them: built, laid out, counted, rehearsed, compiled.

In: an architecture and its spec. Out: a network that is ready for its first step.
"""
