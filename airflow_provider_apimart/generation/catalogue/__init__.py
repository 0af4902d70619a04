"""What APIMart says about its models: which of them the account has, and what each accepts. Costs nothing."""
