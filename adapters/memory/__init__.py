"""The small adapter to read and copy: it stands in for a vendor, it does not imitate one."""
