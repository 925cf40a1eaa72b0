"""Why a goal is missed, as the profiles of `python -m bench.profile` told; printed beside the miss."""

__all__ = ["WHY"]

WHY: dict[str, str] = {}
