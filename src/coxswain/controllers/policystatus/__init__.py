"""The status of ValidatingAdmissionPolicies: what in their expressions does not fit the types they are about."""
