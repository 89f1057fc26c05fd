"""The attacks: one file for each kind, each a table of forms (name, input, what must happen).

| kind | file, or where it is shown |
|---|---|
| two parties read one path differently | `test_paths.py`; the spellings of six routers in `tests/homes/test_paths.py` |
| absence is taken for presence | `test_absence.py` |
| authentication is taken for authorisation | `test_authorisation.py`; LiteLLM's routes in `tests/homes/litellm_proxy/test_routes.py` |
| two parsers read one request differently | `test_parsers.py` |
| texts that leak | `test_texts.py` |
| lines of the log that others write | `test_log.py` |
| work over text from outside | `test_work.py`; every pattern in `tests/test_linear_patterns.py` |
| what may be sent before a key is seen | `test_before_auth.py` |
| what the environment gives | `test_environment.py` |
| shared state is changed by a text that a client can influence | `test_shared_state.py`; other homes in `tests/homes/matrix/rows/`, hidden tokens in `tests/metering/test_silence.py` |
| a default for one process, used with several | `test_processes.py`; `--workers` in `tests/cli/test_serve_metering.py`, stores alone in `tests/limits/` |
| overload is taken for an outage | `test_overload.py`; a busy machine in `tests/limits/redis/test_busy_machine.py` |
| estimates that are short | `test_debt.py`; pieces of a stream in `tests/plugins/rate_limits/test_growth.py` |
| names that a client gives itself | `test_scopes.py`; every store in `tests/plugins/rate_limits/test_users_and_sessions.py` |

Rows go through every home in which they mean something, over real sockets; the servers are those of `house.py`, one set
for a file. What one room must do by itself is shown beside its code. A new form of a kind is a row here, and is mended
where the kind is.
"""
