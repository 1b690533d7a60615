"""What an auditor asks for: a log that shows any edit, and payloads that only the holders of keys can read."""
