"""Controller revisions: what StatefulSets and DaemonSets remember of their templates.

revisions    names, hashes, equality, numbers, what the history limit leaves room for: pure
control      creates, renumbers and deletes revisions through a client
"""
