"""Which of the waiting jobs come first: found by the index `jobs_queue`, however many wait."""

from coordinator.jobs.models import HIGHEST_PRIORITY

# Nothing of a caller is ever put into these texts; what varies is bound.
# ruff: noqa: S608
ORDER = "{0}.priority DESC, {0}.max_price_atoms DESC, {0}.id".format
_CLASSES = {
    "sqlite": "(SELECT value AS number FROM json_each(:classes)) AS c",
    "postgresql": "unnest(CAST(:classes AS bigint[])) AS c(number)",
}
_WAITING = "h.status = 'pending' AND h.class_number = c.number"
_NUMBERS = ", ".join(f"({number})" for number in range(HIGHEST_PRIORITY + 1))
_PRIORITIES = f"SELECT v.column1 AS priority FROM (VALUES {_NUMBERS}) AS v"
# Of the class `c`: its first job costs one look into the index; if that pays too little, one look for each priority
# finds the first that pays enough.
_FIRST_THAT_PAYS = f"""
coalesce(
    (
        SELECT f.id FROM (
            SELECT h.id, h.max_price_atoms FROM jobs AS h WHERE {_WAITING} ORDER BY {ORDER("h")} LIMIT 1
        ) AS f
        WHERE f.max_price_atoms >= :price
    ),
    (
        SELECT f.id FROM ({_PRIORITIES}) AS p
        JOIN jobs AS f ON f.id = (
            SELECT h.id FROM jobs AS h
            WHERE {_WAITING} AND h.priority = p.priority AND h.max_price_atoms >= :price
            ORDER BY {ORDER("h")} LIMIT 1
        )
        WHERE :price > 0
        ORDER BY {ORDER("f")} LIMIT 1
    )
)
"""
# The classes `c`, each with its first job `j` that pays the miner's price, if there is one.
HEADS_SQLITE = f"{_CLASSES['sqlite']} JOIN jobs AS j ON j.id = {_FIRST_THAT_PAYS}"
HEADS_POSTGRES = f"{_CLASSES['postgresql']} JOIN jobs AS j ON j.id = {_FIRST_THAT_PAYS}"
# The same where every job pays enough.
HEADS_FOR_FREE_POSTGRES = f"""
{_CLASSES["postgresql"]} CROSS JOIN LATERAL (
    SELECT h.class_number, h.priority, h.max_price_atoms, h.id FROM jobs AS h
    WHERE {_WAITING} ORDER BY {ORDER("h")} LIMIT 1
) AS j
"""
