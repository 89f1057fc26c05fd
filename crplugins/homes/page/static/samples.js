// What to paste where: each sample with the gateway's own address. The key is a variable of the environment, so that
// none stands in a shell's history, and none on this page.

const KEY = "GATEWAY_API_KEY";

const inShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** {name, language, text}; JSON's strings are strings of Python, JavaScript and TOML too. */
export function samples(baseUrl, model) {
  const question = { model, messages: [{ role: "user", content: "Hello!" }] };
  const name = JSON.stringify(model);
  return [
    {
      name: "curl",
      text: `export ${KEY}=...   # your key

curl ${baseUrl}/chat/completions \\
  -H "Authorization: Bearer $${KEY}" \\
  -H "Content-Type: application/json" \\
  -d ${inShell(JSON.stringify(question))}`,
    },
    {
      name: "Python",
      text: `# pip install openai
import os
from openai import OpenAI

client = OpenAI(base_url="${baseUrl}", api_key=os.environ["${KEY}"])
answer = client.chat.completions.create(
    model=${name},
    messages=[{"role": "user", "content": "Hello!"}],
)
print(answer.choices[0].message.content)`,
    },
    {
      name: "Node",
      text: `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${baseUrl}", apiKey: process.env.${KEY} });
const answer = await client.chat.completions.create({
  model: ${name},
  messages: [{ role: "user", content: "Hello!" }],
});
console.log(answer.choices[0].message.content);`,
    },
    {
      name: "Codex",
      note: "codex_note",
      text: `# ~/.codex/config.toml
model = ${name}
model_provider = "gateway"

[model_providers.gateway]
name = "gateway"
base_url = "${baseUrl}"
env_key = "${KEY}"
wire_api = "responses"`,
    },
    {
      name: "Claude Code",
      text: `export ANTHROPIC_BASE_URL=${baseUrl.replace(/\/v1$/, "")}
export ANTHROPIC_AUTH_TOKEN="$${KEY}"
claude --model ${inShell(model)}`,
    },
  ];
}
