"""Mapping files: *ours: theirs*, read once, applied both ways."""
