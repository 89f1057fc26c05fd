"""Routing: which deployments answer a request, one after the other.

    find(model) -> Group -> Attempts -> Balancer, Health -> the handler of a deployment

1. The endpoint finds the `Group` (group.py) of the requested name: all deployments that serve it, often one alone.
2. For each request it makes `Attempts` (attempts.py), and asks them for a reply: `await attempts.next(body)`.
3. They take the deployments of the lowest `order` that do not cool down, and have the group's `Balancer` (balancing.py;
   strategy.py makes it) pick one. Requests of one session go where their prompt is in a cache (affinity.py).
4. The handler of that deployment answers, or raises. Its `Health` (health.py) is told which, and lets it cool down. So
   it does when nobody answers the question for its models (checks.py).
5. A failure says who may still answer (failures.py): the same deployment, after a pause and within a budget of retries
   (retries.py); another one; one with another model; or nobody.
6. The next one is picked, until none is left. Those that cool down come last.

A handler returns at the first token, so up to there a failure is step 5. One that comes later is told to the health of
the deployment by the attempt itself. Whether another answer is asked for then, on_break.py says: rescue.py keeps the
`Attempts` of the request, tells them what broke (`broken`), and asks for the next reply. What several attempts have
used is told to the client as one sum by whole_usage.py.
"""
