"""What a training spends: the device's time, energy and memory, and how fast the device is.

In: a device. Out: seconds, joules, bytes.
"""
