"""The endpoints controller: the ready addresses behind each service, in one object."""
