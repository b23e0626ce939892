"""Certificate signing requests: approved where the asker may, signed with the cluster's authority, cleaned up."""
