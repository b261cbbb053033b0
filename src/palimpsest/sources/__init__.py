"""Where published files come from: fetched by pinned hashes, their licences shown, their archives unpacked."""
