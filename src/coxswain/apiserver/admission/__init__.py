"""What is completed, and what is refused, between authorization and the store.

chain = default_chain(lookup, authorizer, registry=registry)   default.py: which plugins, in which order
pending = chain.mutate(request); chain.validate(request)       chain.py: nothing is pending unless somebody is asked
Request, Plugin                                                request.py: the contract of a plugin

webhooks        ask others over HTTPS            policies    CEL policies and their bindings
quota           charges resource quotas          pod_security  the three levels, defaults and exemptions
connecting      exec, port forwards, proxies     optional    plugins that are off by default
versions        other versions of a resource     configuration  the AdmissionConfiguration file
"""
