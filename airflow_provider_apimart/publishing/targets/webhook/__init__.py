"""A signed webhook (Standard Webhooks): the road to every network that has no target of its own."""
