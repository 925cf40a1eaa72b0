"""Segment objects: immutable, self-describing, one per flush; specified in docs/format.md."""
