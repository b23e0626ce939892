"""``cox``: one command for a cluster, its components, and the everyday verbs of kubectl.

Only this room composes components (``cluster``); each command is a module with ``configure`` and ``run``,
imported when it is called, so that ``cox`` starts quickly.
"""
