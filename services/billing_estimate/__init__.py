"""Billing and estimates: the price book and what a request would cost."""
