"""The job controller: pods run to completion, each counted once, whatever crashes between.

indexes     sets of completion indexes as a Job's status writes them ("0-3,7")
policies    pod failure policy and success policy
backoff     when pods finished, and how long to wait before the next try
view        a Job with its pods, sorted for the decisions
manage      which pods to create or delete
template    the pods of a Job
track       counting: uncounted uids first, then the finalizers, then the counters
podcontrol  the calls about pods, in batches, with expectations
controller  performs all of it
"""
