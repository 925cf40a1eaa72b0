"""The backup pipeline: slices are collected per partition, flushed as one object, and only then counted as safe."""
