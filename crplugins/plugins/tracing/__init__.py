"""Tracing: OpenTelemetry spans of requests and of calls to providers."""
