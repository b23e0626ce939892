"""One Client interface over three transports, and what controllers build on it.

    interface     Call, Answer, WatchEvent, Client, Backend: the contract
    inprocess     calls the request pipeline of an API server in the same process
    grpc          batches calls on streams to our API server (mTLS)
    rest          HTTPS to any Kubernetes API server
    connect       picks a transport for a kubeconfig
    reflector, informer, workqueue, events, leaderelection

Components take a ``Client`` and never know which one it is.
"""
