"""Groups in the workspace: of the touched records only, and the same as if of all.

Connected components are found in SQL. Those in which a guard can have a say are few; they alone
are gone through pair by pair (`clusters`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from middleware.resolution.batch.clusters import Guards, Member, Pair, components, grouped
from middleware.resolution.batch.workspace import BETWEEN, Workspace

SMALL = 3
"""No group up to this size has a bridge between two and two."""
AT_ONCE = 5_000
"""Connected components that are gone through in memory at once."""

REFS = {"one": "VARCHAR", "other": "VARCHAR"}


@dataclass(frozen=True)
class Rules:
    """What pairs must weigh to join, and the guards."""

    least: float
    """Bits."""
    guards: Guards = field(default_factory=Guards)
    """`apart` in it is not used: see `take_rules`."""
    free: tuple[str, ...] = ()
    """Sources, as `connection:kind`, that hold nobody twice."""


@dataclass(frozen=True)
class Looked:
    """Groups whose links are to be looked at; a record that is alone is a group of one."""

    numbers: list[int]
    groups: list[tuple[str, ...]]


def take_rules(
    space: Workspace, apart: Iterable[tuple[str, str]], held: Iterable[tuple[str, str]]
) -> None:
    """Take in which records were said to be two customers, and which record has which person.

    The groups that a difference to the last time can change are to be made anew.
    """
    with space.transaction():
        for table, rows, ends in (("apart", apart, "one, other"), ("held", held, "one")):
            space.fill("now", ({"one": one, "other": other} for one, other in rows), REFS)
            space.do(f"""CREATE OR REPLACE TEMP TABLE differ AS
                (FROM now EXCEPT FROM {table}) UNION (FROM {table} EXCEPT FROM now)""")
            space.do(f"""INSERT INTO touched SELECT unique_id FROM record
                WHERE ref IN (SELECT unnest([{ends}]) FROM differ)""")
            space.do(f"DELETE FROM {table}")
            space.do(f"INSERT INTO {table} SELECT DISTINCT one, other FROM now")


def regroup(space: Workspace, rules: Rules) -> None:
    """Make the groups of the touched records anew, and note whose links may have to change."""
    with space.transaction():
        if space.said("rules") != repr(rules):
            space.do("INSERT INTO touched SELECT unique_id FROM record")
            space.say("rules", repr(rules))
        space.do(f"""CREATE OR REPLACE TEMP VIEW likely AS SELECT l, r, weight FROM edge
            WHERE weight >= {rules.least!r} AND joins""")
        _spread(space)
        # Whoever was in a group with one of them is looked at, too.
        space.do("""CREATE OR REPLACE TEMP TABLE broken AS SELECT unique_id FROM member
            WHERE number IN (SELECT number FROM member SEMI JOIN touched USING (unique_id))""")
        space.do("DELETE FROM refused WHERE l IN (FROM touched) OR r IN (FROM touched)")
        space.do("DELETE FROM member WHERE unique_id IN (FROM touched UNION FROM broken)")
        _judge(space, rules)
        space.do("""CREATE OR REPLACE TEMP TABLE looked AS
            FROM dirty UNION FROM touched UNION FROM broken""")
        space.do("DELETE FROM dirty")
        space.do("INSERT INTO dirty FROM looked SEMI JOIN record USING (unique_id)")
        space.do("DELETE FROM touched")


def looked_at(space: Workspace, *, at_once: int) -> Iterator[Looked]:
    """All groups whose links are to be looked at, some at a time."""
    space.do("""CREATE OR REPLACE TEMP TABLE look AS
        SELECT row_number() OVER (ORDER BY first) AS place, numbers, refs FROM (
            SELECT min(r.ref) AS first, list(r.unique_id) AS numbers,
                list(r.ref ORDER BY r.ref) AS refs
            FROM record r LEFT JOIN member m ON m.unique_id = r.unique_id
            WHERE r.unique_id IN (FROM dirty)
                OR m.number IN (SELECT number FROM member SEMI JOIN dirty USING (unique_id))
            GROUP BY coalesce(m.number, r.unique_id))""")
    for start in range(1, space.one("SELECT count(*) FROM look") + 1, at_once):
        rows = space.all(
            """SELECT numbers, refs FROM look WHERE place >= $start AND place < $end
            ORDER BY place""",
            start=start,
            end=start + at_once,
        )
        yield Looked([one for row in rows for one in row[0]], [tuple(row[1]) for row in rows])


def groups_of(space: Workspace, refs: Iterable[str]) -> dict[str, object]:
    """What names each of these records' group; a record that is alone has none."""
    query = """SELECT ref, number FROM record JOIN member USING (unique_id)
        WHERE ref IN (SELECT unnest($refs::VARCHAR[]))"""
    return dict(space.all(query, refs=list(refs)))


