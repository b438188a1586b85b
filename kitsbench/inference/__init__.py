"""Label maps of whole scans from networks that see patches."""
