"""Folders of scans as users have them.

In: a folder. Out: its cases with their files, labels by name, patients, and what was set aside.
"""
