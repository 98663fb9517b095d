"""The clock: it says when something is due, and only ever enqueues."""
