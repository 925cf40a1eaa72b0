"""The other sides of the comparisons, each a process of its own that prints one JSON object when it is done."""
