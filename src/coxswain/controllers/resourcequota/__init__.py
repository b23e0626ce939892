"""The resource quota controller: what every quota allows and what is in use, in its status.

``names`` says which objects a limit counts, ``pods`` and ``objects`` what one object is charged, ``decide``
sums, ``controller`` watches and writes.
"""
