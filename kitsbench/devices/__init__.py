"""The device of a process: how it is set up, what it computes in, how weights lie on it.

In: a device, a wish for a precision. Out: a device set up the same way in every process.
"""
