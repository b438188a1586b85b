"""Scores, ranks, scans and inner maps drawn as figures.

In: tables of an analysis, kept label maps and scans. Out: pictures for the report, as SVG and PNG.
"""
