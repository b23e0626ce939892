"""What is completed, and what is refused, between authorization and the store.

chain = default_chain(lookup, authorizer)      default.py: which plugins, in which order
chain.mutate(request); chain.validate(request)  chain.py
Request, Plugin                                 request.py: the contract of a plugin
"""
