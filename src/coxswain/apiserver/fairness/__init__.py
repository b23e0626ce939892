"""API Priority and Fairness: who is served first when more is asked than can be done at one time.

    request -> classify: first FlowSchema that matches (user, verb, resource, namespace)
            -> its priority level: so many seats; seats are lent to and borrowed from other levels
            -> a seat is free and nobody waits: start at once          (a few counters; the usual case)
            -> else a queue: the shortest of the few that the flow's hash deals it (shuffle sharding),
               served by virtual time, so that no flow gets more than its share
            -> queues full, or waited too long: 429 with Retry-After

``matching`` reads flow schemas, ``shares`` turns concurrency shares into seats, ``queueset`` is one priority
level at work (no IO: arrivals and finishes in, what starts out), ``width`` says how many seats a request takes,
``controller`` holds them together and follows the API objects. Requests of components in this process and
through the gRPC door do not come here.
"""
