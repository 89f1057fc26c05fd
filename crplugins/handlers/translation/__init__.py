"""Translation: a request in another protocol, asked as a chat completion, and its answer told in that protocol.

    Responses, Messages, completions -> chat completions -> the handler of the deployment -> the same protocol back

Nearly every deployment speaks chat completions, or litellm does in its place. So one middle is enough, and all that is
done for chat holds for the others too: deadlines, repair of what a provider sends, a cut that is never complete.

1. `protocols.py`, beside this folder, decides in which protocols a deployment is asked as it is.
2. `translated.py` is the handler that asks it for the others: it turns the request over, and the answer back.
3. `messages_request.py`, `responses_request.py` and `completions.py` write the request as a chat completion. What has
   no counterpart there, and whose absence would change the answer unseen, is refused with a 400.
4. `blocks.py` reads an answer, whole or in pieces, as a sequence of thoughts, texts and calls, one after the other.
5. `messages_answer.py` and `responses_answer.py` tell these blocks in the events, or the document, of their protocol.

Nothing here asks litellm: the same translation stands before a deployment of either handler.
"""
