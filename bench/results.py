"""Reading the results of the grid."""

import statistics

import cases

OURS, JAX = "onetrace", "jax"


class Record:
    """A case with what was measured of it."""

    def __init__(self, record):
        self.case = cases.Case(**record["case"])
        self.peers = record["peers"]

    def seconds(self, name):
        """The median time of a call, or None where it was not timed."""
        seconds = self.peers.get(name, {}).get("seconds")
        return statistics.median(seconds) if seconds else None

    def step(self, name):
        """Microseconds of a step."""
        seconds = self.seconds(name)
        return None if seconds is None else 1e6 * seconds / self.case.t

    def ratio(self, name, to=OURS):
        """The time of `name` over that of `to`, or None."""
        theirs, ours = self.seconds(name), self.seconds(to)
        return theirs / ours if theirs and ours else None


def records(results, group="grid", **wanted):
    """The records of a group whose cases have these values, each one or a list of them."""
    def is_wanted(case):
        return all(getattr(case, name) in (value if isinstance(value, list) else [value])
                   for name, value in wanted.items())

    found = (Record(record) for record in results["cases"])
    return [record for record in found if record.case.group == group and is_wanted(record.case)]


def ratios(records, name, to=OURS):
    """The ratios of all records that have one."""
    found = (record.ratio(name, to) for record in records)
    return [ratio for ratio in found if ratio]


def fastest(results, kind, case):
    """The least seconds that someone took for a kind at the size of a case, or None."""
    same = records(results, kind=kind, batch=case.batch, d=case.d, h=case.h, t=case.t)
    times = (record.seconds(name) for record in same for name in record.peers)
    return min(filter(None, times), default=None)


def bound(results, case):
    """The least seconds in which someone computed the products of a case alone, or None.

    One product of all inputs with the input kernel, and a loop with nothing but the recurrent one.
    """
    times = [fastest(results, kind, case) for kind in cases.BOUNDS]
    return None if None in times else sum(times)
