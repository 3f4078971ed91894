import * as Dialog from "@radix-ui/react-dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";

/** A dialog with a heading and a way out; `place` says where it stands. */
export function Panel({ title, place, close, children }: { title: string; place: string; close: () => void; children: ReactNode }) {
  return (
    <Dialog.Root open onOpenChange={(open) => !open && close()}>
      <Dialog.Portal>
        <Dialog.Overlay className="overlay" />
        <Dialog.Content className={`sheet ${place}`} aria-describedby={undefined}>
          <header className="flex items-center gap-2 border-b border-line p-4">
            <Dialog.Title className="flex-1 font-semibold">{title}</Dialog.Title>
            <Dialog.Close className="icon-button" aria-label="Close"><X size={18} aria-hidden /></Dialog.Close>
          </header>
          {children}
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
