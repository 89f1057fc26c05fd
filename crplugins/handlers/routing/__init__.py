"""Routing: which deployments answer a request, one after the other.

    find(model) -> Group -> Attempts -> Choice, Health -> the handler of a deployment

1. The endpoint finds the `Group` (group.py) of the requested name: all deployments that serve it, often one alone.
2. For each request it makes `Attempts` (attempts.py), and asks them for a reply: `await attempts.next(body)`.
3. They take the deployments that do not cool down, and have the group's `Choice` (choice.py) pick one of them.
4. The handler of that deployment answers, or raises. Its `Health` (health.py) is told which.
5. After a failure that another deployment may not share (failures.py) the next one is picked, until none is left.

A handler returns at the first token, so up to there a failure is step 5. Whoever wants another answer for a stream that
breaks later keeps the `Attempts` of the request, tells them so with `broken`, and asks for the next reply.
"""