def settled(space: Workspace, numbers: Sequence[int]) -> None:
    """The links of these records are as they should be."""
    space.do("DELETE FROM dirty WHERE unique_id IN (SELECT unnest($n))", n=list(numbers))


def touch(space: Workspace, numbers: Sequence[int]) -> None:
    """Look at these records again in the next run."""
    space.do("INSERT INTO touched SELECT unnest($n)", n=list(numbers))


def figures(space: Workspace, rules: Rules) -> dict[str, dict[str, int]]:
    """Pairs by how likely they are, groups, and pairs that each guard refused."""
    likely, unlike, doubtful = space.all(
        """SELECT count(*) FILTER (WHERE weight >= $least AND joins),
            count(*) FILTER (WHERE weight >= $least AND NOT joins),
            count(*) FILTER (WHERE weight < $least)
        FROM edge""",
        least=rules.least,
    )[0]
    groups, members, largest = space.all(
        """SELECT count(*), coalesce(sum(n), 0)::BIGINT, coalesce(max(n), 0) FROM
        (SELECT count(*) AS n FROM member GROUP BY number)"""
    )[0]
    return {
        "pairs": {"likely": likely, "held_back": unlike, "doubtful": doubtful},
        "groups": {"groups": groups, "records": members, "largest": largest},
        "refused": dict(space.all("SELECT why, count(*) FROM refused GROUP BY why ORDER BY why")),
    }


def refused(space: Workspace, *, most: int) -> list[tuple[str, str, str]]:
    """Pairs that a guard refused, so many of each, the likeliest first: why, and both refs."""
    return space.all(
        """SELECT f.why, a.ref, b.ref FROM refused f JOIN record a ON a.unique_id = f.l
            JOIN record b ON b.unique_id = f.r
        QUALIFY row_number() OVER (PARTITION BY f.why ORDER BY f.weight DESC, a.ref, b.ref) <= $most
        ORDER BY f.why, f.weight DESC, a.ref, b.ref""",
        most=most,
    )


