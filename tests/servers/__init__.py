"""The real servers of tests, demo and bench: Apache Kafka (KRaft) and MinIO, fetched once, started on free ports.

Nothing here is a fake. `fetch` brings the pinned versions into a cache, `kafka` and `minio` run them, `process` sees to
it that no server outlives the Python process that started it, `stack` keeps one of each running in the background.
"""
