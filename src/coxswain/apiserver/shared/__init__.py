"""What an API server does differently where others share its store (etcd).

    storage.py          asks the store how far it is before it answers from its caches; says so when it does not answer
    pipeline.py         is up to date before it creates; begins again when another server gave out the same address
    service_claims.py   addresses and ports of services, written in the same commit as the service
    masterleases.py     which API servers are alive, and with that the endpoints of the service ``kubernetes``
    identity.py         one Lease a server in kube-system
    joining.py          puts these together

A server that has its store for itself loads none of this.
"""
