"""Restore: from a repository back into a cluster, as raw batches."""
