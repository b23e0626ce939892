"""Node lifecycle: notices nodes that went silent, and moves their pods away.

health       when a node counts as silent, and the conditions and taints that follow (sans-IO)
zones        how fast nodes may be emptied, zone by zone, when many fail at once (sans-IO)
controller   watches nodes, leases and pods; writes conditions, taints and pods' readiness
tolerance    how long a pod bears the taints of its node (sans-IO)
eviction     deletes pods whose time is over: the taint-eviction-controller
"""
