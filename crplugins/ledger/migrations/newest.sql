-- What the migrations come to, for a new file of SQLite: it needs no alembic. A test holds the two together.

CREATE TABLE usage (
    request_id TEXT NOT NULL PRIMARY KEY,
    started_at DATETIME NOT NULL,
    ended_at DATETIME NOT NULL,
    key_id TEXT,
    team TEXT,
    user TEXT,
    requested_model TEXT,
    served_model TEXT,
    provider TEXT,
    stream BOOLEAN NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT NOT NULL,
    finish_reason TEXT,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    cache_write_input_tokens BIGINT NOT NULL,
    reasoning_output_tokens BIGINT NOT NULL,
    usage_source TEXT NOT NULL,
    cost_micro_usd BIGINT,
    attempts INTEGER NOT NULL,
    ttft_ms DOUBLE,
    duration_ms DOUBLE NOT NULL,
    overhead_us BIGINT NOT NULL,
    tags JSON NOT NULL,
    provider_model TEXT,
    service_tier TEXT,
    cost_source TEXT,
    provider_cost_micro_usd BIGINT,
    asked_ms DOUBLE,
    queued_ms DOUBLE,
    admitted_ms DOUBLE,
    settled_ms DOUBLE,
    expected_input_tokens BIGINT,
    output_limit BIGINT,
    choices INTEGER,
    endpoint TEXT DEFAULT 'chat'
);
CREATE INDEX ix_usage_key_id_started_at ON usage (key_id, started_at);
CREATE INDEX ix_usage_started_at ON usage (started_at);
CREATE TABLE usage_daily (
    day DATE NOT NULL,
    key_id TEXT NOT NULL,
    team TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    served_model TEXT NOT NULL,
    provider TEXT NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_input_tokens BIGINT NOT NULL,
    cache_write_input_tokens BIGINT NOT NULL,
    reasoning_output_tokens BIGINT NOT NULL,
    cost_micro_usd BIGINT NOT NULL,
    unpriced_requests BIGINT NOT NULL,
    estimated_requests BIGINT NOT NULL,
    provider_cost_micro_usd BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (day, key_id, team, requested_model, served_model, provider)
);
CREATE TABLE usage_schema (
    version_num VARCHAR(32) NOT NULL CONSTRAINT usage_schema_pkc PRIMARY KEY
);
INSERT INTO usage_schema (version_num) VALUES ('u0004');
