"""All that an adapter needs, and all that it may import."""
