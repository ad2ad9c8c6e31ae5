// A ranking being made: which place each answer has, what was edited, how long it took. Pure functions, no page.
import type { Answer, Ranking, Task } from "../api";
import { freshId } from "../kept";

export type Draft = {
  id: string; // of the ranking to be, chosen once: sent again after a lost connection it is still the same ranking
  task: Task;
  places: (number | null)[]; // of each answer, 1 is best; equal is a tie
  edits: Record<string, string>; // answer id -> its text as edited
  allBad: boolean;
  seconds: number;
  sending: boolean; // handed in, not yet acknowledged
};

export function newDraft(task: Task): Draft {
  const places = task.answers.map(() => null);
  return { id: freshId(), task, places, edits: {}, allBad: false, seconds: 0, sending: false };
}

/** Places without gaps: 1 is best; null until every answer has one. Answers that are all bad need none and then tie. */
export function ranks({ places, allBad }: Draft): number[] | null {
  if (places.some((place) => place === null)) return allBad ? places.map(() => 1) : null;
  const used = [...new Set(places as number[])].sort((a, b) => a - b);
  return places.map((place) => used.indexOf(place!) + 1);
}

/** The next answer without a place, from `after` on and around. */
export function nextUnplaced({ places }: Draft, after: number): number | null {
  const order = places.map((_, step) => (after + 1 + step) % places.length);
  return order.find((index) => places[index] === null) ?? null;
}

/** What the server is sent; null as long as it is not whole. */
export function toRanking(draft: Draft): Ranking | null {
  const found = ranks(draft);
  if (found === null) return null;
  const { id, task, edits, allBad, seconds } = draft;
  const changed = (answer: Answer) => {
    const text = edits[answer.id]?.trim();
    return text && text !== answer.text.trim() ? [{ id: answer.id, text }] : [];
  };
  return {
    id,
    prompt: task.prompt,
    shown: task.answers.map((answer) => answer.id),
    ranks: found,
    all_bad: allBad,
    edits: task.answers.flatMap(changed),
    seconds: Math.round(seconds * 10) / 10,
  };
}

/** The answers whose edits a ranking carried. */
export const editedIn = (draft: Draft) => toRanking(draft)?.edits.map((edit) => edit.id) ?? [];

export const letter = (index: number) => String.fromCharCode(65 + index);
