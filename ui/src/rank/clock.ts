// The time a person takes: the seconds that pass while the page can be seen.

export class Clock {
  #since = performance.now();

  /** The seconds since the last call, those of a hidden page left out; to be called now and then. */
  take(): number {
    const now = performance.now();
    const passed = (now - this.#since) / 1000;
    this.#since = now;
    return passed;
  }
}
