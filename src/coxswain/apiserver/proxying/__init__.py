"""Requests that somebody else answers: nodes, pods, services, and what a kubelet streams.

    nodes/proxy pods/proxy services/proxy        any method and path; upgrades, too
    pods/exec pods/attach pods/portforward       an upgrade, to the kubelet of the pod's node

    passages.py    which requests are passed on, whether their user may, and how each is answered
    locations.py   where to: names, ports and addresses, decided from the cluster's objects
    headers.py     which headers go along
    upgrades.py    connections that stop to be HTTP (SPDY, WebSocket): bytes are copied both ways

``aggregation`` passes requests for extension API servers on by the same means.
"""
