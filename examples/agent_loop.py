"""An agent that goes on until its task is done, or until the gateway says that its run has used up its share.

    pip install openai
    OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=$AGENTS_KEY python agent_loop.py "Find the bug."

Every request names the run (`x-session-id`). The gateway, with agents.yaml, counts what the run has used. A refusal of
the type `session_limit` ends the run: neither the SDK nor the agent tries again.
"""

import sys
import uuid

import openai

MODEL = "gpt-4o-mini"


def run(task: str) -> str:
    """What became of the task."""
    client = openai.OpenAI(default_headers={"x-session-id": f"run-{uuid.uuid4()}"})
    messages = [{"role": "user", "content": task}]
    while True:
        try:
            answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=500)
        except openai.APIStatusError as error:
            if error.type == "session_limit":  # its code says whether requests, tokens or dollars are used up
                return f"stopped after {len(messages) // 2} steps: {error.code}"
            raise
        said = answer.choices[0].message.content or ""
        if "DONE" in said:
            return said
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "Go on, or say DONE."}]


if __name__ == "__main__":
    print(run(" ".join(sys.argv[1:]) or "Count to three, a number in each answer."))
