import { X } from "lucide-react";
import { Store, useStore } from "@/lib/store";

interface Toast {
  id: number;
  text: string;
  kind: "plain" | "error";
  action?: Action | undefined;
}

/** What can be done about it, by a button with this word. */
interface Action {
  word: string;
  act: () => void;
}

const SHOWN_MS = 8_000;
const toasts = new Store<readonly Toast[]>([]);
let next = 1;

/** Tell the reader something for a while. */
export function tell(text: string, action?: Action, kind: Toast["kind"] = "plain"): void {
  const id = next++;
  toasts.change((now) => [...now.slice(-2), { id, text, kind, action }]);
  window.setTimeout(() => dismiss(id), SHOWN_MS);
}

export function tellError(error: unknown): void {
  tell(error instanceof Error ? error.message : String(error), undefined, "error");
}

function dismiss(id: number): void {
  toasts.change((now) => now.filter((toast) => toast.id !== id));
}

export function Toasts() {
  const shown = useStore(toasts, (now) => now);
  return (
    <div role="status" aria-live="polite" className="pointer-events-none fixed inset-x-0 bottom-24 z-50 flex flex-col items-center gap-2 px-4">
      {shown.map(({ id, text, kind, action }) => (
        <div key={id} className={`toast ${kind === "error" ? "toast-error" : ""}`}>
          <span className="min-w-0 break-words">{text}</span>
          {action && (
            <button type="button" className="font-semibold underline underline-offset-2" onClick={() => { action.act(); dismiss(id); }}>
              {action.word}
            </button>
          )}
          <button type="button" aria-label="Dismiss" className="opacity-70 hover:opacity-100" onClick={() => dismiss(id)}>
            <X size={16} aria-hidden />
          </button>
        </div>
      ))}
    </div>
  );
}
