"""The rules of the contract, a function each: its name is the check's.

In: a subject. Out: nothing, a hint, or a violation with its remedy.
"""
