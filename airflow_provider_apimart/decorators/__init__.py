"""TaskFlow decorators, registered through the provider info."""
