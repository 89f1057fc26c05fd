"""RequestGuard: refuses what OpenAI would refuse, in its words, before anything is spent."""
