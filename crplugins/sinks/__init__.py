"""Sinks: usage records published to brokers, for those who outgrow one database."""
