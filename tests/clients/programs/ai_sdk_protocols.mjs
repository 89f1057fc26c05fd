// Vercel's AI SDK in every protocol that it speaks: texts, streams, tools, objects, attachments, errors.
// BASE_URL, API_KEY and MODEL say of whom; SPEAKS_EMBEDDINGS whether the model has vectors.
import { test } from "node:test";
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, streamText, generateObject, streamObject, tool, stepCountIs, embed, embedMany, Output, APICallError } from "ai";
import { z } from "zod";
const baseURL = process.env.BASE_URL, apiKey = process.env.API_KEY, name = process.env.MODEL;
const openai = createOpenAI({ baseURL, apiKey }), anthropic = createAnthropic({ baseURL, apiKey });
const protocols = { responses: openai.responses(name), messages: anthropic(name), chat: openai.chat(name) };
const weather = tool({ description: "The weather", inputSchema: z.object({ location: z.string() }), execute: async ({ location }) => `Sunny in ${location}` });
for (const [protocol, model] of Object.entries(protocols)) {
  const ask = (more) => ({ model, maxRetries: 0, ...more });
  test(`${protocol}: generateText`, async () => {
    const r = await generateText(ask({ prompt: "Say hello" }));
    assert.ok(r.text.length > 0); assert.ok(r.usage.inputTokens > 0 && r.usage.outputTokens > 0); assert.equal(r.finishReason, "stop");
    
  });
  test(`${protocol}: system and several turns`, async () => {
    const r = await generateText(ask({ system: "Be brief.", messages: [{ role: "user", content: "I am Ann" }, { role: "assistant", content: "Hi Ann" }, { role: "user", content: "Who am I?" }] }));
    assert.ok(r.text.length > 0);
  });
  test(`${protocol}: streamText`, async () => {
    let text = "", errors = [];
    const r = streamText(ask({ prompt: "Say hello", onError: ({ error }) => errors.push(error) }));
    const kinds = new Set();
    for await (const part of r.fullStream) { kinds.add(part.type); if (part.type === "text-delta") text += part.text; }
    assert.deepEqual(errors, []); assert.ok(text.length > 0);
    for (const kind of ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]) assert.ok(kinds.has(kind), kind);
    assert.ok((await r.usage).outputTokens > 0); assert.equal(await r.finishReason, "stop"); assert.equal(await r.text, text);
  });
  test(`${protocol}: tool required, generated`, async () => {
    const r = await generateText(ask({ prompt: "What is the weather in Paris?", tools: { weather }, toolChoice: "required" }));
    assert.equal(r.toolCalls[0].toolName, "weather"); assert.equal(typeof r.toolCalls[0].input.location, "string");
    assert.equal(r.finishReason, "tool-calls"); assert.match(String(r.toolResults[0].output), /Sunny/);
  });
  test(`${protocol}: tool by name, streamed`, async () => {
    const r = streamText(ask({ prompt: "What is the weather in Paris?", tools: { weather }, toolChoice: { type: "tool", toolName: "weather" } }));
    const calls = []; let deltas = "";
    for await (const part of r.fullStream) { if (part.type === "error") throw part.error; if (part.type === "tool-call") calls.push(part); if (part.type === "tool-input-delta") deltas += part.delta; }
    assert.equal(calls.length, 1); assert.deepEqual(JSON.parse(deltas), calls[0].input); assert.equal(await r.finishReason, "tool-calls");
  });
  test(`${protocol}: a loop of tools in steps`, async () => {
    let n = 0;
    const r = await generateText(ask({ prompt: "What is the weather in Paris?", tools: { weather }, stopWhen: stepCountIs(2),
      prepareStep: () => ({ toolChoice: n++ === 0 ? "required" : "none" }) }));
    assert.equal(r.steps.length, 2); assert.ok(r.text.length > 0);
    assert.equal(r.totalUsage.outputTokens, r.steps.reduce((s, e) => s + e.usage.outputTokens, 0));
  });
  test(`${protocol}: a loop of tools, streamed`, async () => {
    let n = 0;
    const r = streamText(ask({ prompt: "What is the weather in Paris?", tools: { weather }, stopWhen: stepCountIs(2),
      prepareStep: () => ({ toolChoice: n++ === 0 ? "required" : "none" }) }));
    for await (const part of r.fullStream) if (part.type === "error") throw part.error;
    assert.equal((await r.steps).length, 2); assert.ok((await r.text).length > 0);
  });
  const schema = z.object({ name: z.string(), age: z.number() });
  test(`${protocol}: generateObject`, async () => {
    const r = await generateObject(ask({ prompt: "Invent a person", schema }));
    assert.equal(typeof r.object.name, "string"); assert.equal(typeof r.object.age, "number");
  });
  test(`${protocol}: streamObject`, async () => {
    const r = streamObject(ask({ prompt: "Invent a person", schema }));
    for await (const _ of r.partialObjectStream); assert.equal(typeof (await r.object).age, "number");
  });
  test(`${protocol}: Output.object`, async () => {
    const r = await generateText(ask({ prompt: "Invent a person", output: Output.object({ schema }) }));
    assert.equal(typeof r.output.age, "number");
  });
  test(`${protocol}: a picture`, async () => {
    const image = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPj/HwADAgH/p4sN2wAAAABJRU5ErkJggg==", "base64");
    const r = await generateText(ask({ messages: [{ role: "user", content: [{ type: "text", text: "What is it?" }, { type: "image", image }] }] }));
    assert.ok(r.text.length > 0);
  });
  test(`${protocol}: a document`, async () => {
    const r = await generateText(ask({ messages: [{ role: "user", content: [{ type: "text", text: "What is it?" }, { type: "file", data: Buffer.from("%PDF-1.4 x"), mediaType: "application/pdf", filename: "a.pdf" }] }] }));
    assert.ok(r.text.length > 0);
  });
  test(`${protocol}: settings`, async () => {
    const r = await generateText(ask({ prompt: "Say a great many words about the sea, the sun and the sand, one after the other", maxOutputTokens: 3, temperature: 0.5, stopSequences: protocol === "responses" ? undefined : ["zzz"] }));
    assert.equal(r.finishReason, "length"); assert.ok(r.usage.outputTokens <= 3);
  });
  test(`${protocol}: an unknown model`, async () => {
    const other = protocol === "messages" ? anthropic("nobody") : protocol === "chat" ? openai.chat("nobody") : openai.responses("nobody");
    await assert.rejects(generateText({ model: other, prompt: "Hi", maxRetries: 0 }), (e) => APICallError.isInstance(e) && e.statusCode === 404 && /nobody/.test(e.message));
  });
  test(`${protocol}: a bad key`, async () => {
    const bad = protocol === "messages" ? createAnthropic({ baseURL, apiKey: "sk-no" })(name) : protocol === "chat" ? createOpenAI({ baseURL, apiKey: "sk-no" }).chat(name) : createOpenAI({ baseURL, apiKey: "sk-no" }).responses(name);
    await assert.rejects(generateText({ model: bad, prompt: "Hi", maxRetries: 0 }), (e) => APICallError.isInstance(e) && e.statusCode === 401);
  });
  test(`${protocol}: a stream is given up`, async () => {
    const stop = new AbortController();
    const r = streamText(ask({ prompt: "Say hello", abortSignal: stop.signal }));
    await assert.doesNotReject(async () => { for await (const part of r.fullStream) { if (part.type === "text-delta") stop.abort(); } });
  });
}
test("embeddings: one and several", { skip: !process.env.SPEAKS_EMBEDDINGS }, async () => {
  const model = openai.embedding(name);
  const one = await embed({ model, value: "hello", maxRetries: 0 }); assert.ok(one.embedding.length > 0); assert.ok(one.usage.tokens > 0);
  
  const many = await embedMany({ model, values: ["a", "b", "c"], maxRetries: 0 }); assert.equal(many.embeddings.length, 3);
});
test("completions: generated and streamed", async () => {
  const model = openai.completion(name);
  const r = await generateText({ model, prompt: "Hello", maxRetries: 0 }); assert.ok(r.text.length > 0);
  const s = streamText({ model, prompt: "Hello", maxRetries: 0 }); let t = ""; for await (const d of s.textStream) t += d; assert.ok(t.length > 0);
});
