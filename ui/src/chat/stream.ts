// Server-sent events of an OpenAI-like answer: JSON objects until [DONE]. An event with an error ends it.
import { Refused } from "../api";

type Choice = { delta?: { content?: string }; text?: string; finish_reason: string | null };
export type Chunk = { choices: Choice[]; usage?: { total_tokens: number }; error?: { message: string } };

export async function* chunks(response: Response): AsyncGenerator<Chunk> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (buffer + value).split("\n\n");
    buffer = parts.pop()!;
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Refused(chunk.error.message, 503, null);
      yield chunk;
    }
  }
}
