"""The demonstration: `make demo` tells the whole story once, `make up` leaves the same stack running with light traffic.

It is a user of the product: it runs the command ``mirror`` and the worker of the Procfile, and judges them with a client of another
make (confluent-kafka). It imports nothing of ``mirror``.
"""
