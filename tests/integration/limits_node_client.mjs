// Lets the official Node SDK run into limits and prints, as one line of JSON, how each call ended.
import OpenAI from "openai";

const messages = [{ role: "user", content: "hi" }];
const keys = JSON.parse(process.env.KEYS);

async function call(key, options = {}) {
  const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: key });
  let seen = { status: 200 };
  try {
    const answer = await client.chat.completions.create({ model: "m", messages, ...options });
    if (options.stream) for await (const chunk of answer) void chunk;
  } catch (error) {
    seen = { status: error.status, code: error.code, type: error.type };
  }
  return seen;
}

const results = {};
for (const [name, [key, options]] of Object.entries(keys)) {
  await call(key, options);
  results[name] = await call(key, options);
}
console.log(JSON.stringify(results));
