"""Who wrote it: normal forms of what identifies people, scores with evidence, and a decision."""

from middleware.resolution.exact import AutoRules, Known, decide, score

__all__ = ["AutoRules", "Known", "decide", "score"]
