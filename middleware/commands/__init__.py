"""Groups of the `amends` command that are large enough for a file of their own."""
