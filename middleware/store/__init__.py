"""Tables, repositories and the unit of work: all SQL lives here."""
