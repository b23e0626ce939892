"""The garbage collector: objects go when their owners are gone, in the order their owners asked for.

graph        who owns whom, kept up to date from events; says what should be looked at (sans-IO)
decide       what to do about one object, given what is known of its owners (sans-IO)
controller   informers on every served resource, the look-ups, and the writes

Words, as Kubernetes has them: an owner is *solid* when it exists and does not wait for its dependents,
*dangling* when it does not exist, *waiting* when it is being deleted in the foreground; an object is
*virtual* while only its dependents speak of it.
"""
