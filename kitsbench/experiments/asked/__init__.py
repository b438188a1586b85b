"""What one call asks for.

In: texts of the command line. Out: a request, its defaults resolved once.
"""
