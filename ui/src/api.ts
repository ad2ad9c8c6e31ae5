// The server's API, typed. Whatever goes wrong is a Refused (the server said no) or an Unreachable (nobody answered).
import { headers } from "./identity.svelte";

export type Message = { role: string; content: string };
export type Model = { id: string; chat: boolean; context: number };
export type Guideline = { version: string; text: string };

/** What the server says about its feedback store. */
export type About = {
  feedback: boolean;
  collect: boolean;
  rank_chats: boolean; // whether annotators are asked what comes from chats
  keys: boolean; // whether annotators are known by their keys
};
export type Answer = { id: string; text: string };
export type Task = { prompt: string; messages: Message[]; answers: Answer[] };
export type Progress = { mine: number; left: number };
export type Next = { task: Task | null; progress: Progress; skipped: string[] };
export type Ranking = {
  id: string;
  prompt: string;
  shown: string[];
  ranks: number[];
  all_bad: boolean;
  edits: Answer[];
  seconds: number;
};
/** A prompt of the store by its id, or the messages of one's own. */
export type AnyPrompt = { prompt: string } | { messages: Message[] };
export type Demonstration = AnyPrompt & { id: string; text: string; edited: string | null; seconds: number };
export type Sampling = Record<string, number>;
/** What was said in a chat: its question, under the deletion key of the conversation. */
export type Chatted = { conversation: string; messages: Message[]; model: string; sampling: Sampling };
export type Removed = { prompts: number; answers: number; rankings: number };

export class Refused extends Error {
  constructor(message: string, readonly status: number, readonly code: string | null) {
    super(message);
  }
}

export class Unreachable extends Error {}

/** Post `body` (or get, where there is none); the answer as it comes, for those who read it piece by piece. */
export async function open(path: string, body?: unknown, more: RequestInit = {}): Promise<Response> {
  let response: Response;
  const init = { ...more, headers: { ...headers(), ...more.headers } };
  try {
    response = await fetch(path, body === undefined ? init : { ...init, method: "POST", body: JSON.stringify(body) });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable(String(error));
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  throw new Refused(said?.error?.message ?? `HTTP ${response.status}`, response.status, said?.error?.code ?? null);
}

async function ask<T>(path: string, body?: unknown): Promise<T> {
  const response = await open(path, body);
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw new Unreachable(String(error)); // the server went away in the middle of its answer
  }
}

export const models = async () => (await ask<{ data: Model[] }>("v1/models")).data;
export const about = () => ask<About>("api/feedback");
export const nextTask = () => ask<Next>("api/feedback/next", {});
export const sendRanking = (ranking: Ranking) => ask<{ id: string }>("api/feedback/rankings", ranking);
export const undoRanking = (id: string, edits: string[]) => ask<{ id: string }>("api/feedback/undo", { id, edits });
export const skipPrompt = (prompt: string) => ask<{ prompt: string }>("api/feedback/skip", { prompt });
export const unskipPrompt = (prompt: string) => ask<{ prompt: string }>("api/feedback/unskip", { prompt });
export const guideline = () => ask<Guideline>("api/feedback/guideline");
export const promptToWrite = () =>
  ask<{ prompt: string; messages: Message[] } | { prompt: null; messages: null }>("api/feedback/write", {});
export const sampleAnswer = (what: AnyPrompt) => ask<Answer & { prompt: string }>("api/feedback/sample", what);
export const sendDemonstration = (one: Demonstration) => ask<{ id: string }>("api/feedback/demonstrations", one);
export const sendThumb = (thumb: Chatted & { id: string; answer: string; up: boolean }) =>
  ask<{ id: string }>("api/feedback/thumbs", thumb);
export const sendCandidates = (candidates: Chatted & { answers: string[] }) =>
  ask<{ prompt: string }>("api/feedback/candidates", candidates);
export const deleteByKey = (key: string) => ask<Removed>("api/feedback/delete", { key });

/** Whether trying the same again may help: nobody answered, or the server is busy or has broken down. */
export const passing = (error: unknown) =>
  error instanceof Unreachable || (error instanceof Refused && (error.status === 429 || error.status >= 500));

/** Do it again until the server has it or refuses it. `waiting` is told what went wrong each time. */
export async function insist<T>(act: () => Promise<T>, waiting: (error: Error) => void): Promise<T> {
  for (let pause = 500; ; pause = Math.min(2 * pause, 5000)) {
    try {
      return await act();
    } catch (error) {
      if (!passing(error)) throw error;
      waiting(error as Error);
      await new Promise((done) => setTimeout(done, pause));
    }
  }
}
