"""Kafka's wire protocol, as far as a backup needs it: one module per API, one version of each.

`codec` reads and writes the protocol's primitives, `api` is the only module that knows how aiokafka sends a request.
"""
