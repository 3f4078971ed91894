import { X } from "lucide-react";
import * as Dialog from "@radix-ui/react-dialog";

const KEYS: readonly [keys: string, does: string][] = [
  ["Enter", "Send"],
  ["Shift Enter", "New line"],
  ["Esc", "Stop the answer"],
  ["Ctrl K", "Search"],
  ["Ctrl Shift O", "New chat"],
  ["Ctrl B", "Show or hide the chats"],
  ["F2", "Rename the chat that has the focus"],
  ["Delete", "Delete it"],
  ["Shift click", "Choose several"],
  ["?", "This sheet"],
];

export function Help({ close }: { close: () => void }) {
  return (
    <Dialog.Root open onOpenChange={(open) => !open && close()}>
      <Dialog.Portal>
        <Dialog.Overlay className="overlay" />
        <Dialog.Content className="sheet inset-x-4 top-[15vh] mx-auto max-w-sm rounded-2xl border p-4" aria-describedby={undefined}>
          <header className="mb-3 flex items-center">
            <Dialog.Title className="flex-1 font-semibold">Keys</Dialog.Title>
            <Dialog.Close className="icon-button" aria-label="Close"><X size={18} aria-hidden /></Dialog.Close>
          </header>
          <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5 text-sm">
            {KEYS.map(([keys, does]) => (
              <div key={keys} className="contents">
                <dt>{keys.split(" ").map((key) => <kbd key={key} className="me-1 rounded border border-line bg-side px-1.5 py-0.5 text-xs">{key}</kbd>)}</dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