def best_pairs(space: Workspace, refs: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Of each of these records the surest pair with another of its group, and its bits."""
    rows = space.all(
        """WITH wanted AS (SELECT unique_id, ref, number FROM record JOIN member USING (unique_id)
            WHERE ref IN (SELECT unnest($refs))),
        joined AS (SELECT a.ref AS one, b.ref AS other, weight FROM edge
            JOIN wanted a ON a.unique_id = l JOIN wanted b ON b.unique_id = r
            WHERE joins AND a.number = b.number)
        SELECT one, other, weight
        FROM (FROM joined UNION ALL SELECT other, one, weight FROM joined)
        QUALIFY row_number() OVER (PARTITION BY one ORDER BY weight DESC, other) = 1""",
        refs=list(refs),
    )
    return {one: (other, weight) for one, other, weight in rows}


def _spread(space: Workspace) -> None:
    """Touch all that hangs together with what is touched."""
    space.do("CREATE OR REPLACE TEMP TABLE wave AS SELECT DISTINCT unique_id FROM touched")
    space.do("DELETE FROM touched")
    if space.one("SELECT count(*) FROM wave SEMI JOIN record USING (unique_id)") == space.count:
        space.do("INSERT INTO touched FROM wave")
        return
    while space.one("SELECT count(*) FROM wave"):
        space.do("INSERT INTO touched FROM wave")
        space.do("""CREATE OR REPLACE TEMP TABLE wave AS
            SELECT unique_id FROM (
                SELECT r AS unique_id FROM likely WHERE l IN (FROM wave)
                UNION SELECT l FROM likely WHERE r IN (FROM wave))
            ANTI JOIN touched USING (unique_id)""")


def _judge(space: Workspace, rules: Rules) -> None:
    """Give each touched record that has a likely pair its group."""
    space.do("CREATE OR REPLACE TEMP TABLE judged AS FROM likely WHERE l IN (FROM touched)")
    _connect(space)
    _guard(space, rules)


def _guard(space: Workspace, rules: Rules) -> None:
    """Make groups of `part`; those in which a guard can have a say are gone through by pair."""
    space.do("""CREATE OR REPLACE TEMP TABLE bearer AS SELECT part, unique_id, ref, uids,
        split_part(ref, ':', 1) || ':' || split_part(ref, ':', 2) AS source, other AS person
        FROM part JOIN record USING (unique_id) LEFT JOIN held ON one = ref""")
    space.do(
        f"""CREATE OR REPLACE TEMP TABLE odd AS
        SELECT part FROM bearer GROUP BY part
            HAVING count(*) > {rules.guards.most} OR count(DISTINCT person) > 1
        UNION SELECT part FROM part WHERE part IN (SELECT part FROM judged JOIN part
            ON unique_id = l WHERE weight < {rules.guards.bridge_bits!r})
            GROUP BY part HAVING count(*) > {SMALL}
        UNION SELECT part FROM bearer WHERE source IN (SELECT unnest($free::VARCHAR[]))
            GROUP BY part, source HAVING count(*) > 1
        UNION SELECT part FROM (SELECT part, unnest(uids) AS uid FROM bearer)
            GROUP BY part, split_part(uid, '{BETWEEN}', 1) HAVING count(DISTINCT uid) > 1
        UNION SELECT a.part FROM apart JOIN bearer a ON a.ref = one JOIN bearer b ON b.ref = other
            WHERE a.part = b.part""",
        free=list(rules.free),
    )
    space.do("""INSERT INTO member SELECT unique_id, min(unique_id) OVER (PARTITION BY part)
        FROM part ANTI JOIN odd USING (part)""")
    odd = [row[0] for row in space.all("SELECT part FROM odd ORDER BY part")]
    for start in range(0, len(odd), AT_ONCE):
        _judge_odd(space, rules, odd[start : start + AT_ONCE])


def _connect(space: Workspace) -> None:
    """Make `part` of what hangs together: each record and the least number that it is part of.

    Two rounds of taking one's neighbours' least number settle nearly all; what still differs then
    is little, and is connected here.
    """
    space.do("""CREATE OR REPLACE TEMP TABLE side AS SELECT l AS one, r AS other FROM judged
        UNION ALL SELECT r, l FROM judged""")
    space.do("""CREATE OR REPLACE TEMP TABLE first AS
        SELECT one AS unique_id, least(one, min(other)) AS part FROM side GROUP BY one""")
    space.do("""CREATE OR REPLACE TEMP TABLE part AS
        SELECT one AS unique_id, least(any_value(mine.part), min(theirs.part)) AS part FROM side
        JOIN first mine ON mine.unique_id = one JOIN first theirs ON theirs.unique_id = other
        GROUP BY one""")
    differ = space.all("""SELECT DISTINCT a.part, b.part FROM judged
        JOIN part a ON a.unique_id = l JOIN part b ON b.unique_id = r WHERE a.part <> b.part""")
    joined = components(differ)
    if joined:
        space.do(
            """UPDATE part SET part = known.least FROM (SELECT unnest($part::BIGINT[]) AS part,
            unnest($least::BIGINT[]) AS least) known WHERE known.part = part.part""",
            part=[one for parts in joined for one in parts],
            least=[parts[0] for parts in joined for _ in parts],
        )


def _judge_odd(space: Workspace, rules: Rules, parts: Sequence[int]) -> None:
    """Go through connected components pair by pair, under the guards."""
    bearers = space.all(
        """SELECT ref, unique_id, source, uids, person FROM bearer
        WHERE part IN (SELECT unnest($parts))""",
        parts=list(parts),
    )
    numbers = {ref: number for ref, number, *_ in bearers}
    members: Mapping[str, Member] = {
        ref: Member(
            source=source if source in rules.free else None,
            ids=frozenset(_numbers(uids)),
            person=person,
        )
        for ref, _, source, uids, person in bearers
    }
    pairs = [
        Pair(min(left, right), max(left, right), weight)
        for left, right, weight in space.all(
            """SELECT a.ref, b.ref, weight FROM judged JOIN bearer a ON a.unique_id = l
            JOIN bearer b ON b.unique_id = r WHERE a.part IN (SELECT unnest($parts))""",
            parts=list(parts),
        )
    ]
    apart = space.all(
        """SELECT least(one, other), greatest(one, other) FROM apart
        WHERE one IN (SELECT unnest($refs)) AND other IN (SELECT unnest($refs))""",
        refs=list(numbers),
    )
    guards = Guards(
        most=rules.guards.most, bridge_bits=rules.guards.bridge_bits, apart=frozenset(apart)
    )
    found = grouped(pairs, members, guards)
    groups = [[numbers[ref] for ref in group] for group in found.groups]
    space.do(
        "INSERT INTO member SELECT unnest($one::BIGINT[]), unnest($group::BIGINT[])",
        one=[one for group in groups for one in group],
        group=[min(group) for group in groups for _ in group],
    )
    ends = [sorted((numbers[pair.left], numbers[pair.right])) for pair, _ in found.refused]
    space.do(
        """INSERT INTO refused SELECT unnest($l::BIGINT[]), unnest($r::BIGINT[]),
            unnest($w::DOUBLE[]), unnest($why::VARCHAR[])""",
        l=[one[0] for one in ends],
        r=[one[1] for one in ends],
        w=[pair.weight for pair, _ in found.refused],
        why=[why.value for _, why in found.refused],
    )


def _numbers(uids: Sequence[str]) -> Iterator[tuple[str, str]]:
    for uid in uids:
        scheme, _, value = uid.partition(BETWEEN)
        yield scheme, value
