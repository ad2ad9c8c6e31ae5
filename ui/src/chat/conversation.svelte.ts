// A conversation with a model: what is shown, what the model is sent, and what of it is told to the feedback store.
import * as api from "../api";
import type { Message, Model, Sampling } from "../api";
import { freshId } from "../kept";
import type { Word } from "../words.svelte";
import { sampling, settings } from "./settings.svelte";
import { chunks } from "./stream";

/** An answer with its versions (each regeneration adds one), and what it answers: that is what a thumb is about. */
export type Reply = {
  kind: "assistant";
  versions: string[];
  thumbs: (boolean | null)[];
  at: number;
  busy: boolean;
  asked: Message[];
  model: string;
  sampling: Sampling;
};
export type Said = { kind: "user"; text: string };
export type Note = { kind: "note"; word: Word } | { kind: "error"; text: string };
export type Item = { id: string } & (Reply | Said | Note);

const FULL = 0.75; // the last quarter of the context is kept free for the next question and its answer

export class Conversation {
  items = $state<Item[]>([]);
  running = $state<AbortController | null>(null);
  deletionKey = $state(freshId());
  #messages: Message[] = []; // what the model is sent: what is shown, less what no longer fits
  #used = 0; // tokens of the conversation at its last answer

  restart(): void {
    this.running?.abort();
    this.items = [];
    this.#messages = [];
    this.#used = 0;
    this.deletionKey = freshId();
  }

  stop(): void {
    this.running?.abort();
  }

  async ask(text: string, model: Model): Promise<void> {
    if (model.chat && this.#messages.length >= 2 && this.#used > FULL * model.context) this.#dropOldest();
    this.#show({ kind: "user", text });
    this.#messages.push({ role: "user", content: text });
    await this.#answer(text, model, null);
  }

  /** Ask for the last answer once more; both stay, here and as candidates for a ranking. */
  async regenerate(reply: Item & Reply, model: Model, feedback: boolean): Promise<void> {
    if (this.#messages.at(-1)?.role !== "assistant") return;
    this.#messages.pop();
    const text = this.#messages.at(-1)!.content;
    await this.#answer(text, model, reply);
    if (feedback && reply.versions.length > 1)
      await api.sendCandidates({ ...this.chatted(reply), answers: $state.snapshot(reply.versions) });
  }

  /** What the store is told about an answer's question. */
  chatted(reply: Reply): api.Chatted {
    const { asked, model, sampling } = $state.snapshot(reply);
    return { conversation: this.deletionKey, messages: asked, model, sampling };
  }

  /** Show another version of an answer; the model is told what is shown. */
  turn(reply: Item & Reply, to: number): void {
    reply.at = to;
    if (this.items.findLast((item) => item.kind === "assistant") === reply)
      this.#messages[this.#messages.length - 1].content = reply.versions[to];
  }

  /** Whether it is the last answer, and there is nothing after it yet. */
  isLast(reply: Item): boolean {
    return this.items.findLast((item) => item.kind === "assistant" || item.kind === "user") === reply;
  }

  say(note: Note): void {
    this.#show(note);
  }

  #show<T extends Reply | Said | Note>(what: T): Item & T {
    this.items.push({ id: freshId(), ...what });
    return this.items.at(-1) as Item & T; // through the list, so that changes to it are seen
  }

  #dropOldest(): void {
    this.#messages.splice(0, 2);
    this.#used = 0; // until the next answer says it
    this.#show({ kind: "note", word: "dropped" });
  }

  async #answer(text: string, model: Model, again: (Item & Reply) | null): Promise<void> {
    const messages = this.#messages; // `restart` puts another list in its place
    const here = () => messages === this.#messages;
    const before = again?.at ?? 0;
    const reply = again ?? this.#show(newReply(model));
    const version = reply.versions.push("") - 1;
    reply.thumbs.push(null);
    [reply.at, reply.busy] = [version, true];
    const controller = (this.running = new AbortController());
    try {
      const response = await this.#post(text, model, controller.signal, reply);
      for await (const chunk of chunks(response)) {
        if (chunk.usage && here()) this.#used = chunk.usage.total_tokens;
        const choice = chunk.choices[0];
        reply.versions[version] += choice?.delta?.content ?? choice?.text ?? "";
        if (choice?.finish_reason === "length") this.#show({ kind: "note", word: "lengthLimit" });
      }
      if (!reply.versions[version]) this.#show({ kind: "note", word: "emptyAnswer" });
    } catch (error) {
      if (!here()) return;
      if (error instanceof Error && error.name === "AbortError") this.#show({ kind: "note", word: "stopped" });
      else this.#show({ kind: "error", text: error instanceof Error ? error.message : String(error) });
    } finally {
      reply.busy = false;
      if (!reply.versions[version]) {
        reply.versions.pop();
        reply.thumbs.pop();
        reply.at = before;
      }
      if (reply.versions.length) messages.push({ role: "assistant", content: reply.versions[reply.at] });
      else {
        messages.pop();
        this.items = this.items.filter((item) => item.id !== reply.id);
      }
      if (this.running === controller) this.running = null;
    }
  }

  // When the conversation has outgrown the context, its oldest turn is dropped and it is asked again.
  async #post(text: string, model: Model, signal: AbortSignal, reply: Reply): Promise<Response> {
    for (;;) {
      const system = settings.system.trim();
      const first = system ? [{ role: "system", content: system }] : [];
      reply.asked = [...first, ...this.#messages.map((message) => ({ ...message }))];
      reply.sampling = sampling();
      const body = { model: model.id, stream: true, stream_options: { include_usage: true }, ...reply.sampling };
      const headers = { "Dodam-Conversation": this.deletionKey };
      try {
        if (!model.chat) return await api.open("v1/completions", { ...body, prompt: text }, { signal, headers });
        return await api.open("v1/chat/completions", { ...body, messages: reply.asked }, { signal, headers });
      } catch (error) {
        const long = error instanceof api.Refused && error.code === "context_length_exceeded";
        if (!long || !model.chat || this.#messages.length < 3) throw error;
        this.#dropOldest();
      }
    }
  }
}

function newReply(model: Model): Reply {
  return { kind: "assistant", versions: [], thumbs: [], at: 0, busy: true, asked: [], model: model.id, sampling: {} };
}
