"""The pinned versions of everything the stack fetches; a change here makes a new folder in the cache."""

KAFKA_VERSION = "4.3.1"
SCALA_VERSION = "2.13"
LOG4J_VERSION = "2.24.3"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"

JAVA_MIN_MAJOR = 17
GO_MIN_VERSION = (1, 24)
