"""kubectl's everyday verbs: its grammar of arguments, its output, its words.

    flags      how arguments are read (``-n x``, ``--dry-run``, ``-Rf dir``, ``-- command``)
    session    a verb's connection: kubeconfig, namespace, requests, the exit code
    failures   how an error is shown
    resources  ``po,svc``, ``deploy/web``, ``all`` -> resources, by the built-in table or by discovery
    files      ``-f FILE|DIR|-`` -> objects
    printing   tables, YAML, JSON, names, jsonpath, custom columns
    threeway   what ``apply`` sends

Each verb is a module with ``configure(parser)``, ``parse_args(parser, argv)`` and ``run(args)``; it imports
what it needs only, so that a verb answers quickly.
"""
