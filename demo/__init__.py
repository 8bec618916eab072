"""``make demo``: a local API with its own CA, two agents, rules; what they do, and what the log says of it.

``python -m demo`` starts everything, shows everything and stops everything. Real sockets on loopback,
real TLS, nothing of the network.
"""
