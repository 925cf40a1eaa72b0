"""Why a goal is missed, as the profiles of `python -m bench.profile` told on the machine of docs/benchmarks.md; printed beside the miss."""

__all__ = ["WHY"]

_RESTORE = (
    "A produce request carries one batch of each partition, and the batches of these topics are small "
    "(the Java producer's default): 35,000 of them are 9,000 requests of four. Our one thread is busy for "
    "85 % of the time. Of its CPU an eighth makes batches ready (copy, header, CRC), a quarter is sending "
    "(a third of that the system call), a twelfth reads answers; the rest is asyncio and our code around it. "
    "The other side sends batches of up to 1 MB. To join batches that are packed costs what it saves (decision 0018): only those "
    "that need not be unpacked are joined."
)

_AT = (
    "Besides what `--latest` costs these are 200 requests, for the records at the edges of 100 partitions, and the comparison with "
    "`--until` of the same moment. Samples in roll-ups tell the cuts: without them these were 2,000 requests more."
)

WHY: dict[str, str] = {
    "backup zstd of small-lz4 / consumer": (
        "Both cores are busy with zstd here, so whatever else runs is taken from it directly; the consumer leaves half of a core free. "
        "A run on a quieter host gave 1.70."
    ),
    "backup of large-lz4 / consumer": (
        "540 MB go through broker, worker and store on two cores in 3 s; the consumer does not write them anywhere. A run on a quieter "
        "host gave 1.03."
    ),
    "`mirror plan --latest` over 1,000,000 objects and 1,000 partitions": (
        "Most of a second is imports; a third of the rest fetches and unpacks the roll-ups, the others cover and plan 1,000 partitions. "
        "Before roll-ups had columns, loading and covering alone took 30 CPU seconds and 2.1 GB."
    ),
    "`mirror plan --at` over 1,000,000 objects and 1,000 partitions": _AT,
    "restore of small-lz4 / producer": _RESTORE,
    "restore of large-lz4 / producer": _RESTORE,
    "backup zstd of large-lz4 / consumer": (
        "Three quarters of the worker's CPU is zstd itself: 80 to 110 MB/s a core at level 3 on these "
        "payloads, also when it runs alone, and two cores are shared with broker and store. Another "
        "`min_match` is 20 % faster here and slower on other data: left alone."
    ),
    "stored bytes of large-lz4, zstd 3, against the broker's log": (
        "The payloads (identifiers, hex, a vocabulary of 4,000 words) leave 62 % after lz4 and 36 % after "
        "zstd 3 of what they were."
    ),
    "backup of one-record / consumer": (
        "Two thirds of the CPU after the start is one loop in Python that finds each batch and checks its "
        "CRC-32C; a topic of 45 MB is two objects, and the second is sealed when the last record was fetched: "
        "fetching and storing hardly overlap."
    ),
    "idle with 1,000 partitions": (
        "A fifth is fetching (every answer names all partitions), an eighth the loop that ages them, the rest "
        "many small timers of Faust and ours."
    ),
}
