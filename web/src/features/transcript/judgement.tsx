import { X } from "lucide-react";

const MOST_CHARS = 4_000;

/** Asks what was wrong with an answer; nobody has to say it. */
export function Judgement({ comment, send, close }: { comment: string; send: (comment: string) => void; close: () => void }) {
  return (
    <form
      className="mt-1 flex items-center gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        send(String(new FormData(event.currentTarget).get("comment")).trim());
      }}
    >
      <input name="comment" aria-label="What was wrong?" placeholder="What was wrong? (You need not say.)" className="field min-w-0 flex-1" defaultValue={comment} maxLength={MOST_CHARS} autoFocus onKeyDown={(event) => event.key === "Escape" && close()} />
      <button type="submit" className="button">Send</button>
      <button type="button" className="icon-button" aria-label="Say nothing" onClick={close}><X size={15} aria-hidden /></button>
    </form>
  );
}
