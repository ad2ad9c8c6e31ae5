// What the browser keeps between visits. A full or forbidden storage keeps nothing, and the page goes on without.

export function recall<T>(name: string, otherwise: T, storage: Storage = localStorage): T {
  try {
    const text = storage.getItem(name);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function keep(name: string, value: unknown, storage: Storage = localStorage): void {
  try {
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, JSON.stringify(value));
  } catch {
    // nothing to be done about it here
  }
}

/** A fresh name that nobody else will choose: 128 random bits in hex. (randomUUID is missing on plain http pages.) */
export function freshId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
