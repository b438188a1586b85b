"""Folders of scans, prepared volumes, and the phantom."""
