"""RequestGuard: refuses what OpenAI would refuse, with its messages, before anything is spent."""
