// What the server has: its models and its feedback store. Asked for at the start, and again when a key is typed.
// An annotator's key may open the store and not the models: then only the chat page has nothing to show.
import * as api from "./api";

const NOTHING: api.About = { feedback: false, collect: false, rank_chats: false, keys: false };

type Server = { models: api.Model[]; about: api.About; known: boolean; problem: string };

export const server = $state<Server>({ models: [], about: NOTHING, known: false, problem: "" });

export async function meet(): Promise<void> {
  try {
    server.about = await api.about();
    server.known = true;
    server.models = await api.models();
    server.problem = "";
  } catch (error) {
    server.problem = (error as Error).message;
  }
}
