"""Stored batches as the blocks that a restore reads."""

from mirror.core.segment.blocks import decode_block, encode_zstd_block

__all__ = ["blocks_of"]


def blocks_of(batches: list[bytes], cut: int, *, unpacked: bool) -> list[tuple[memoryview, bool]]:
    """Two blocks, divided at batch `cut`; `unpacked`: as a zstd repository holds them."""
    blocks: list[tuple[memoryview, bool]] = []
    for part in (batches[:cut], batches[cut:]):
        content = memoryview(b"".join(part))
        if unpacked and part:
            frame, raw_bytes = encode_zstd_block([content], level=1, repack=True)
            content = decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes)
        blocks.append((content, unpacked))
    return blocks
