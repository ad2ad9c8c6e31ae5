// Dragging by mouse, pen or finger: a copy of the handle follows the pointer; dropped on [data-place] it tells which.
import type { Attachment } from "svelte/attachments";

const FAR = 5; // pixels the pointer moves before a press becomes a drag

/** `drop` is told the place under the pointer: its number, or 0 for where answers without a place lie. */
export function draggable(drop: (place: number) => void): Attachment<HTMLElement> {
  return (handle) => {
    let start: { x: number; y: number } | null = null;
    let ghost: HTMLElement | null = null;
    let over: Element | null = null;

    function down(event: PointerEvent): void {
      if (event.button !== 0) return;
      start = { x: event.clientX, y: event.clientY };
      handle.setPointerCapture(event.pointerId);
    }

    function move(event: PointerEvent): void {
      if (!start) return;
      if (!ghost && Math.hypot(event.clientX - start.x, event.clientY - start.y) < FAR) return;
      if (!ghost) {
        ghost = document.createElement("div");
        ghost.className = "ghost";
        ghost.textContent = handle.dataset.letter ?? handle.textContent;
        document.body.append(ghost);
      }
      ghost.style.transform = `translate(${event.clientX}px, ${event.clientY}px)`;
      mark(document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-place]") ?? null);
    }

    function up(): void {
      const place = over?.getAttribute("data-place");
      const dragged = ghost !== null;
      end();
      if (dragged && place != null) drop(Number(place));
    }

    function end(): void {
      ghost?.remove();
      mark(null);
      start = ghost = null;
    }

    function mark(element: Element | null): void {
      if (element === over) return;
      over?.classList.remove("over");
      element?.classList.add("over");
      over = element;
    }

    const events = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: end } as const;
    for (const [name, act] of Object.entries(events)) handle.addEventListener(name, act as EventListener);
    return () => {
      end();
      for (const [name, act] of Object.entries(events)) handle.removeEventListener(name, act as EventListener);
    };
  };
}
