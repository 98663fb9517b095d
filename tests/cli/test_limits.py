"""Limits of a connection, from `amends.toml` to the gate."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from middleware.configuration import options_of
from middleware.domain.breaker import Thresholds
from middleware.domain.turns import Rate
from middleware.flows.gate import Limits
from middleware.settings import load


def test_limits_reach_the_gate(tmp_path: Path) -> None:
    (tmp_path / "amends.toml").write_text(
        """
[connections.plain]
adapter = "memory"
[connections.erp]
adapter = "memory"
[connections.erp.limits]
calls_at_once = 3
calls_per_second = 5
calls_per_minute = 120
failures = 2
rest = "10s"
longest_rest = "2m"
refused_logins = 1
login_pause = "1m"
"""
    )
    limits = options_of(load(tmp_path / "amends.toml")).limits
    assert limits["plain"] == Limits()
    assert limits["erp"] == Limits(
        calls_at_once=3,
        rates=(Rate(5.0), Rate(2.0)),
        thresholds=Thresholds(
            failures=2,
            rest=timedelta(seconds=10),
            longest_rest=timedelta(minutes=2),
            refusals=1,
            pause=timedelta(minutes=1),
        ),
    )
