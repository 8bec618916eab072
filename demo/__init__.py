"""``make demo``: a local API with its own CA, an agent, rules; five calls, and what the log says of them.

``python -m demo`` starts everything, shows everything and stops everything. Real sockets on loopback,
real TLS, nothing of the network.
"""
