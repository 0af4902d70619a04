"""The bill audit: what the account was billed beside what tasks have written down."""
