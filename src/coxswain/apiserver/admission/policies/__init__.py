"""Admission policies in CEL: ValidatingAdmissionPolicy and MutatingAdmissionPolicy, with bindings and parameters.

    compiled       policies and their bindings, compiled once for every state of the cluster
    matching       which requests they are about, and in which version they see the object
    parameters     the objects that a binding refers to
    evaluation     one policy's look at one request: variables, budget, errors in Kubernetes' words
    authorization  what expressions ask the authorizer
    validating, mutating   what policies say of a request; ``mutations`` applies what mutations say
    plugins        the plugins of the chain, which load all this when the first policy is bound

Nothing is done for requests that no bound policy could be about. Everything is synchronous.
"""
