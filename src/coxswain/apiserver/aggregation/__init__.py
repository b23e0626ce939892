"""The aggregation layer: groups of the API that other servers serve, under this server's roof.

    APIService v1beta1.metrics.k8s.io  spec.service kube-system/metrics-server:443, caBundle
      -> GET /apis/metrics.k8s.io/v1beta1/nodes goes to an address behind that Service, by TLS, with our client
         certificate and the user's name in X-Remote-User, -Group, -Extra; watches and upgrades, too

    registration.py  an APIService for every group version that is served here, custom ones included; priorities
    availability.py  whether an APIService can be served: what its condition says
    remotes.py       one extension server: reached, looked at, its documents read
    extensions.py    which requests concern one, and how they are passed on
    merged.py        discovery and OpenAPI, with what extension servers say of themselves
    controller.py    follows the APIServices and keeps all of this up to date

Without an APIService that names a Service, a request pays one look at an empty table.
"""
