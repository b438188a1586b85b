"""What trials run on.

In: a wish for devices. Out: devices, threads, and what they are called.
"""
