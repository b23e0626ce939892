"""Resource quotas: what an object is charged, and whether a quota counts it.

The controller sums these charges over what exists, admission adds those of what is new: both must agree.

names      which resource a limit is about: ``requests.cpu`` counts pods, ``count/jobs.batch`` jobs
pods       the charge and the scopes of a pod
charges    the same of any object
scopes     which objects a quota counts
"""
