"""What a reader sees first: the sentence, who stands where, what has learned, what to do next.

In: an analysis. Out: words and a figure for the report, the terminal and the Markdown.
"""
