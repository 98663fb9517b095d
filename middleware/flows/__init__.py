"""One journey of data a file, read top to bottom, durable."""
