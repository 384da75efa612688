"""A limit for the bytes held by all requests that are being received or processed.

A request has a lease from its first byte to its answer. Leases are limited in all and per network. Those of networks that have never
authenticated may hold half of the total together, so that unknown clients leave room for known loggers. Small requests are refused only if nothing
is left.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict

from cenergyd.errors import Overloaded

DEFAULT_BUDGET_BYTES = 352 << 20
"""The default where there is no setting."""
SMALL = 64 << 10
"""A request of at most this many bytes is refused only if the whole budget is used up."""


class KnownNetworks:
    """Networks from which somebody has authenticated; the most recent ones are remembered."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, network: object) -> bool:
        return network in self._known

    def add(self, network: str) -> None:
        """Record a successful authentication from a network."""
        self._known[network] = None
        self._known.move_to_end(network)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


class ByteBudget:
    """Counts what leases hold.

    :param total: bytes in all; one network may hold a quarter of it, all unknown networks together half of it.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self.held_by_unknown = 0
        self.refused = 0
        """How often bytes were refused so far."""
        self._by_network: defaultdict[str, int] = defaultdict(int)

    def lease(self, network: str, *, known: bool) -> Lease:
        """A lease that holds nothing yet."""
        return Lease(self, network, known)

    def own_lease(self) -> Lease:
        """For work of the daemon's own."""
        return Lease(self, "", known=True)

    def held_by(self, network: str) -> int:
        """Bytes that a network's requests hold."""
        return self._by_network.get(network, 0)

    def _allows(self, lease: Lease, size: int) -> bool:
        more = size - lease.held
        if more <= 0:
            return True
        if self.held + more > self.total:
            return False
        if size <= SMALL:
            return True
        if self.held_by(lease.network) + more > self.total // 4:
            return False
        return lease.known or self.held_by_unknown + more <= self.total // 2

    def _account(self, lease: Lease, more: int) -> None:
        self.held += more
        if not lease.known:
            self.held_by_unknown += more
        self._by_network[lease.network] += more
        if not self._by_network[lease.network]:
            del self._by_network[lease.network]


class Lease:
    """What one request holds; see :class:`ByteBudget`."""

    def __init__(self, budget: ByteBudget, network: str, known: bool) -> None:
        self._budget = budget
        self.network = network
        self.known = known
        """Whether somebody from this network has authenticated before."""
        self.held = 0

    def fits(self, size: int) -> bool:
        """Hold this many bytes in all from now on; False, and nothing changes, if there is no room."""
        if not self._budget._allows(self, size):
            self._budget.refused += 1
            return False
        self._budget._account(self, size - self.held)
        self.held = size
        return True

    def hold(self, size: int) -> None:
        """As :meth:`fits`, but raises Overloaded if there is no room."""
        if not self.fits(size):
            raise Overloaded("the requests in progress use all memory allowed for them")

    def count(self, size: int) -> None:
        """Hold this many bytes in all without a check, for work of the daemon's own that has begun and is itself bounded; others have less room meanwhile."""
        self._budget._account(self, size - self.held)
        self.held = size

    def release(self) -> None:
        """Release everything."""
        self.fits(0)
