// One annotator at work: the ranking being made, the one before it (for undo), and what the server has acknowledged.
// Every change is kept in the browser, so that a reload or a crash loses nothing.
import * as api from "../api";
import type { Progress } from "../api";
import { freshId, keep, recall } from "../kept";
import type { Word } from "../words.svelte";
import { editedIn, newDraft, toRanking, type Draft } from "./draft";

type Told = { word: Word } | { text: string } | null;
/** Something done that undo takes back. */
type Past = { draft: Draft; how: "ranked" | "skipped" };

const KEPT = 20; // how far undo goes back

/** Whether the server knows nothing of what was meant; any other error goes on. */
function isGone(error: unknown): boolean {
  if (error instanceof api.Refused && error.status === 400) return true;
  throw error;
}

export class Session {
  draft = $state<Draft | null>(null);
  past = $state<Past[]>([]);
  progress = $state<Progress | null>(null);
  busy = $state<Word | null>(null);
  told = $state<Told>(null);
  failed = $state(false);
  #name: string;

  constructor(annotator: string) {
    this.#name = annotator;
    this.draft = recall<Draft | null>(this.#place("draft"), null);
    this.past = recall<Past[]>(this.#place("past"), []);
  }

  #place(what: string): string {
    return `rank ${what} ${this.#name}`;
  }

  save(): void {
    keep(this.#place("draft"), $state.snapshot(this.draft));
  }

  async start(): Promise<void> {
    if (this.draft?.sending) await this.send();
    else if (!this.draft) await this.next();
  }

  async next(): Promise<void> {
    await this.#do("loading", async () => {
      const { task, progress, skipped } = await this.#insist(api.nextTask);
      this.draft = task && newDraft(task);
      this.progress = progress;
      if (skipped.length) this.told = { text: skipped.join(" ") };
    });
  }

  async send(): Promise<void> {
    const draft = this.draft;
    if (!draft || !toRanking(draft)) return;
    draft.sending = true;
    this.save();
    const stored = await this.#do("saving", () => this.#store(draft));
    draft.sending = false;
    if (stored) await this.#done("ranked", "saved");
    else this.save();
  }

  /** Until the store has it. An id that is taken stands for another ranking of the same answers, sent from another
   * window: what is said here comes later, and supersedes it under an id of its own. */
  async #store(draft: Draft): Promise<void> {
    const send = () => this.#insist(() => api.sendRanking(toRanking($state.snapshot(draft) as Draft)!));
    try {
      await send();
    } catch (error) {
      if (!(error instanceof api.Refused) || error.code !== "id_taken") throw error;
      draft.id = freshId();
      this.save();
      await send();
    }
  }

  async skip(): Promise<void> {
    const prompt = this.draft?.task.prompt;
    if (prompt === undefined) return;
    let there = true;
    const act = () => this.#insist(() => api.skipPrompt(prompt)).catch((error) => (there = !isGone(error)));
    if (!(await this.#do("loading", act))) return;
    if (there) return this.#done("skipped", "skipped");
    this.draft = null; // it was deleted, or the draft is of another store
    await this.next();
  }

  async undo(): Promise<void> {
    const last = $state.snapshot(this.past.at(-1)) as Past | undefined;
    if (!last) return;
    const { id, task } = last.draft;
    const act = () =>
      last.how === "ranked" ? api.undoRanking(id, editedIn(last.draft)) : api.unskipPrompt(task.prompt);
    let there = true;
    const attempt = () => this.#insist<unknown>(act).catch((error) => (there = !isGone(error)));
    if (!(await this.#do("loading", attempt))) return;
    this.past.pop();
    keep(this.#place("past"), $state.snapshot(this.past));
    if (!there) return;
    this.draft = { ...last.draft, id: freshId() };
    if (this.progress && last.how === "ranked") this.progress.mine -= 1;
    if (this.progress) this.progress.left += 1;
    this.told = { word: "undone" };
    this.save();
  }

  async #done(how: Past["how"], word: Word): Promise<void> {
    this.past = [...this.past, { draft: $state.snapshot(this.draft) as Draft, how }].slice(-KEPT);
    keep(this.#place("past"), $state.snapshot(this.past));
    this.draft = null;
    this.told = { word };
    this.save();
    await this.next();
  }

  /** Run one thing at a time; whether it went well. What the server refuses is told, and the draft stays. */
  async #do(busy: Word, act: () => Promise<unknown>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = busy;
    this.failed = false;
    try {
      await act();
      return true;
    } catch (error) {
      this.told = { text: (error as Error).message };
      this.failed = true;
      return false;
    } finally {
      this.busy = null;
      this.save();
    }
  }

  #insist<T>(act: () => Promise<T>): Promise<T> {
    return api.insist(act, () => (this.told = { word: "retry" }));
  }
}
