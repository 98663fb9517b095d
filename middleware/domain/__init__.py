"""Pure decisions: what is meant, who it is, what may be done next. No I/O, no framework."""
