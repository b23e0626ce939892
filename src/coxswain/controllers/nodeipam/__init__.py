"""Node IPAM: gives each node its ranges of pod addresses, of one family or of both."""
