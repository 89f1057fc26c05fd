"""Whatever happens to a memory store in whatever order: what has been admitted stays within the stated bounds.

For a meter of amount L per period P and burst B, at any admission after a time T from the start: all that was charged
until then, and not forgiven, is at most B + T * L / P. For a window, and for leases: no more than the amount.
"""

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from crplugins.limits.limit import NEVER, Charge, Level, Limit, Reservation
from crplugins.limits.memory import MemoryStore
from tests.limits.test_memory import done
from tests.long import times

START = 1_767_225_600_000
END = START + 3_600_000
LEASE = 10_000
SLACK = Fraction(1, 1000)
"""For what doubles round off."""


class Limits(RuleBasedStateMachine):
    """Exact arithmetic beside the store, written without a look at it: what was charged, and what time has drained."""

    live = Bundle("live")
    over = Bundle("over")

    @initialize(
        amount=st.integers(1, 1_000),
        share=st.sampled_from([1, 1, 4]),
        window=st.integers(1, 3_000),
        at_once=st.integers(1, 4),
    )
    def begin(self, amount, share, window, at_once):
        burst = -(-amount // share)
        self.meter = Limit("meter", "m", amount, 60_000, burst)
        self.window = Limit("window", f"w/{END}", window, END)
        self.lease = Limit("lease", "l", at_once)
        self.store = MemoryStore(clock=lambda: self.now)
        self.now = START
        self.charged = self.used = Fraction(0)
        self.spent = 0
        self.runs_out = {}
        self.number = 0

    def levels(self):
        return done(self.store.levels([self.meter, self.window, self.lease]))

    def holders(self):
        return sum(end > self.now for end in self.runs_out.values())

    def reserve(self, cost):
        self.number += 1
        charges = (Charge(self.meter, cost), Charge(self.window, cost), Charge(self.lease, 1))
        reservation = Reservation(f"r{self.number}", charges)
        return reservation, done(self.store.reserve(reservation, lease=LEASE))

    @rule(target=live, share=st.sampled_from([0, 1, 5, 20, 50, 100, 130]))
    def request(self, share):
        cost = self.meter.amount * share // 100
        before = self.levels()
        reservation, decision = self.reserve(cost)
        assert decision.levels == tuple(Level(use.used, use.reset) for use in before)
        if decision.refused is not None:
            assert self.levels() == before  # it has spent nothing
            assert (decision.wait == NEVER) == any(charge.cost > charge.limit.amount for charge in reservation.charges)
            return multiple()
        self.charged, self.used, self.spent = self.charged + cost, self.used + cost, self.spent + cost
        self.runs_out[reservation.id] = self.now + LEASE
        self.check_bounds(cost)
        return reservation

    def check_bounds(self, cost):
        drained = Fraction((self.now - START) * self.meter.amount, self.meter.period)
        burst = max(self.meter.burst, min(cost, self.meter.amount))
        assert self.charged <= burst + drained + SLACK
        assert self.spent <= self.window.amount
        assert self.holders() <= self.lease.amount

    @rule(target=over, reservation=consumes(live), percent=st.sampled_from([0, 50, 100, 100, 300, 2_000]))
    def settle(self, reservation, percent):
        reserved = reservation.charges[0].cost
        actual = reserved * percent // 100
        happened = done(self.store.settle(reservation, [actual, actual, 1]))
        assert happened == (self.runs_out.pop(reservation.id) > self.now)
        if happened:
            self.change(actual - reserved)
        return reservation

    def change(self, difference):
        """The part of a debt beyond sixty times the amount is forgiven."""
        debt_bound = max(self.used, Fraction(61 * self.meter.amount))
        changed = min(max(self.used + difference, Fraction(0)), debt_bound)
        forgiven = max(self.used + difference - debt_bound, Fraction(0)) if difference else Fraction(0)
        self.charged += difference - forgiven
        self.used = changed if difference else self.used
        self.spent += difference

    @rule(reservation=over)
    def settle_again(self, reservation):
        before = self.levels()
        assert not done(self.store.settle(reservation, [0, 0, 0]))
        assert self.levels() == before

    @rule(share=st.sampled_from([0, 10, 100]))
    def request_and_give_all_back(self, share):
        before = self.levels()
        reservation, decision = self.reserve(self.meter.amount * share // 100)
        if decision.refused is None:
            assert done(self.store.settle(reservation, [0, 0, 0]))
        after = self.levels()
        assert after[1:] == before[1:]
        assert abs(after[0].used - before[0].used) <= 1  # 0.1 + 1 - 1 is not 0.1

    @rule(reservation=live, lease=st.sampled_from([LEASE, 3 * LEASE]))
    def renew(self, reservation, lease):
        done(self.store.renew([reservation], lease=lease))
        if self.runs_out.get(reservation.id, 0) > self.now:
            self.runs_out[reservation.id] = self.now + lease

    @rule(milliseconds=st.one_of(st.integers(1, 2_000), st.sampled_from([LEASE - 1, LEASE, 60_000])))
    def time_goes_on(self, milliseconds):
        self.now += milliseconds
        drained = Fraction(milliseconds * self.meter.amount, self.meter.period)
        self.used = max(Fraction(0), self.used - drained)

    @invariant()
    def the_store_says_what_is_used(self):
        if hasattr(self, "store"):
            meter, window, lease = self.levels()
            assert meter.used - SLACK <= self.used < meter.used + 1 + SLACK
            assert (window.used, lease.used) == (self.spent, self.holders())


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=times(50, 5_000), stateful_step_count=40)
