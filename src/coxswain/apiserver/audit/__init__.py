"""The audit log: who asked for what, and what came of it, as far as a policy says.

    request -> policy: the first rule that matches gives a level (None, Metadata, Request, RequestResponse)
            -> Record: an event for each stage that is not omitted -> sinks: a file (JSON lines), a webhook (batches)

``policy`` reads audit.k8s.io/v1 Policy files, ``record`` makes events of one request, ``logfile`` and ``webhook`` are
the sinks, ``auditor`` joins them. What takes part in a request adds to its events with ``annotations.annotate``.

Without a policy none of this is loaded. Bodies are logged at the levels Request and RequestResponse alone; request
headers, and so credentials, never are, but for the user agent and the addresses that a request came from.
"""
