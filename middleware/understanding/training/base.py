"""The model that a training starts from, and that no other is."""

from __future__ import annotations

BASE_VERSION = "0.1.0"
BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The weights of sentence-transformers/all-MiniLM-L6-v2, revision 1110a243fdf4."""
