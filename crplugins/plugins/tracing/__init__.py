"""Tracing: OpenTelemetry spans of requests and of calls of providers."""
