"""What a principal may do: Kafka's operations, from the bit sets that brokers answer."""

from typing import Final

__all__ = ["OPERATION_NAMES", "operations_of"]

OPERATION_NAMES: Final[dict[int, str]] = {
    3: "READ",
    4: "WRITE",
    5: "CREATE",
    6: "DELETE",
    7: "ALTER",
    8: "DESCRIBE",
    9: "CLUSTER_ACTION",
    10: "DESCRIBE_CONFIGS",
    11: "ALTER_CONFIGS",
    12: "IDEMPOTENT_WRITE",
    13: "CREATE_TOKENS",
    14: "DESCRIBE_TOKENS",
    15: "TWO_PHASE_COMMIT",
}
"""Kafka's ACL operations by number, as ``kafka-acls --operation`` spells them (there with capital first letters)."""


def operations_of(bits: int | None) -> frozenset[str]:
    """Names of the operations in a bit set; empty for None (not asked for, or not known)."""
    if bits is None:
        return frozenset()
    return frozenset(name for number, name in OPERATION_NAMES.items() if bits >> number & 1)
