// Drives the official Node SDK through one scenario each and prints what it saw as JSON lines.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const tools = [
  {
    type: "function",
    function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
  },
];

const scenarios = {
  async plain() {
    const answer = await client.chat.completions.create({ model: "m", messages });
    return { text: answer.choices[0].message.content, usage: answer.usage.total_tokens > 0, id: answer._request_id };
  },
  async stream() {
    let text = "";
    let usage = 0;
    const options = { model: "m", messages, stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.chat.completions.create(options)) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage += chunk.usage ? 1 : 0;
    }
    return { text, usage };
  },
  async helper() {
    const final = await client.chat.completions.stream({ model: "m", messages }).finalChatCompletion();
    return { text: final.choices[0].message.content, finish: final.choices[0].finish_reason };
  },
  async tools() {
    const options = { model: "m", messages, tools, tool_choice: "required" };
    const final = await client.chat.completions.stream(options).finalChatCompletion();
    const call = final.choices[0].message.tool_calls[0];
    return { name: call.function.name, arguments: typeof JSON.parse(call.function.arguments) };
  },
  async three() {
    const answer = await client.chat.completions.create({ model: "m", messages, n: 3 });
    return { choices: answer.choices.length };
  },
  async refused() {
    return failure(() => client.chat.completions.create({ model: "nope", messages }));
  },
  async forbidden() {
    const stranger = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "sk-wrong", maxRetries: 0 });
    return failure(() => stranger.chat.completions.create({ model: "m", messages }));
  },
  async broken() {
    return failure(async () => {
      const stream = await client.chat.completions.create({ model: "broken", messages, stream: true });
      for await (const chunk of stream) void chunk;
    });
  },
};

async function failure(call) {
  try {
    await call();
  } catch (error) {
    return { raised: error.constructor.name, status: error.status ?? null, code: error.code ?? null, id: Boolean(error.requestID) };
  }
  return { raised: null };
}

for (const [name, run] of Object.entries(scenarios)) {
  console.log(JSON.stringify({ [name]: await run() }));
}
