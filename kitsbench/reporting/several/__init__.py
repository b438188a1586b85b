"""A report over several working directories, of one machine or of many.

In: folders that runs have written. Out: one report of those that were made under the same
conditions, put together; of those that were not, a report each, and a page that leads to them and
says what differs. Never a number over both.
"""
