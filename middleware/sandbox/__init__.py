"""Sandboxes: systems on loopback that speak like the real ones, with faults on demand."""
