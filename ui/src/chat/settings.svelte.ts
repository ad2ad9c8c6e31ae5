// Sampling settings of the chat page; an empty field leaves the value to the server.
import type { Sampling } from "../api";
import { keep, recall } from "../kept";
import type { Word } from "../words.svelte";

export type Field = { name: string; word: Word; min?: number; max?: number; step: number; empty: Word };

export const FIELDS: Field[] = [
  { name: "temperature", word: "temperature", min: 0, max: 2, step: 0.1, empty: "serverDefault" },
  { name: "top_p", word: "topP", min: 0.01, max: 1, step: 0.01, empty: "serverDefault" },
  { name: "top_k", word: "topK", min: 0, step: 1, empty: "serverDefault" },
  { name: "min_p", word: "minP", min: 0, max: 1, step: 0.01, empty: "serverDefault" },
  { name: "repetition_penalty", word: "repetition", min: 0.5, max: 2, step: 0.05, empty: "serverDefault" },
  { name: "max_tokens", word: "maxTokens", min: 1, step: 1, empty: "serverDefault" },
  { name: "seed", word: "seed", step: 1, empty: "random" },
];

type Settings = { model: string; system: string; numbers: Record<string, number | null> };

export const settings = $state<Settings>(recall("settings", { model: "", system: "", numbers: {} }));

export function keepSettings(): void {
  keep("settings", settings);
}

/** The numbers that were set. */
export function sampling(): Sampling {
  const set = Object.entries(settings.numbers).filter(([, value]) => value !== null && value !== undefined);
  return Object.fromEntries(set) as Sampling;
}
