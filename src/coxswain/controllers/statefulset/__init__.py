"""The stateful set controller: pods with names that last, made and replaced in order.

identity     a pod's name, labels, host name and volumes, from its ordinal
claims       the volume claims of a pod, and who owns them under the retention policy
decide       what a set's state calls for: state in, a plan out
controller   performs plans
"""
