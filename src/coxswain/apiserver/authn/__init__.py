"""Who asks: client certificates, bearer tokens (file, service accounts), impersonation, anonymous."""
