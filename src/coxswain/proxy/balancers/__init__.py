"""IPVS's balancers: an algorithm by its kernel name, compiled, and the table of services that uses them.

    balancer = make("mh", flags=["mh-port"])     rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh
    number = balancer.add(address("10.1.0.7"), 8080, weight=1)
    balancer.stick(10800)                        session affinity: ClientIP
    balancer.select(address("192.0.2.1"), 40123) -> number, or 0
    balancer.connect(number) ... balancer.disconnect(number)

What each does is Linux' net/netfilter/ipvs/ip_vs_*.c, step by step (as of 4.18 and later, whose hashes are
``hash_32``). ``ServiceTable`` keeps one balancer a service and changes only the endpoints that changed.
"""

from coxswain.proxy.balancers.algorithms import ALGORITHMS, address, make
from coxswain.proxy.balancers.services import Endpoint, Service, ServiceTable

__all__ = ["ALGORITHMS", "Endpoint", "Service", "ServiceTable", "address", "make"]
