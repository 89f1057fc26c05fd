"""RedisStore: limits shared by several machines, in a Redis or Valkey server."""
