// Vercel's AI SDK with @ai-sdk/openai-compatible: what streamText makes of a stream.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, streamText, tool } from "ai";
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const provider = createOpenAICompatible({
  name: "gateway",
  baseURL: asked.base_url,
  apiKey: asked.api_key,
  includeUsage: true,
});

async function read(job) {
  let text = "", reasoning = "", error = null;
  const calls = [];
  const tools = Object.fromEntries(
    job.tools.map(({ function: f }) => [f.name, tool({ description: f.name, inputSchema: jsonSchema(f.parameters) })]),
  );
  const answer = streamText({
    model: provider(job.model),
    prompt: job.message,
    maxRetries: 0,
    onError() {},
    ...(job.tools.length ? { tools } : {}),
  });
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "reasoning-delta") reasoning += part.text;
    if (part.type === "tool-call") calls.push([part.toolCallId, part.toolName, JSON.stringify(part.input)]);
    if (part.type === "error") error = part.error;
  }
  if (error !== null) throw error;
  const usage = await answer.usage;
  return { text, reasoning, calls, usage: [usage.inputTokens, usage.outputTokens], finish: await answer.finishReason };
}

const { version } = JSON.parse(readFileSync("node_modules/ai/package.json", "utf8"));
console.log(JSON.stringify({ version }));
for (const job of asked.jobs) {
  const seen = await read(job).catch((error) => ({ error: `${error?.name}: ${error?.message ?? JSON.stringify(error)}` }));
  console.log(JSON.stringify({ key: job.key, ...seen }));
}
