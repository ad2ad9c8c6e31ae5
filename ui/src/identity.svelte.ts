// Who sits here: the name that rankings carry, and the key that the server may ask for. The key goes with the tab.
import { keep, recall } from "./kept";

export const identity = $state({ name: recall("name", ""), key: recall("key", "", sessionStorage) });

export function remember(): void {
  keep("name", identity.name);
  keep("key", identity.key, sessionStorage);
}

export function headers(): Record<string, string> {
  const [key, name] = [identity.key.trim(), identity.name.trim()];
  return {
    "Content-Type": "application/json",
    ...(key ? { Authorization: `Bearer ${key}` } : {}),
    ...(name ? { "Dodam-Annotator": encodeURIComponent(name) } : {}), // a header holds no Hangul
  };
}
