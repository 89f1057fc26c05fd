// openai-node: what it makes of a stream.
import OpenAI from "openai";
import { VERSION } from "openai/version";
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const sdk = new OpenAI({ baseURL: asked.base_url, apiKey: asked.api_key, maxRetries: 0 });

async function read(job) {
  let text = "", reasoning = "", usage = null, finish = null;
  const calls = [];
  const stream = await sdk.chat.completions.create({
    model: job.model,
    messages: [{ role: "user", content: job.message }],
    stream: true,
    stream_options: { include_usage: true },
    ...(job.tools.length ? { tools: job.tools } : {}),
  });
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    for (const { delta, finish_reason } of chunk.choices) {
      text += delta.content ?? "";
      reasoning += delta.reasoning_content ?? delta.reasoning ?? "";
      finish = finish_reason ?? finish;
      for (const call of delta.tool_calls ?? []) {
        const parts = (calls[call.index] ??= ["", "", ""]);
        parts[0] = call.id ?? parts[0];
        parts[1] += call.function?.name ?? "";
        parts[2] += call.function?.arguments ?? "";
      }
    }
  }
  return { text, reasoning, calls, usage: usage && [usage.prompt_tokens, usage.completion_tokens], finish };
}

console.log(JSON.stringify({ version: VERSION }));
for (const job of asked.jobs) {
  const seen = await read(job).catch((error) => ({ error: `${error.constructor.name}: ${error.message}` }));
  console.log(JSON.stringify({ key: job.key, ...seen }));
}
