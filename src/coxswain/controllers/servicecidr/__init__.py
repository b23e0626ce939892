"""Service CIDRs: ready to be allocated from, and kept while addresses of theirs are in use."""
