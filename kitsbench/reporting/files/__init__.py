"""What lies beside the page: figures, LaTeX, tables, JSON.

In: an analysis, and the figures of its page. Out: files for papers, spreadsheets and programs, all
from the same data as the page, and byte for byte the same whenever they are written.

``beside`` writes all of them. ``figures`` turns each figure into SVG, PNG and PDF; ``paper_tables``
chooses what a paper needs and ``latex`` sets it so that it fits a column; ``data`` has the tables
for spreadsheets, ``document`` the report as JSON, whose schema is ``report.schema.json``.
"""
