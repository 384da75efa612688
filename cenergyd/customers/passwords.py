"""Hashing and checking passwords: argon2id, and clear text as the existing front end stores it."""

from __future__ import annotations

import hmac
from typing import Protocol

import attrs
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError


class HashSettings(Protocol):
    """The cost of one hash."""

    @property
    def hash_memory_kib(self) -> int:
        """Memory, KiB."""
        ...

    @property
    def hash_iterations(self) -> int:
        """Passes over it."""
        ...


@attrs.frozen(kw_only=True)
class HashCost:
    """A cost without other settings; the defaults are OWASP's first choice."""

    hash_memory_kib: int = 19456
    hash_iterations: int = 2


DEFAULT_COST: HashSettings = HashCost()


def is_hash(stored: str) -> bool:
    """Whether a stored password is an argon2 hash (and not clear text)."""
    if not stored.startswith("$argon2"):
        return False
    try:
        extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return False
    return True


def hash_password(password: str, cost: HashSettings = DEFAULT_COST) -> str:
    """A new hash with its own salt. Takes milliseconds of CPU: call it in a thread."""
    return _hasher(cost).hash(_bytes(password))


def verify_password(stored: str, password: str) -> bool:
    """Whether a password is the stored one; '' stored matches nothing. Takes milliseconds of CPU for a hash."""
    if not stored:
        return False
    if not is_hash(stored):
        return same_text(stored, password)
    try:
        return PasswordHasher().verify(stored, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False


def needs_rehash(stored: str, cost: HashSettings = DEFAULT_COST) -> bool:
    """Whether a stored password is clear text or a hash of another cost."""
    return bool(stored) and (not is_hash(stored) or _hasher(cost).check_needs_rehash(stored))


def same_text(one: str, other: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(_bytes(one), _bytes(other))


def _bytes(text: str) -> bytes:
    # A device may send anything; a lone surrogate must not be an error.
    return text.encode("utf-8", "surrogatepass")


def _hasher(cost: HashSettings) -> PasswordHasher:
    return PasswordHasher(time_cost=cost.hash_iterations, memory_cost=cost.hash_memory_kib, parallelism=1)
